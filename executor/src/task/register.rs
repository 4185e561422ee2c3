//! The register of a runtime's tasks that have not ended.
//!
//! It keeps the handle of each task, so that the task can be aborted, and is dropped at the end of
//! the runtime (E11), wherever its wakers are. The handles are in 16 lists. A task is in the list
//! of the worker that made it or, if it was made elsewhere, in one chosen by its id. Workers may
//! share a list. No foreign code runs under the locks of the lists: handles are cancelled outside
//! them.
//!
//! *No task is forgotten at the end*. A thread that enters a task reads the phase afterwards, and
//! the thread that ends the runtime changes the phase before it empties the lists. One of the two
//! sees what the other has done.

use async_task::Task;

use crate::chunks::Chunks;
use crate::lock::Lock;
use crate::sync::{AtomicU64, Ordering, fence};

/// The number of lists.
const SHARDS: usize = 16;

/// The tasks of a runtime that have not ended.
pub(crate) struct Tasks {
    shards: [Lock<Chunks<TaskEntry>>; SHARDS],
    ids: AtomicU64,
}

struct TaskEntry {
    id: u64,
    /// The handle of the task, or `None` while the task is being made.
    task: Option<Task<()>>,
}

/// The place of a task in the lists. The id tells the task from those that had the place before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    shard: usize,
    slot: usize,
    id: u64,
}

impl Default for Tasks {
    fn default() -> Self {
        let shards = std::array::from_fn(|_| Lock::new(Chunks::default()));
        Tasks { shards, ids: AtomicU64::new(0) }
    }
}

impl Tasks {
    /// Reserves a place for a task that is about to be made. `worker` is the index of the worker
    /// that makes it.
    pub(crate) fn reserve(&self, worker: Option<usize>) -> Key {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let shard = worker.unwrap_or(id as usize) % SHARDS;
        let entry = TaskEntry { id, task: None };
        let slot = self.shards[shard].with(|tasks| tasks.insert(entry));
        Key { shard, slot, id }
    }

    /// Enters a task that has not been scheduled. `is_over` says whether the phase is *Stopping* or
    /// later.
    pub(crate) fn enter(&self, key: Key, task: Task<()>, is_over: impl FnOnce() -> bool) {
        let mut task = Some(task);
        self.shards[key.shard].with(|tasks| {
            if let Some(entry) = tasks.get_mut(key.slot).filter(|entry| entry.id == key.id) {
                entry.task = task.take();
            }
        });
        // Partner: the fence of `Core::advance`. Either the thread that ends the runtime finds the
        // task, or this thread sees the phase.
        fence(Ordering::SeqCst);
        if is_over() {
            self.abort(key);
        }
        // If the place was gone, the handle is dropped here, which cancels the task.
        drop(task);
    }

    /// Returns `true` if the task has neither ended nor been aborted.
    pub(crate) fn has(&self, key: Key) -> bool {
        self.shards[key.shard]
            .with(|tasks| tasks.get(key.slot).is_some_and(|entry| entry.id == key.id))
    }

    fn remove(&self, key: Key) -> Option<Task<()>> {
        self.shards[key.shard].with(|tasks| {
            let is_it = tasks.get(key.slot).is_some_and(|entry| entry.id == key.id);
            if is_it { tasks.remove(key.slot)?.task } else { None }
        })
    }

    /// Removes a task that has ended.
    pub(crate) fn ended(&self, key: Key) {
        if let Some(task) = self.remove(key) {
            task.detach();
        }
    }

    /// Aborts a task that has not ended: its future is dropped as an event of its color.
    pub(crate) fn abort(&self, key: Key) {
        drop(self.remove(key));
    }

    /// Aborts all tasks. The phase is *Stopping*.
    pub(crate) fn abort_all(&self) {
        for shard in &self.shards {
            let all = shard.with(Chunks::drain);
            for entry in all {
                drop(entry.task);
            }
        }
    }
}

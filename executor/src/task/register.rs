//! The tasks of a runtime that have not ended.
//!
//! So that a task can be aborted, and is dropped at the end of the runtime (E11), wherever its
//! wakers are, its handle is kept here, in one of a few lists: that of the worker that made it. No
//! foreign code runs under their locks: handles are cancelled outside of them.
//!
//! *None is forgotten at the end*: a thread that enters a task looks at the phase afterwards, and
//! the thread that ends the runtime changes the phase before it empties the lists; one of the two
//! sees the other.

use async_task::Task;

use crate::chunks::Chunks;
use crate::lock::Lock;
use crate::sync::{AtomicU64, Ordering, fence};

/// Lists.
const SHARDS: usize = 16;

/// See the module.
pub(crate) struct Tasks {
    shards: [Lock<Chunks<TaskEntry>>; SHARDS],
    ids: AtomicU64,
}

struct TaskEntry {
    id: u64,
    /// None for as long as it is being made.
    task: Option<Task<()>>,
}

/// Where a task stands; the number tells it from those that stood there before.
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
    /// A place for a task that is about to be made.
    /// `worker`: the one that makes it.
    pub(crate) fn reserve(&self, worker: Option<usize>) -> Key {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let shard = worker.unwrap_or(id as usize) % SHARDS;
        let entry = TaskEntry { id, task: None };
        let slot = self.shards[shard].with(|tasks| tasks.insert(entry));
        Key { shard, slot, id }
    }

    /// Enters a task that has not been scheduled. `is_over`: the runtime's phase is *Stopping*.
    pub(crate) fn enter(&self, key: Key, task: Task<()>, is_over: impl FnOnce() -> bool) {
        let mut task = Some(task);
        self.shards[key.shard].with(|tasks| {
            if let Some(entry) = tasks.get_mut(key.slot).filter(|entry| entry.id == key.id) {
                entry.task = task.take();
            }
        });
        // Partner: the fence of `Core::advance`.
        fence(Ordering::SeqCst);
        if is_over() {
            self.abort(key);
        }
        // If the place was gone: a task whose handle is dropped is cancelled.
        drop(task);
    }

    /// Says whether it has neither ended nor been aborted.
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

    /// A task has ended.
    pub(crate) fn ended(&self, key: Key) {
        if let Some(task) = self.remove(key) {
            task.detach();
        }
    }

    /// Has the future of a task dropped, as an event of its color, if it has not ended.
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

//! When nothing runs and nothing is queued (E16).
//!
//! No counter of events exists, as each post would write to it. Instead: the runtime is at rest if, at
//! one moment, every worker is idle (asleep, or spinning, which takes nothing out of a queue) and every run queue and inbox is empty. Events are made by
//! events, by pollers and timers, and from outside (by a push to an inbox). A poller posts while its
//! worker's state is still idle, but then into the run queue, and only a worker that has risen takes
//! something out of one. The check reads all workers' states, then the queues, then the states again; states
//! carry an epoch, so if they are equal, no worker has risen in between, and all of it
//! was true at the moment between the two readings.
//!
//! A thread that is no worker may hold events that are in no queue yet: what a domain has let go on while the thread had to
//! do with it; what others have posted to a color between its own post and the push that queues the color; blocking work. Such threads are counted, from before the lock of the domain until the last event is queued, and as long as
//! there is one the runtime is not at rest. Whoever took events over from a worker did so before that worker's last
//! look at the domain, hence before it went idle; so the check, which reads the count after the states, sees it.
//!
//! A worker that goes idle tells the waiters, who check for themselves. It announces its state,
//! fences, and reads `waiters`; a waiter counts itself, fences, and reads the states: one of the two
//! sees the other.

use std::time::Instant;

use super::core::Core;
use crate::sync::{AtomicUsize, Condvar, Mutex, Ordering, fence, lock};
use crate::worker::local::Local;

/// See the module.
#[derive(Default)]
pub(crate) struct Quiesce {
    waiters: AtomicUsize,
    /// Threads that are no workers, and hold what they have not queued.
    outside: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Quiesce {
    /// A worker has announced that it is idle.
    #[inline]
    pub(crate) fn worker_went_idle(&self) {
        if self.waiters.load(Ordering::Relaxed) > 0 {
            self.wake();
        }
    }

    /// The waiters look again.
    #[cold]
    pub(crate) fn wake(&self) {
        drop(lock(&self.lock));
        self.changed.notify_all();
    }

    /// Waits until the runtime is at rest, or has been stopped, or the time is over; true if at rest or
    /// stopped.
    pub(crate) fn wait(
        &self,
        core: &Core,
        until: Option<Instant>,
        stopped: impl Fn() -> bool,
    ) -> bool {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut guard = lock(&self.lock);
        let reached = loop {
            if stopped() || at_rest(core) {
                break true;
            }
            guard = match until {
                None => self.changed.wait(guard).unwrap_or_else(|e| e.into_inner()),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break false;
                    }
                    self.changed.wait_timeout(guard, left).unwrap_or_else(|e| e.into_inner()).0
                }
            };
        };
        drop(guard);
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        reached
    }
}

/// The calling thread may hold events of a domain that it has not queued, until this is dropped; nothing on
/// a worker, which is not idle meanwhile.
pub(crate) struct Outside<'a>(Option<&'a Core>);

impl<'a> Outside<'a> {
    #[inline]
    pub(crate) fn enter(core: &'a Core) -> Self {
        if Local::current(core).is_some() {
            return Outside(None);
        }
        Self::begin(core);
        Outside(Some(core))
    }
}

impl<'a> Outside<'a> {
    /// The same, of a thread that is no worker.
    #[inline]
    pub(crate) fn from_outside(core: &'a Core) -> Self {
        Self::begin(core);
        Outside(Some(core))
    }
}

impl Outside<'_> {
    /// Somebody holds what is in no queue, from now on until [`end`](Self::end); on a worker before its event ends.
    pub(crate) fn begin(core: &Core) {
        core.quiesce.outside.fetch_add(1, Ordering::SeqCst);
    }

    /// It has queued what it held.
    pub(crate) fn end(core: &Core) {
        // Partner: the count, fence and readings of a waiter. One of the two sees the other.
        core.quiesce.outside.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        core.quiesce.worker_went_idle();
    }
}

impl Drop for Outside<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(core) = self.0 {
            Outside::end(core);
        }
    }
}

fn at_rest(core: &Core) -> bool {
    let Some(before) = core.sleep.state.all_idle() else {
        return false;
    };
    fence(Ordering::SeqCst);
    // Before the queues: who has left has queued what it held. Partner: the release of `Outside`.
    let alone = core.quiesce.outside.load(Ordering::Acquire) == 0;
    let empty = alone && core.workers.iter().all(|w| w.has_nothing());
    fence(Ordering::SeqCst);
    empty && core.sleep.state.all_idle() == Some(before)
}

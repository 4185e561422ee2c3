//! Quiescence: detecting that nothing runs and nothing is queued (E16).
//!
//! There is no counter of events, because each post would write to it. Instead, the runtime is at
//! rest if three things hold at one moment: every worker is idle (asleep, or spinning), no thread
//! has work that it has not queued, and every run queue and inbox is empty.
//!
//! # Why it is right
//!
//! Events come from other events, from pollers and timers, and from outside. A post to a color has
//! two steps: the swap of the queue's tail, and the push of the color to a run queue. Between the
//! steps, another thread's event may be appended behind the first one while the color is in no run
//! queue. So the check has to see a thread that is between the two steps:
//!
//! * *A worker* is busy then. If a worker sleeps or spins, and its poller, timers or hooks post, it
//!   rises before the first step (`Local::before_post`). After the last step it announces again, or
//!   takes what it has posted.
//! * *A thread outside the runtime* is counted in `outside`, from before the first step until after
//!   the last one. So are a thread that has collected the events that a domain lets go on, and
//!   blocking work.
//!
//! The check reads all workers' states, then the count, then the queues, then the states again. The
//! states carry an epoch. If the two readings are equal, no worker has risen in between, and all
//! three conditions held at one moment. Suppose that an event was posted behind an event of a
//! poster P. It was appended by a swap that read P's swap, so the post happens after P has risen or
//! was counted. A waiter that comes after the post sees P in this state, or sees that P has
//! announced again or has left; in that case it also sees P's push.
//!
//! A worker that goes idle notifies the waiters, which check for themselves. The worker announces
//! its state, fences, and reads `waiters`. A waiter counts itself, fences, and reads the states.
//! One of the two sees the other.
//!
//! Model: `models/quiesce.rs`.

#[cfg(not(loom))]
use std::time::Instant;

#[cfg(not(loom))]
use crate::clock;
#[cfg(not(loom))]
use crate::sync::lock;
use crate::sync::{AtomicUsize, Condvar, Mutant, Mutex, Ordering, fence, mutant};
use crate::worker::sleep::SleepState;

/// The state by which waiters detect quiescence; see the module.
pub(crate) struct Quiesce {
    waiters: AtomicUsize,
    /// The number of threads outside the runtime that have work which they have not queued.
    outside: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Quiesce {
    pub(crate) fn new() -> Self {
        Quiesce {
            waiters: AtomicUsize::new(0),
            outside: AtomicUsize::new(0),
            lock: Mutex::new(()),
            changed: Condvar::new(),
        }
    }

    /// Wakes the waiters, if there are any, after a worker has announced that it is idle.
    #[inline]
    pub(crate) fn worker_went_idle(&self) {
        if self.waiters.load(Ordering::Relaxed) > 0 {
            self.wake();
        }
    }

    /// Wakes the waiters, which check again.
    #[cold]
    pub(crate) fn wake(&self) {
        drop(self.lock.lock().unwrap_or_else(|e| e.into_inner()));
        self.changed.notify_all();
    }

    /// Counts the caller as a thread that has work in no queue, until [`leave`](Self::leave).
    pub(crate) fn enter(&self) {
        self.outside.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes the caller out of the count, once it has queued its work.
    pub(crate) fn leave(&self) {
        // Partner: the count, the fence and the readings of a waiter. One of the two sees the
        // other.
        self.outside.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.worker_went_idle();
    }

    /// Returns `true` if the runtime is at rest. `is_empty` returns whether all run queues are
    /// empty.
    pub(crate) fn is_at_rest(&self, sleep: &SleepState, is_empty: impl FnOnce() -> bool) -> bool {
        if mutant(Mutant::EarlyQuiescence) {
            return is_empty();
        }
        let Some(before) = sleep.all_idle() else {
            return false;
        };
        fence(Ordering::SeqCst);
        // Read before the queues: a thread that has left has queued its work. Partner: the release
        // in `leave`.
        let alone = self.outside.load(Ordering::Acquire) == 0;
        let empty = alone && is_empty();
        fence(Ordering::SeqCst);
        empty && sleep.all_idle() == Some(before)
    }

    /// Waits until `is_over` returns `true`; it is called whenever a worker has gone idle. This is
    /// the model of [`wait`](Self::wait) without a time limit.
    #[cfg(loom)]
    pub(crate) fn wait_until(&self, mut is_over: impl FnMut() -> bool) {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut guard = self.lock.lock().unwrap();
        while !is_over() {
            guard = self.changed.wait(guard).unwrap();
        }
        drop(guard);
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(not(loom))]
impl Quiesce {
    /// Waits until the runtime is at rest, the runtime has been stopped, or the time `until` has
    /// come. Returns `true` in the first two cases.
    pub(crate) fn wait(
        &self,
        sleep: &SleepState,
        is_empty: impl Fn() -> bool,
        until: Option<Instant>,
        stopped: impl Fn() -> bool,
    ) -> bool {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut guard = lock(&self.lock);
        let reached = loop {
            if stopped() || self.is_at_rest(sleep, &is_empty) {
                break true;
            }
            guard = match until {
                None => self.changed.wait(guard).unwrap_or_else(|e| e.into_inner()),
                Some(until) => {
                    let left = until.saturating_duration_since(clock::now());
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

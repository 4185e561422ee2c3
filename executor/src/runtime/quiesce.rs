//! When nothing runs and nothing is queued (E16).
//!
//! No counter of events exists, as each post would write to it. Instead: the runtime is at rest if,
//! at one moment, every worker is idle (asleep, or spinning), no thread holds what it has not
//! queued, and every run queue and inbox is empty.
//!
//! # Why it is right
//!
//! Events are made by events, by pollers and timers, and from outside. A post to a color has two
//! steps, the swap of its queue's tail and the push of the color to a run queue. Between them
//! another thread's event may land behind the first one, and stand in no run queue. So a thread
//! between the two steps has to be seen:
//!
//! * *A worker* is busy then. One that sleeps or spins, and whose poller, timers or hooks post,
//!   rises before its first step (`Local::before_post`), and announces again, or takes what it has
//!   posted, after the last one.
//! * *A thread that is not a worker* is counted in `outside`, from before its first step until
//!   after the last one. So is a thread that has collected what a domain lets go on, and blocking
//!   work.
//!
//! The check reads all workers' states, then the count, then the queues, then the states again.
//! States carry an epoch, so if the two readings are equal, no worker has risen in between, and all
//! of it was true at one moment. What was posted behind an event of a poster P was appended by a
//! swap that read P's, so it happens after P has risen, or was counted: a waiter that comes after
//! it sees P so, or sees that P has announced, or left, again; and then it sees P's push.
//!
//! A worker that goes idle tells the waiters, who check for themselves. It announces its state,
//! fences, and reads `waiters`; a waiter counts itself, fences, and reads the states: one of the
//! two sees the other.
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

/// See the module.
pub(crate) struct Quiesce {
    waiters: AtomicUsize,
    /// Threads that are no workers, and hold what they have not queued.
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
        drop(self.lock.lock().unwrap_or_else(|e| e.into_inner()));
        self.changed.notify_all();
    }

    /// Somebody holds what is in no queue, from now on until [`leave`](Self::leave).
    pub(crate) fn enter(&self) {
        self.outside.fetch_add(1, Ordering::SeqCst);
    }

    /// The thread has queued what it held.
    pub(crate) fn leave(&self) {
        // Partner: the count, fence and readings of a waiter. One of the two sees the other.
        self.outside.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.worker_went_idle();
    }

    /// Says whether the runtime is at rest. `is_empty`: whether all run queues are.
    pub(crate) fn is_at_rest(&self, sleep: &SleepState, is_empty: impl FnOnce() -> bool) -> bool {
        if mutant(Mutant::EarlyQuiescence) {
            return is_empty();
        }
        let Some(before) = sleep.all_idle() else {
            return false;
        };
        fence(Ordering::SeqCst);
        // Before the queues: who has left has queued what it held. Partner: the release of `leave`.
        let alone = self.outside.load(Ordering::Acquire) == 0;
        let empty = alone && is_empty();
        fence(Ordering::SeqCst);
        empty && sleep.all_idle() == Some(before)
    }

    /// Waits until the answer is yes, which is asked for whenever a worker has gone idle. The model
    /// of what [`wait`](Self::wait) does without a limit of time.
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
    /// Waits until the runtime is at rest, or has been stopped, or the time is over; true if at
    /// rest or stopped.
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

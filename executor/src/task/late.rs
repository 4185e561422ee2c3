//! Times that tasks and threads wait for when there is no runtime left to keep them.
//!
//! A time limit is often all that keeps a wait from lasting for ever. So it is kept also for a
//! future that is polled through a handle whose runtime has ended, or is about to. One thread of
//! the process does that. It is started when it is needed, and ends after nobody has waited for
//! 10 s. It wakes the task or thread that polls the future, which then finds that the time is over.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::clock;
use crate::sync::{Condvar, Mutex, PoisonError, is_simulated, lock, thread};
use crate::worker::cores::Mask;

/// The time that the thread stays when nobody waits.
const IDLE: Duration = Duration::from_secs(10);

/// The wakers, ordered by the time at which to wake them. A number tells those of one time apart.
static WAITING: Mutex<Waiting> =
    Mutex::new(Waiting { wakers: BTreeMap::new(), next: 0, is_served: false });
static CHANGED: Condvar = Condvar::new();

struct Waiting {
    wakers: BTreeMap<(Instant, u64), Waker>,
    next: u64,
    is_served: bool,
}

/// A waiter, which is taken off the list when this is dropped.
#[derive(Debug)]
pub(super) struct Late {
    until: Instant,
    number: u64,
}

impl Late {
    /// Has a waker woken at a time. Returns `None` if the thread for that cannot be started.
    pub(super) fn wake_at(until: Instant, waker: Waker) -> Option<Late> {
        let mut waiting = lock(&WAITING);
        let number = waiting.next;
        waiting.next += 1;
        waiting.wakers.insert((until, number), waker);
        let late = Late { until, number };
        if !waiting.is_served {
            let serves = thread::Builder::new().name("dapple-late".to_owned()).spawn(serve);
            if let Err(error) = serves {
                drop(waiting);
                let why = "cannot start the thread that keeps time after a runtime has ended";
                tracing::error!(%error, "{why}");
                return None;
            }
            waiting.is_served = true;
        }
        drop(waiting);
        CHANGED.notify_one();
        Some(late)
    }

    /// Replaces the waker. Returns `false` if the time is over and the previous one was woken.
    #[must_use]
    pub(super) fn set_waker(&self, waker: &Waker) -> bool {
        let mut new = Some(waker.clone());
        let old = match lock(&WAITING).wakers.get_mut(&(self.until, self.number)) {
            Some(waker) => new.take().map(|new| std::mem::replace(waker, new)),
            None => None,
        };
        // Both wakers are dropped outside the lock.
        let is_there = old.is_some();
        drop((old, new));
        is_there
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        let waker = lock(&WAITING).wakers.remove(&(self.until, self.number));
        drop(waker);
    }
}

/// Wakes the waiters at their times, on the thread, until nobody has waited for `IDLE`.
fn serve() {
    // The thread that starts this one may be pinned.
    if !is_simulated() {
        Mask::of_the_process().iter().for_each(Mask::apply);
    }
    let mut waiting = lock(&WAITING);
    loop {
        let now = clock::now();
        match waiting.wakers.first_key_value().map(|((until, _), _)| *until) {
            Some(until) if until <= now => {
                let waker = waiting.wakers.pop_first().map(|(_, waker)| waker);
                drop(waiting);
                // The waker is foreign code.
                let woken =
                    catch_unwind(AssertUnwindSafe(|| waker.into_iter().for_each(Waker::wake)));
                if let Err(payload) = woken {
                    crate::panic::bury(payload);
                }
                waiting = lock(&WAITING);
            }
            next => {
                let wait = next.map_or(IDLE, |until| until - now);
                let waited = CHANGED.wait_timeout(waiting, wait);
                let (back, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                waiting = back;
                if next.is_none() && timeout.timed_out() && waiting.wakers.is_empty() {
                    waiting.is_served = false;
                    return;
                }
            }
        }
    }
}

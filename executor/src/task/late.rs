//! Times that are waited for when there is no runtime any more to keep them.
//!
//! A limit of time is often all that keeps a wait from lasting for ever; so it is kept also for a
//! future that is polled through a handle whose runtime has ended, or is about to. One thread of
//! the process does that, which is started when it is needed and ends when nobody has waited for a
//! while. It wakes what polls again, and finds the time over.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::clock;
use crate::sync::{Condvar, Mutex, PoisonError, is_simulated, lock, thread};
use crate::worker::cores::Mask;

/// How long the thread waits for more.
const IDLE: Duration = Duration::from_secs(10);

/// Whom to wake, and when; the number tells those of one time apart.
static WAITING: Mutex<Waiting> =
    Mutex::new(Waiting { wakers: BTreeMap::new(), next: 0, is_served: false });
static CHANGED: Condvar = Condvar::new();

struct Waiting {
    wakers: BTreeMap<(Instant, u64), Waker>,
    next: u64,
    is_served: bool,
}

/// Somebody who waits, until this is dropped.
#[derive(Debug)]
pub(super) struct Late {
    until: Instant,
    number: u64,
}

impl Late {
    /// Has a waker woken at a time. `None`: there is no thread for that.
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
                tracing::error!(%error, "no thread for times without a runtime");
                return None;
            }
            waiting.is_served = true;
        }
        drop(waiting);
        CHANGED.notify_one();
        Some(late)
    }

    /// It is polled by another one now. False: the time is over, and the one before has been woken.
    #[must_use]
    pub(super) fn set_waker(&self, waker: &Waker) -> bool {
        let mut new = Some(waker.clone());
        let old = match lock(&WAITING).wakers.get_mut(&(self.until, self.number)) {
            Some(waker) => new.take().map(|new| std::mem::replace(waker, new)),
            None => None,
        };
        // Outside of the lock.
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

/// The body of the thread.
fn serve() {
    // The thread that starts it may be pinned.
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
                // It is foreign.
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

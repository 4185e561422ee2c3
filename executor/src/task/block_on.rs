//! Running a future on the calling thread, which sleeps while it waits.
//!
//! The thread sleeps on a condition variable of its own, not on the token of `std::thread::park`.
//! The future may park the thread, too (by a channel, a scope of threads, a join). It would then
//! take a token that was meant for us, and we would take one that was meant for it.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};

use crate::sync::{Arc, Condvar, Mutex, PoisonError, lock};
use crate::turn::local::Local;

/// A flag that says that the future is to be polled again.
#[derive(Default)]
struct Signal {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Waits until the flag is set, and clears it.
    fn wait(&self) {
        let mut is_set = lock(&self.is_set);
        while !std::mem::take(&mut *is_set) {
            is_set = self.changed.wait(is_set).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *lock(&self.is_set) = true;
        self.changed.notify_one();
    }
}

/// Runs the future to its end. Panics with the message `not_on_a_worker` on a worker.
#[track_caller]
pub(crate) fn block_on<F: Future>(future: F, not_on_a_worker: &'static str) -> F::Output {
    if Local::on_a_worker() {
        std::panic::panic_any(not_on_a_worker);
    }
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(Arc::clone(&signal));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => crate::blocking::while_waiting(|| signal.wait()),
        }
    }
}

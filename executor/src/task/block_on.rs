//! Running a future on the calling thread, which sleeps while it waits.
//!
//! The thread sleeps on something of its own, not on the token of `std::thread::park`: what the
//! future does meanwhile may park the thread, too (a channel, a scope of threads, a join), and
//! would take a token away that was meant for us, as we would take theirs.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};

use crate::sync::{Arc, Condvar, Mutex, PoisonError, lock};
use crate::turn::local::Local;

/// Says that the future is to be polled again.
#[derive(Default)]
struct Signal {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Waits until it is set, and takes it back.
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

/// Runs the future to its end. Panics with the message on a worker.
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

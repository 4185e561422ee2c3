//! Running a future on the calling thread, which sleeps while it waits.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::sync::thread;
use crate::worker::local::Local;

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs the future to its end. Panics with the message on a worker.
#[track_caller]
pub(crate) fn block_on<F: Future>(future: F, not_on_a_worker: &'static str) -> F::Output {
    if Local::on_a_worker() {
        std::panic::panic_any(not_on_a_worker);
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

//! The choice of the thread that disposes of the queues when no worker serves them any longer.
//!
//! A thread that puts something into a queue after the runtime has been closed comes here, and so
//! does the thread that closes it. One thread at a time makes a *pass* over the queues, which
//! disposes of everything that was there when the pass began. Disposing runs user code, which may
//! take locks of the user's, so no thread waits here for long. A thread that finds another one at
//! work yields and looks again a limited number of times (`shutdown::PATIENCE`). This slows down a
//! thread that queues faster than another one disposes, so that the pass comes to an end. After
//! that, the thread asks for one more pass, and so leaves its entry to the other thread. A thread
//! that queues something inside a pass, in the drop of an entry, does the same without waiting.
//!
//! # Nothing is left behind
//!
//! A thread that queues something pushes it, fences, and changes or reads `state` by
//! read-modify-writes. The thread that makes the passes goes from *held* to *free* by a
//! compare-exchange, which fails if one more pass was asked for. Either it sees the request there,
//! and a pass begins after the push. Or the compare-exchange came first, and the thread that asks
//! finds the state free and makes the pass itself.
//!
//! Model: `models/closing.rs`.

use crate::sync::{AtomicUsize, Ordering, fence, yield_now};

const FREE: usize = 0;
const HELD: usize = 1;
/// A pass is being made, and one more is asked for.
const AGAIN: usize = 2;

/// The state of the passes; see the module.
pub(crate) struct Disposal {
    state: AtomicUsize,
}

impl Disposal {
    pub(crate) fn new() -> Self {
        Disposal { state: AtomicUsize::new(FREE) }
    }

    /// Makes sure that everything that was queued before is disposed of: by calling `pass`, or by
    /// the thread that makes a pass already. `patience` is the number of times to yield and look
    /// again while another thread does.
    pub(crate) fn dispose(&self, mut patience: u32, mut pass: impl FnMut()) {
        // The push comes before the request.
        fence(Ordering::SeqCst);
        loop {
            let (from, to) = match self.state.load(Ordering::SeqCst) {
                FREE => (FREE, HELD),
                _ if patience > 0 => {
                    patience -= 1;
                    yield_now();
                    continue;
                }
                // This is a read-modify-write even if it changes nothing, so that the next one of
                // the thread that makes the passes reads it.
                seen => (seen, AGAIN),
            };
            match self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(FREE) => break,
                Ok(_) => return,
                Err(_) => {}
            }
        }
        loop {
            fence(Ordering::SeqCst);
            pass();
            match self.state.compare_exchange(HELD, FREE, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return,
                // One more pass was asked for. Only this thread leaves that state.
                Err(_) => drop(self.state.swap(HELD, Ordering::SeqCst)),
            }
        }
    }
}

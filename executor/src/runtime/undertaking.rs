//! Who disposes of what is queued when nobody serves the queues any more.
//!
//! A thread that puts something into a queue after the runtime has been closed comes here, and so
//! does who closes it. One at a time makes a *pass* over the queues, which disposes of all that was
//! there when the pass began. Disposing runs user code, which may hold locks of the user's; so
//! nobody waits here for long. Who finds somebody else at work waits for some moments (a thread
//! that queues faster than another one disposes is slowed down by that, so that a pass comes to an
//! end), and then leaves what it has queued to the other one by asking for one more pass. So does,
//! without waiting, who queues something inside of a pass, in the drop of what is disposed of.
//!
//! # Nothing is left behind
//!
//! Who queues pushes, fences, and changes or reads `state` by read-modify-writes; a worker at it
//! goes from *held* to *free* by a compare-exchange, which fails if one more pass was asked for.
//! Either the request is seen there, and a pass begins after the push; or the compare-exchange came
//! first, and who asks finds the state free, and makes the pass itself.
//!
//! Model: `models/closing.rs`.

use crate::sync::{AtomicUsize, Ordering, fence, yield_now};

const FREE: usize = 0;
const HELD: usize = 1;
/// Held, and one more pass is asked for.
const AGAIN: usize = 2;

/// See the module.
pub(crate) struct Undertaking {
    state: AtomicUsize,
}

impl Undertaking {
    pub(crate) fn new() -> Self {
        Undertaking { state: AtomicUsize::new(FREE) }
    }

    /// Has everything disposed of that was queued before: by calling `pass`, or by the thread that
    /// is at it. `patience`: how often to look again, and to give the core away, while somebody is.
    pub(crate) fn undertake(&self, mut patience: u32, mut pass: impl FnMut()) {
        // What was queued comes before what is asked for.
        fence(Ordering::SeqCst);
        loop {
            let (from, to) = match self.state.load(Ordering::SeqCst) {
                FREE => (FREE, HELD),
                _ if patience > 0 => {
                    patience -= 1;
                    yield_now();
                    continue;
                }
                // A read-modify-write even if it changes nothing, so that the next one of who is at
                // it reads it.
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
                // Asked for again. Only this thread leaves that state.
                Err(_) => drop(self.state.swap(HELD, Ordering::SeqCst)),
            }
        }
    }
}

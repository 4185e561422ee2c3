//! Taking places in several queues, so that two posters stand in the same order in every queue that
//! they share (C6).
//!
//! The algorithm is two-phase locking with one lock per color. [`dapple_colors::set`] argues why
//! that is enough, and why a plain post needs no lock. The caller passes the places in the one
//! order of all colors, so that posters never wait for locks in a circle. A thread that holds locks
//! only takes places and counts, so a wait is short. A thread that waits for long yields, in case
//! the holder was preempted.
//!
//! Left out on purpose: what the links stand for, and run queues. A color that has become runnable
//! is queued after the locks are released.

use crate::lock::Flag;
use crate::sync::{Point, point};

/// A place in a queue that is about to be taken.
pub(crate) trait QueuePlace {
    /// Returns the lock of the queue's color.
    fn lock(&self) -> &Flag;
}

/// Calls `take` with each of the places while all their locks are held. The places are in the one
/// order of all colors, and each color occurs once.
#[inline(always)]
pub(crate) fn take_places<P: QueuePlace>(places: &mut [P], mut take: impl FnMut(&mut P)) {
    for place in &*places {
        place.lock().acquire();
        point(Point::SetLocked);
    }
    for place in &mut *places {
        take(place);
        point(Point::SetPlaced);
    }
    for place in &*places {
        place.lock().release();
    }
}

//! Taking places in several queues so that two who do so stand in the same order in every queue
//! they share (C6).
//!
//! Two-phase locking, one lock per color; [`dapple_colors::set`] argues why that is enough, and why
//! a plain post needs no lock. The caller brings the places in the one order of all colors, so that
//! nobody waits in a circle for a lock; and a thread that holds locks does nothing but take places
//! and count, so a wait is short (and yields, if the holder was preempted).
//!
//! Left out on purpose: what the links stand for, and run queues: what has become runnable is
//! queued when the locks are free again.

use crate::lock::Flag;
use crate::sync::{Point, point};

/// A place in a queue that is to be taken.
pub(crate) trait QueuePlace {
    /// The lock of the queue's color.
    fn lock(&self) -> &Flag;
}

/// Calls `take` with each of the places while all locks are held. They are in the one order of all
/// colors, each color once.
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

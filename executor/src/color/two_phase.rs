//! Taking places in several queues so that two who do so stand in the same order in every queue they share (C6).
//!
//! Two-phase locking, one lock per color; [`dapple_colors::set`] argues why that is enough, and why a plain post needs no lock.
//! The caller brings the places in the one order of all colors, so that nobody waits in a circle for a lock; and whoever holds
//! locks does nothing but take places and count, so a wait is short (and yields, if the holder was preempted).
//!
//! Left out on purpose: what the links stand for, and run queues: what has become runnable is queued when the locks are free again.

use std::ptr::NonNull;

use dapple_colors::Posted;

use super::queue::{Link, Queue};
use crate::lock::Flag;

/// A place that is to be taken.
pub(crate) trait Site {
    fn queue(&self) -> &Queue;
    fn lock(&self) -> &Flag;
    /// What is to stand there.
    fn link(&self) -> NonNull<Link>;
    /// It is about to be taken; the lock is held.
    fn entering(&mut self) {}
    /// The color was idle: the caller has to queue it.
    fn became_runnable(&mut self);
}

/// Takes all places.
///
/// # Safety
///
/// As [`Queue::push`], for each of them; the queues stay until the call returns; and `places` are in the one order of all colors,
/// each color once.
pub(crate) unsafe fn take_places<P: Site>(places: &mut [P]) {
    for place in &*places {
        place.lock().acquire();
    }
    for place in &mut *places {
        place.entering();
        // SAFETY: by contract.
        if unsafe { place.queue().push(place.link()) } == Posted::BecameRunnable {
            place.became_runnable();
        }
    }
    for place in &*places {
        place.lock().release();
    }
}

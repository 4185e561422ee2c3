//! The reference count that keeps a color alive: one for each handle, and one for its grave.
//!
//! See `cell` for the protocol. This file has the part of it with memory orderings, so that this
//! part can be modelled by itself.
//!
//! *Counting down* is AcqRel, and the load that finds a count of one is Acquire. So everything done
//! through any handle, above all its posts, happens before what the last handle does: posting the
//! grave, and the death.

use super::queue::Queue;
use crate::sync::{AtomicUsize, Ordering};

/// The reference count of a color.
pub(crate) struct Life(AtomicUsize);

impl Life {
    /// Creates the count of one handle.
    pub(crate) fn new() -> Self {
        Life(AtomicUsize::new(1))
    }

    /// Counts one more. The caller has a count, runs on the color, or holds the lock of its
    /// palette.
    #[inline]
    pub(crate) fn retain(&self) {
        // Relaxed: a thread that gets the new count gets it from the caller.
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a dead color is not revived");
        if before > usize::MAX / 2 {
            std::process::abort();
        }
    }

    /// Counts one less, unless this is the last count: then returns `true` and leaves the count at
    /// one. The caller still owns it, and the grave inherits it.
    #[must_use]
    #[inline]
    pub(crate) fn release(&self) -> bool {
        let mut count = self.0.load(Ordering::Acquire);
        loop {
            if count == 1 {
                return true;
            }
            match self.0.compare_exchange_weak(
                count,
                count - 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return false,
                Err(now) => count = now,
            }
        }
    }

    /// Returns `true` if nothing is left of the color but its grave. Asked by the holder when the
    /// grave is at the head of the queue. The answer `true` stays true unless a palette revives the
    /// color, so a palette asks under its lock.
    pub(crate) fn is_over(&self, queue: &Queue) -> bool {
        self.0.load(Ordering::Acquire) == 1 && queue.is_head_last()
    }
}

//! Who keeps a color: the count of its handles, and of its grave.
//!
//! See `cell` for the protocol. This is the part of it that has memory orderings, apart from the
//! rest so that it can be modelled.
//!
//! *Counting down* is AcqRel and the load that finds a single count is Acquire. So what was done
//! through any handle, its posts above all, happens before what the last one does: posting the
//! grave, and the death.

use super::queue::Queue;
use crate::sync::{AtomicUsize, Ordering};

/// See the module.
pub(crate) struct Life(AtomicUsize);

impl Life {
    /// Counts one handle.
    pub(crate) fn new() -> Self {
        Life(AtomicUsize::new(1))
    }

    /// One more. The caller has a count, or runs on the color, or holds the lock of its palette.
    #[inline]
    pub(crate) fn retain(&self) {
        // Relaxed: a thread that gets the new count gets it from this one.
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a dead color is not revived");
        if before > usize::MAX / 2 {
            std::process::abort();
        }
    }

    /// One less. True: it was the last one. It has not been counted down: the caller still has it,
    /// and the grave inherits it.
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

    /// Says, for the holder who has come to the grave at the head of the queue, whether that is all
    /// that is left. If so, it stays so,
    /// unless a palette revives the color, which is why a palette asks under its lock.
    pub(crate) fn is_over(&self, queue: &Queue) -> bool {
        self.0.load(Ordering::Acquire) == 1 && queue.is_head_last()
    }
}

//! Bounded colors (C8): how many events a color may have, queued or running, and permits for them
//! (E14).
//!
//! Every event of a bounded color counts from its post until it has ended or was dropped. Only the
//! `try_` forms look at the number; what ignores the bound is counted all the same, and so is that
//! it exceeded it.
//!
//! The number is a plain counter. It orders nothing: an event that counts is passed on by the
//! queue.

use crate::sync::{AtomicUsize, Ordering};

/// See the module.
pub(crate) struct Bound {
    pub(crate) capacity: usize,
    count: AtomicUsize,
}

impl Bound {
    pub(crate) fn new(capacity: usize) -> Self {
        Bound { capacity, count: AtomicUsize::new(0) }
    }

    /// Counts one more event, if there is room.
    pub(crate) fn try_enter(&self) -> bool {
        let mut count = self.count.load(Ordering::Relaxed);
        while count < self.capacity {
            let more = count + 1;
            match self.count.compare_exchange_weak(
                count,
                more,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => count = now,
            }
        }
        false
    }

    /// One more event, in any case. False: it is one too many.
    pub(super) fn enter(&self) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed) < self.capacity
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts one event less.
    pub(super) fn leave(&self) {
        let before = self.count.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "C8: what leaves has entered");
    }
}

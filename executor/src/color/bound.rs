//! Bounded colors (C8): a limit on the events of a color, queued or running, and on the permits for
//! them (E14).
//!
//! An event of a bounded color counts from its post until it has ended or was dropped. Only the
//! `try_` functions check the limit. All other posts are accepted and counted as well, and the
//! metrics count each one that exceeds the limit.
//!
//! The number is a plain counter. It orders nothing: the queue publishes the event.

use crate::sync::{AtomicUsize, Ordering};

/// The limit of a color and the current number of its events.
pub(crate) struct Bound {
    pub(crate) capacity: usize,
    count: AtomicUsize,
}

impl Bound {
    pub(crate) fn new(capacity: usize) -> Self {
        Bound { capacity, count: AtomicUsize::new(0) }
    }

    /// Counts one more event, unless the limit is reached. Returns `false` then.
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

    /// Counts one more event in any case. Returns `false` if that exceeds the limit.
    pub(super) fn enter(&self) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed) < self.capacity
    }

    /// Returns the number of events that count now.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts one event less.
    pub(super) fn leave(&self) {
        let before = self.count.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "C8: an event left a bounded color that it had not entered");
    }
}

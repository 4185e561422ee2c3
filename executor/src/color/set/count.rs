//! The counts of a set: the requests that have not arrived, and the keepers of its memory.
//!
//! The requests of a set are in its own memory. A request is usually out of its queue before the
//! set is over. If a poster is between its two steps right behind the request, the request has to
//! stay in the queue and *keeps* the memory. It does so until that poster has linked and the
//! color's next holder has passed the request. The set itself is one keeper until it has released
//! all its colors.
//!
//! # Why no memory is freed while it is used
//!
//! A keeper is added before the color in whose queue the request stays is queued for its next
//! holder. That holder releases the keeper, so the release comes later. A keeper is also added
//! while the set itself still is one: for a shared request before it arrives, and for an exclusive
//! one before the set ends. Hence no keeper is added after all but one have gone, and a keeper that
//! finds the count at one is the last.
//!
//! Orderings: arriving is AcqRel, so that the set's event sees what the holders of all colors saw.
//! Releasing is AcqRel, and the last keeper acquires, so that what the other keepers did in the
//! memory happens before it is freed. Adding is relaxed, because the run queue that hands the color
//! on orders it before the release.

use dapple_colors::{Arrived, Gathering};

use crate::sync::{AtomicU32, Ordering};

/// The requests of a set that have not arrived, and the keepers of its memory.
pub(crate) struct SetCount {
    missing: AtomicU32,
    keepers: AtomicU32,
}

impl SetCount {
    /// Creates the counts of a set of `colors` colors, none of whose requests has arrived.
    #[inline]
    pub(crate) fn new(colors: u32) -> Self {
        SetCount { missing: AtomicU32::new(colors), keepers: AtomicU32::new(1) }
    }

    /// Counts `n` more requests that have arrived.
    #[inline]
    pub(crate) fn arrive(&self, n: u32) -> Arrived {
        let left = self.missing.fetch_sub(n, Ordering::AcqRel) - n;
        Gathering::after(left as usize)
    }

    /// Adds a keeper for a request that is over and stays in its queue.
    #[cold]
    pub(crate) fn keep(&self) {
        self.keepers.fetch_add(1, Ordering::Relaxed);
    }

    /// Releases a keeper: the set, or a request that had to stay and has left its queue. Returns
    /// `true` if it was the last one, so that the caller now owns the memory.
    #[inline]
    pub(crate) fn release(&self) -> bool {
        self.keepers.load(Ordering::Acquire) == 1
            || self.keepers.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

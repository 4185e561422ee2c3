//! What of a set is still to come, and what keeps its memory.
//!
//! A set's requests stand in its own memory. A request whose place is over leaves its queue, as a
//! rule, before the set is over. If a poster is between its two steps right behind it, it has to
//! stay, and *keeps* the memory: until that poster has linked, and the color's next holder has
//! passed the request. The set itself is one keeper, until it has given all its colors back.
//!
//! # Why nobody frees what another one uses
//!
//! Who adds a keeper does so before the color, in whose queue the request stays, is queued for its
//! next holder, which so releases later. It adds while the set itself is a keeper: a shared
//! request before it arrives, an exclusive one before the set ends. Hence nobody adds any more when
//! the last but one keeper has gone, and who finds itself the only one is the last.
//!
//! Orderings: arriving is AcqRel, so that what the holders of all colors saw is seen by the set's
//! event. Releasing is AcqRel, and the last one acquires, so that what other keepers did in the
//! memory has happened before it is freed. Adding is relaxed: the run queue that hands the color on
//! orders it before the release.

use dapple_colors::{Arrived, Gathering};

use crate::sync::{AtomicU32, Ordering};

/// See the module.
pub(crate) struct SetCount {
    missing: AtomicU32,
    keepers: AtomicU32,
}

impl SetCount {
    /// The count of a set of `colors` colors, none of whose requests has arrived.
    #[inline]
    pub(crate) fn new(colors: u32) -> Self {
        SetCount { missing: AtomicU32::new(colors), keepers: AtomicU32::new(1) }
    }

    /// Notes that this many of the requests have arrived.
    #[inline]
    pub(crate) fn arrive(&self, n: u32) -> Arrived {
        let left = self.missing.fetch_sub(n, Ordering::AcqRel) - n;
        Gathering::after(left as usize)
    }

    /// A request that is over stays in its queue.
    #[cold]
    pub(crate) fn keep(&self) {
        self.keepers.fetch_add(1, Ordering::Relaxed);
    }

    /// The set is over, or a request that had stayed has left its queue. True: the caller is the
    /// last one, and the memory is its.
    #[inline]
    pub(crate) fn release(&self) -> bool {
        self.keepers.load(Ordering::Acquire) == 1
            || self.keepers.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

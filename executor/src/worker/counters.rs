//! Counters with one writer, the worker: a load and a store, no read-modify-write.

use crate::sync::{AtomicU64, Ordering};

/// The counters of one worker.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) events: AtomicU64,
    pub(crate) turns: AtomicU64,
    pub(crate) steals: AtomicU64,
    pub(crate) colors_stolen: AtomicU64,
    pub(crate) parks: AtomicU64,
    pub(crate) sentinel_looks: AtomicU64,
    pub(crate) sentinel_nanos: AtomicU64,
    pub(crate) steals_undone: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) dropped: AtomicU64,
    /// The part of `events` that ran in vain, and counts as dropped.
    pub(crate) in_vain: AtomicU64,
    pub(crate) polls: AtomicU64,
    pub(crate) polls_for_others: AtomicU64,
    pub(crate) stalls: AtomicU64,
    pub(crate) over_limit: AtomicU64,
    pub(crate) ticket_stalls: AtomicU64,
}

/// Adds to a counter whose only writer is the caller.
#[inline]
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

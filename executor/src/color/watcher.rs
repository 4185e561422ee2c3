//! The worker that polls for everything that calls back on a color: descriptors, connections,
//! signals.

use crate::sync::{AtomicU16, Ordering};

/// The number of the worker plus one, or 0 if none is chosen. No other data is published by it.
pub(crate) struct Watcher(AtomicU16);

impl Watcher {
    pub(crate) fn new() -> Self {
        Watcher(AtomicU16::new(0))
    }

    pub(crate) fn settled(&self) -> Option<usize> {
        self.0.load(Ordering::Relaxed).checked_sub(1).map(usize::from)
    }

    /// Chooses `worker`, unless one is chosen already. Returns the chosen worker.
    pub(crate) fn settle(&self, worker: usize) -> usize {
        let (first, relaxed) = (worker as u16 + 1, Ordering::Relaxed);
        match self.0.compare_exchange(0, first, relaxed, relaxed) {
            Ok(_) => worker,
            Err(known) => usize::from(known - 1),
        }
    }
}

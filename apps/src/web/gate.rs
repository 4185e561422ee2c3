//! How many responses there may be at once of the kind that hold much memory for as long as their
//! client likes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Listings and zips at once, at most.
const MOST: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Gate(Arc<AtomicUsize>);

/// Room for one of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Pass(Arc<AtomicUsize>);

impl Gate {
    /// `None`: there is no room now.
    pub(super) fn enter(&self) -> Option<Pass> {
        let room = |inside| (inside < MOST).then_some(inside + 1);
        let entered = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        entered.is_ok().then(|| Pass(Arc::clone(&self.0)))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_makes_room() {
        let gate = Gate::default();
        let mut passes: Vec<_> = (0..MOST).map(|_| gate.enter().unwrap()).collect();
        assert!(gate.enter().is_none());
        passes.pop();
        passes.push(gate.enter().unwrap());
        assert!(gate.enter().is_none());
    }
}

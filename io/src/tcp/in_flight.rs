//! How many messages of a connection are in flight.
//!
//! Messages are delivered on the connection's color, and so counted there, by whoever holds it.
//! They end anywhere. Who ends one adds it to what has [ended](InFlight::end), and looks whether
//! the color waits for so many. The color says how many it [waits for](InFlight::wait_for), and
//! then looks how many have ended. Both are sequentially consistent: if the end is added after the
//! color has looked, what the color waits for was said before that, and who ends it sees it. So
//! the last end that is waited for is seen by one of them at least, and nobody takes a lock for the
//! others.

use dapple::sync::{AtomicU64, Ordering};

/// Nobody waits.
const NEVER: u64 = u64::MAX;

/// See the module.
#[derive(Debug)]
pub(super) struct InFlight {
    /// So many messages have ended.
    ended: AtomicU64,
    /// The color is to be told when so many have.
    awaited: AtomicU64,
}

impl Default for InFlight {
    fn default() -> Self {
        InFlight { ended: AtomicU64::new(0), awaited: AtomicU64::new(NEVER) }
    }
}

impl InFlight {
    /// A message has ended. Says whether the color is to be told.
    #[inline]
    pub(super) fn end(&self) -> bool {
        // Partner: `wait_for`.
        let ended = self.ended.fetch_add(1, Ordering::SeqCst) + 1;
        ended >= self.awaited.load(Ordering::SeqCst)
    }

    /// How many messages have ended.
    #[inline]
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// The color waits until so many have ended, or for nothing. Says whether they have: then
    /// nobody tells.
    pub(super) fn wait_for(&self, ended: Option<u64>) -> bool {
        let awaited = ended.unwrap_or(NEVER);
        // Partner: `end`.
        self.awaited.store(awaited, Ordering::SeqCst);
        self.ended.load(Ordering::SeqCst) >= awaited
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use dapple::sync::Arc;

    /// Whatever the order, one of the two sees that all have ended.
    #[test]
    fn n4_an_end_that_is_waited_for_is_seen() {
        for round in 0..20_000 {
            let in_flight = Arc::new(InFlight::default());
            let ends = 1 + round % 3;
            let also = Arc::clone(&in_flight);
            let ender = thread::spawn(move || (0..ends).fold(false, |told, _| also.end() || told));
            let sees = in_flight.wait_for(Some(ends));
            let told = ender.join().expect("it does not panic");
            assert!(sees || told, "round {round}");
            assert_eq!(in_flight.ended(), ends);
        }
    }
}

//! The number of messages of a connection that are in flight.
//!
//! Messages are delivered on the connection's color, so the event that holds the color counts them.
//! They end on any thread. A thread that ends a message adds it to the number of
//! [ended](InFlight::end) messages, and then looks whether the color waits for that number. The
//! color stores the number that it [waits for](InFlight::wait_for), and then looks how many have
//! ended. All four accesses are sequentially consistent. If an end is added after the color has
//! looked, the color's number was stored before that, and the thread that ends the message sees it.
//! So at least one of the two sees the last end that is waited for, and no other end takes a lock.

use dapple::sync::{AtomicU64, Ordering};

/// The color waits for nothing.
const NEVER: u64 = u64::MAX;

/// The number of ended messages, and the number that the color waits for.
#[derive(Debug)]
pub(super) struct InFlight {
    /// The number of messages that have ended.
    ended: AtomicU64,
    /// The number of ended messages at which the color is to be told.
    awaited: AtomicU64,
}

impl Default for InFlight {
    fn default() -> Self {
        InFlight { ended: AtomicU64::new(0), awaited: AtomicU64::new(NEVER) }
    }
}

impl InFlight {
    /// Records the end of a message. Returns `true` if the caller has to tell the color.
    #[inline]
    pub(super) fn end(&self) -> bool {
        // Pairs with the store and the load in `wait_for`.
        let ended = self.ended.fetch_add(1, Ordering::SeqCst) + 1;
        ended >= self.awaited.load(Ordering::SeqCst)
    }

    /// Returns the number of messages that have ended.
    #[inline]
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// Has the color wait until `ended` messages have ended, or for nothing. Returns `true` if they
    /// have ended already. The caller must act on that, because it is possible that no thread tells
    /// the color then.
    pub(super) fn wait_for(&self, ended: Option<u64>) -> bool {
        let awaited = ended.unwrap_or(NEVER);
        // Pairs with the addition and the load in `end`.
        self.awaited.store(awaited, Ordering::SeqCst);
        self.ended.load(Ordering::SeqCst) >= awaited
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use super::*;
    use dapple::sync::Arc;

    const ROUNDS: u64 = 200_000;

    /// Both threads begin each round at once. At least one of them notices the second end: the
    /// color by looking, or the ender because it is to tell the color.
    #[test]
    fn n4_an_end_that_is_waited_for_is_seen() {
        let in_flight = Arc::new(InFlight::default());
        let (round, told) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let ender = {
            let (in_flight, round, told) = (in_flight.clone(), round.clone(), told.clone());
            thread::spawn(move || {
                for n in 1..=ROUNDS {
                    while round.load(Ordering::Acquire) < n {
                        std::hint::spin_loop();
                    }
                    assert!(!in_flight.end(), "nobody waits for the first of two");
                    told.store(2 * n + u64::from(in_flight.end()), Ordering::Release);
                }
            })
        };
        let (mut by_sight, mut by_word) = (0, 0);
        for n in 1..=ROUNDS {
            round.store(n, Ordering::Release);
            for _ in 0..n % 64 {
                std::hint::spin_loop();
            }
            let sees = in_flight.wait_for(Some(2 * n));
            while told.load(Ordering::Acquire) < 2 * n {
                std::hint::spin_loop();
            }
            let is_told = told.load(Ordering::Acquire) & 1 != 0;
            assert!(sees || is_told, "round {n}");
            assert_eq!(in_flight.ended(), 2 * n);
            (by_sight, by_word) = (by_sight + u64::from(sees), by_word + u64::from(is_told));
            in_flight.wait_for(None);
        }
        ender.join().expect("it does not panic");
        assert!(!in_flight.end(), "nobody waits");
        println!("{by_sight} seen, {by_word} told, of {ROUNDS}");
    }
}

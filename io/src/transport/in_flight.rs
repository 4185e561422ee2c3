//! How many messages of a connection are in flight.
//!
//! Messages are delivered on the connection's color, and so counted there, by its holder. They end
//! anywhere. Who ends one adds it to what has [ended](InFlight::end), and looks whether the color
//! waits for so many. The color says how many it [waits for](InFlight::wait_for), and then looks
//! how many have ended. Both are sequentially consistent: if the end is added after the color has
//! looked, what the color waits for was said before that, and who ends it sees it. So the last end
//! that is waited for is seen by one of them at least, and nobody takes a lock for the others.

use dapple::sync::{AtomicU64, Ordering};

/// Nobody waits.
const NEVER: u64 = u64::MAX;

/// See the module.
#[derive(Debug)]
pub(super) struct InFlight {
    /// How many messages have ended.
    ended: AtomicU64,
    /// At how many of them the color is to be told.
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
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use super::*;
    use dapple::sync::Arc;

    const ROUNDS: u64 = 200_000;

    /// Both begin each round at once: where they differ by less than a step, who is told of the
    /// second end, or sees it, is one of the two at least.
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

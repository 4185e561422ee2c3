//! How fast the file system answers, and so where small changes of it are made.
//!
//! A hand-over to a thread beside the workers and back costs more than a small change takes where
//! the file system answers at once. Whether it does is measured, with each change. When beside the
//! workers enough were quick, and few slow, the next ones are made on the worker; there the bound is
//! tighter, and if more than a few take longer, or one takes much longer, further ones are made
//! beside the workers again. Each time that this happens doubles how many are enough, so a disk that
//! is slow now and then, or not slow enough to be told from a thread that waits for its core, holds
//! a worker up rarely.
//!
//! What waits behind such a worker is taken over by another one, as behind any event that blocks
//! (E4). A single worker has nobody to take over, so there small changes are made on the worker
//! only where the file system keeps everything in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A change on a worker that takes no longer than this is quick: longer than one in memory, and
/// shorter than most for which a disk has to answer.
const QUICK: Duration = Duration::from_micros(150);

/// A change that takes longer than this is slow. Beside the workers all others are quick, as the
/// threads there may have to wait for each other.
const SLOW: Duration = Duration::from_millis(1);

/// Quick changes that are enough, at first and at most.
const FEWEST: u32 = 32;
const MOST: u32 = 1 << 16;

/// Quick changes that count beyond what is enough, at most.
const MOST_CREDIT: u32 = 64;

/// Quick changes that one that is not takes back.
const TAKES_BACK: u32 = 8;

/// After so many times what is enough, made on a worker, it is [`FEWEST`] again.
const FORGOTTEN_AFTER: u32 = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    /// `None`: nothing is made on the worker, however quick it is.
    counts: Option<Mutex<Counts>>,
}

#[derive(Debug)]
struct Counts {
    /// Quick changes, less what others took back.
    quick: u32,
    enough: u32,
    /// Changes on a worker since the last time that they were sent beside.
    on_worker: u32,
}

/// Where a change was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    OnTheWorker,
    Beside,
}

impl Pace {
    /// `in_memory`: the file system keeps everything in memory.
    pub(super) fn new(in_memory: bool, workers: usize) -> Pace {
        let quick = if in_memory { FEWEST + MOST_CREDIT } else { 0 };
        let counts = Counts { quick, enough: FEWEST, on_worker: 0 };
        Pace { counts: (in_memory || workers > 1).then(|| Mutex::new(counts)) }
    }

    fn counts(&self) -> Option<MutexGuard<'_, Counts>> {
        let counts = self.counts.as_ref()?;
        Some(counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says whether the next small change is made on the worker.
    pub(super) fn is_quick(&self) -> bool {
        self.counts().is_some_and(|counts| counts.quick >= counts.enough)
    }

    /// Counts a small change that took so long.
    pub(super) fn count(&self, took: Duration, made: Made) {
        self.counts().into_iter().for_each(|mut counts| counts.count(took, made));
    }
}

impl Counts {
    fn count(&mut self, took: Duration, made: Made) {
        let is_quick = took <= if made == Made::OnTheWorker { QUICK } else { SLOW };
        self.quick = match is_quick {
            true => (self.quick + 1).min(self.enough + MOST_CREDIT),
            false => self.quick.saturating_sub(TAKES_BACK),
        };
        if made == Made::Beside {
            return;
        }
        self.on_worker += 1;
        if took > SLOW || self.quick < self.enough {
            *self = Counts { quick: 0, enough: (2 * self.enough).min(MOST), on_worker: 0 };
        } else if self.on_worker >= FORGOTTEN_AFTER * self.enough {
            (self.enough, self.on_worker) = (FEWEST, 0);
            self.quick = self.quick.min(FEWEST + MOST_CREDIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a disk takes.
    const LONG: Duration = Duration::from_millis(20);

    /// Counts changes, each made where the pace says, and says how many were made on the worker.
    fn make(pace: &Pace, changes: usize, took: Duration) -> usize {
        let on_worker = |_: &usize| {
            let is_here = pace.is_quick();
            pace.count(took, if is_here { Made::OnTheWorker } else { Made::Beside });
            is_here
        };
        (0..changes).filter(on_worker).count()
    }

    #[test]
    fn quick_ones_are_made_on_the_worker_once_there_are_enough() {
        let pace = Pace::new(false, 2);
        assert_eq!(make(&pace, 1_000, QUICK), 1_000 - FEWEST as usize);
    }

    #[test]
    fn a_few_slow_ones_beside_the_workers_do_not_matter() {
        let is_quick = |quick: usize| {
            let pace = Pace::new(false, 2);
            for _ in 0..100 {
                (0..quick).for_each(|_| pace.count(SLOW, Made::Beside));
                pace.count(LONG, Made::Beside);
            }
            pace.is_quick()
        };
        assert!(is_quick(20) && !is_quick(TAKES_BACK as usize));
    }

    #[test]
    fn a_few_on_a_worker_that_take_longer_do_not_matter() {
        let pace = Pace::new(true, 2);
        for _ in 0..100 {
            assert_eq!(make(&pace, 10, QUICK), 10);
            assert_eq!(make(&pace, 1, SLOW), 1);
        }
        assert_eq!(make(&pace, 100, SLOW), 9, "more than a few do");
    }

    #[test]
    fn a_slow_disk_never_holds_up_a_worker() {
        assert_eq!(make(&Pace::new(false, 2), 10_000, LONG), 0);
    }

    #[test]
    fn one_that_is_not_slow_enough_holds_up_a_worker_ever_more_rarely() {
        let pace = Pace::new(false, 2);
        // 32, 64, 128 and so on beside the workers, and one on a worker after each.
        assert_eq!(make(&pace, (1 << 16) - 32 + 11, SLOW), 11);
        assert_eq!(make(&pace, 1 << 16, SLOW), 0);
        assert_eq!(make(&pace, 1 << 16, SLOW), 1, "and no more rarely than that");
    }

    #[test]
    fn a_long_row_makes_slow_ones_forgotten() {
        let pace = Pace::new(false, 2);
        for _ in 0..5 {
            while make(&pace, 1, Duration::ZERO) == 0 {}
            assert_eq!(make(&pace, 1, LONG), 1);
        }
        make(&pace, (FORGOTTEN_AFTER + 1) as usize * 32 * FEWEST as usize, Duration::ZERO);
        assert_eq!(make(&pace, 1, LONG), 1);
        assert_eq!(make(&pace, 100, Duration::ZERO), 100 - 2 * FEWEST as usize);
    }

    #[test]
    fn a_single_worker_makes_them_in_memory_only() {
        assert_eq!(make(&Pace::new(false, 1), 10_000, Duration::ZERO), 0);
        let in_memory = Pace::new(true, 1);
        assert_eq!(make(&in_memory, 100, Duration::ZERO), 100);
        assert_eq!(make(&in_memory, 2, LONG), 1);
    }
}

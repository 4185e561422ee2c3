//! The speed of the file system, and the choice of where small changes are made.
//!
//! If the file system answers at once, a hand-over to a thread of the blocking pool and back costs
//! more than a small change takes. Each change is measured. When enough changes on the blocking
//! pool were quick, and few were slow, the next ones are made on the worker. There the bound is
//! tighter. If more than a few changes take longer than it, or one takes much longer, further
//! changes are made on the blocking pool again. Each time that this happens, the number of quick
//! changes that are enough doubles. So a disk that is sometimes slow delays a worker only rarely,
//! and so does one whose speed cannot be told from a thread's wait for a core.
//!
//! Another worker takes over what waits behind such a worker, as behind any event that blocks (E4).
//! So there is always one more worker than there are changes on workers, unless everything that is
//! served is in memory. A single worker makes changes itself only in that case.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dapple::clock;

/// The time up to which a change on a worker is quick. It is longer than a change in memory takes,
/// and shorter than most changes for which a disk has to answer.
const QUICK: Duration = Duration::from_micros(150);

/// The time above which a change is slow. On the blocking pool all other changes are quick, because
/// its threads may have to wait for each other.
const SLOW: Duration = Duration::from_millis(1);

/// The number of quick changes that are enough: its initial value and its maximum.
const FEWEST: u32 = 32;
const MOST: u32 = 1 << 16;

/// The maximum number of quick changes that count beyond those that are enough.
const MOST_CREDIT: u32 = 64;

/// The number of quick changes that one change cancels which is not quick.
const TAKES_BACK: u32 = 8;

/// The factor for forgetting: after this many times [`Counts::enough`] changes on workers, that
/// number is [`FEWEST`] again.
const FORGOTTEN_AFTER: u32 = 16;

/// The measurements, and the choice that follows from them. See the module.
#[derive(Debug)]
pub(super) struct Pace {
    /// The measurements, or `None` if no change may be made on a worker.
    counts: Option<Mutex<Counts>>,
    workers: usize,
}

#[derive(Debug)]
struct Counts {
    /// The number of quick changes, minus those that others cancelled.
    quick: u32,
    /// The number of quick changes that are enough for changes on workers.
    enough: u32,
    /// The number of changes on workers since changes last went back to the blocking pool.
    on_worker: u32,
    /// The number of changes that are being made on workers.
    under_way: usize,
}

/// A small change that is being made.
#[derive(Debug)]
pub(super) struct Change {
    pace: Arc<Pace>,
    begun: Option<Instant>,
    pub(super) place: MadeOn,
}

/// The place where a change is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MadeOn {
    Worker,
    Pool,
}

impl Pace {
    /// Creates the measurements. `in_memory` says whether the file system keeps everything in
    /// memory.
    pub(super) fn new(in_memory: bool, workers: usize) -> Arc<Pace> {
        let quick = if in_memory { FEWEST + MOST_CREDIT } else { 0 };
        let counts = Counts { quick, enough: FEWEST, on_worker: 0, under_way: 0 };
        let is_possible = in_memory || workers > 1;
        Arc::new(Pace { counts: is_possible.then(|| Mutex::new(counts)), workers })
    }

    fn counts(&self) -> Option<MutexGuard<'_, Counts>> {
        let counts = self.counts.as_ref()?;
        Some(counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Chooses where the next small change is made. `in_memory` says whether everything that is
    /// served is still in memory.
    pub(super) fn next(self: &Arc<Self>, in_memory: bool) -> Change {
        let mut place = MadeOn::Pool;
        let places = if in_memory { self.workers } else { self.workers - 1 };
        if let Some(mut counts) = self.counts()
            && counts.quick >= counts.enough
            && counts.under_way < places
        {
            counts.under_way += 1;
            place = MadeOn::Worker;
        }
        Change { pace: Arc::clone(self), begun: None, place }
    }

    /// Notes that a change on a worker has ended there.
    fn leave(&self) {
        self.counts().into_iter().for_each(|mut counts| counts.under_way -= 1);
    }
}

impl Change {
    /// Moves the change to the blocking pool, whatever was chosen. If it has begun, it begins anew
    /// there.
    pub(super) fn leave_the_worker(&mut self) {
        if self.place == MadeOn::Worker {
            self.count(false);
            self.place = MadeOn::Pool;
            self.pace.leave();
        }
    }

    /// Notes that the change begins now.
    pub(super) fn begin(&mut self) {
        self.begun = Some(clock::now());
    }

    /// Notes that the change was made, or was refused.
    pub(super) fn end(self, is_made: bool) {
        self.count(is_made);
    }

    fn count(&self, is_made: bool) {
        let took = self.begun.map(|begun| clock::now() - begun);
        took.into_iter().for_each(|took| self.count_as(took, is_made));
    }

    /// Counts a change. A change that was refused says nothing about the disk, unless it was slow.
    fn count_as(&self, took: Duration, is_made: bool) {
        if let Some(mut counts) = self.pace.counts().filter(|_| is_made || took > SLOW) {
            counts.count(took, self.place);
        }
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        if self.place == MadeOn::Worker {
            self.pace.leave();
        }
    }
}

impl Counts {
    fn count(&mut self, took: Duration, place: MadeOn) {
        let is_quick = took <= if place == MadeOn::Worker { QUICK } else { SLOW };
        self.quick = match is_quick {
            true => (self.quick + 1).min(self.enough + MOST_CREDIT),
            false => self.quick.saturating_sub(TAKES_BACK),
        };
        if place == MadeOn::Pool {
            return;
        }
        self.on_worker += 1;
        if took > SLOW || self.quick < self.enough {
            (self.quick, self.on_worker) = (0, 0);
            self.enough = (2 * self.enough).min(MOST);
        } else if self.on_worker >= FORGOTTEN_AFTER * self.enough {
            (self.enough, self.on_worker) = (FEWEST, 0);
            self.quick = self.quick.min(FEWEST + MOST_CREDIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time that a slow disk takes.
    const LONG: Duration = Duration::from_millis(20);

    /// Makes changes of this duration where the pace chooses. Returns the number of those on
    /// workers.
    fn make(pace: &Arc<Pace>, changes: usize, took: Duration) -> usize {
        let is_here = |_: &usize| {
            let change = next(pace);
            change.count_as(took, true);
            change.place == MadeOn::Worker
        };
        (0..changes).filter(is_here).count()
    }

    /// Returns the next change: with one worker in memory, and otherwise on a disk.
    fn next(pace: &Arc<Pace>) -> Change {
        pace.next(pace.workers == 1)
    }

    fn under_way(pace: &Pace) -> usize {
        pace.counts().unwrap().under_way
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
                let mut counts = pace.counts().unwrap();
                (0..quick).for_each(|_| counts.count(SLOW, MadeOn::Pool));
                counts.count(LONG, MadeOn::Pool);
            }
            next(&pace).place == MadeOn::Worker
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
        // 32, 64, 128 and so on changes on the blocking pool, each series followed by one change on
        // a worker.
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
    fn one_worker_is_left_to_take_over() {
        let pace = Pace::new(true, 3);
        let on_workers = |in_memory| {
            let changes: Vec<Change> = (0..5).map(|_| pace.next(in_memory)).collect();
            changes.iter().filter(|change| change.place == MadeOn::Worker).count()
        };
        assert_eq!((on_workers(true), on_workers(false)), (3, 2));
        assert_eq!(under_way(&pace), 0);
    }

    #[test]
    fn a_place_is_given_back_however_a_change_ends() {
        let pace = Pace::new(true, 2);
        let begun = || {
            let mut change = pace.next(true);
            assert_eq!((change.place, under_way(&pace)), (MadeOn::Worker, 1));
            change.begin();
            change
        };
        begun().end(true);
        begun().end(false);
        drop(begun());
        let mut leaves = begun();
        leaves.leave_the_worker();
        assert_eq!((leaves.place, under_way(&pace)), (MadeOn::Pool, 0));
        leaves.leave_the_worker();
        leaves.end(true);
        let panics = std::panic::AssertUnwindSafe(|| {
            let _change = begun();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(under_way(&pace), 0);
    }

    #[test]
    fn what_is_refused_says_nothing_about_the_disk_unless_it_is_slow() {
        let pace = Pace::new(false, 2);
        let all = |took, is_made| {
            (0..FEWEST).for_each(|_| next(&pace).count_as(took, is_made));
            next(&pace).place
        };
        assert_eq!(all(Duration::ZERO, false), MadeOn::Pool);
        assert_eq!(all(Duration::ZERO, true), MadeOn::Worker);
        assert_eq!(all(LONG, false), MadeOn::Pool);
    }

    #[test]
    fn a_single_worker_makes_them_in_memory_only() {
        assert_eq!(make(&Pace::new(false, 1), 10_000, Duration::ZERO), 0);
        let in_memory = Pace::new(true, 1);
        assert_eq!(make(&in_memory, 100, Duration::ZERO), 100);
        assert_eq!(make(&in_memory, 2, LONG), 1);
    }
}

//! The classes of work in a run queue (C7).
//!
//! A worker has a lane for each class: a deque, and an inbox for what other threads hand to it. The
//! normal lane has a private part besides. [`Aging`](dapple_colors::priority::Aging) decides which
//! lane is served next. As long as nothing has a class other than the normal one, no worker looks
//! into its other lanes between two events.
//!
//! # Work that is raised
//!
//! A color that a set of a higher class waits for runs in that class (see `color::marks`). So do
//! the readers of the color that were let go, and the sets that have it. (Sets that stand before
//! the waiting set, and wait for further colors, pass nothing on to those.)
//!
//! If the raised color stands in a run queue already, it stands in the wrong lane, and no thread
//! can take it out of the middle. So the thread that raises a color counts it, and a worker that
//! sees the count change sorts its lower lanes: it takes every entry out at the front and puts it
//! in again at the back, of the same lane or of a higher one, so that their order stays. Sorting
//! takes time in proportion to the number of entries, so it is repeated only after that number of
//! entries has run.

use dapple_colors::Priority;

use super::figures::UNKNOWN;
use super::scheduler::Scheduler;
use super::steal::Verdict;
use super::work::Work;

/// A worker's knowledge of raised work.
#[derive(Clone, Copy, Default)]
pub(crate) struct Resorting {
    /// The count of raised work when the worker last sorted its lanes.
    seen: usize,
    /// The number of entries to run before the worker sorts its lanes again.
    credit: usize,
}

impl<W: Work> Scheduler<W> {
    /// Takes the next entry of the own run queue, in the order of classes.
    #[cold]
    pub(super) fn dequeue_by_class(&self) -> Option<W> {
        self.resort();
        loop {
            let waits = |class| match class {
                // The worker's loop looks at the inbox of this class itself.
                Priority::Normal => {
                    self.plain.has(class) || self.ready.has(class) || self.affine.has(class)
                }
                _ => self.shared().has_open(class) || self.has_affine_of(class),
            };
            let mut aging = self.aging.get();
            let class = aging.next(waits)?;
            self.aging.set(aging);
            if class != Priority::Normal {
                self.empty_inbox_of(class);
            }
            let entry = self.next_of(class);
            if entry.is_some() {
                return entry;
            }
            // Another thread has taken the entry, or is taking private entries just now.
            let has_open = !self.plain.lane(class).is_empty() || !self.ready.lane(class).is_empty();
            if class == Priority::Normal && !has_open {
                return None;
            }
        }
    }

    /// Returns `true` if an entry of a class is bound to this worker, in its inbox or in its lanes.
    fn has_affine_of(&self, class: Priority) -> bool {
        self.affine.has(class)
            || self.fleet.has_affine() && !self.shared().affine.is_empty_of(class)
    }

    /// Takes work of the high class from another worker, if this worker has none. Such work waits
    /// behind the event that the other worker is in, while this worker would serve a lower class.
    pub(super) fn take_high(&self) {
        if !self.fleet.has_classes() || self.shared().has_open(Priority::High) {
            return;
        }
        for &index in &self.shared().neighbours {
            let victim = &self.fleet.workers[index];
            if victim.has_open(Priority::High)
                && self.fleet.judge(index) == Verdict::Yes
                && self.take_class_from(victim, Priority::High)
            {
                return;
            }
        }
    }

    /// Sorts the lower lanes if work was raised; see the module.
    fn resort(&self) {
        let Resorting { seen, credit } = self.resorting.get();
        let raised = self.fleet.raised();
        if raised == seen || credit > 0 {
            return self.resorting.set(Resorting { seen, credit: credit.saturating_sub(1) });
        }
        for class in [Priority::Normal, Priority::Low] {
            self.empty_inbox_of(class);
        }
        let mut sorted = 0;
        for queues in [&self.ready, &self.plain] {
            let private = queues.private_len();
            let lower = [Priority::Normal, Priority::Low];
            let lanes = lower.map(|class| (class, queues.lane(class).len()));
            for entry in (0..private).map_while(|_| queues.pop_private()) {
                sorted += 1;
                self.queue_again(entry);
            }
            for (class, entries) in lanes {
                for entry in (0..entries).map_while(|_| queues.lane(class).pop()) {
                    sorted += 1;
                    self.queue_again(entry);
                }
            }
        }
        let bound: Vec<_> = self.take_all_affine().collect();
        for entry in bound {
            sorted += 1;
            self.queue_again(entry);
        }
        self.resorting.set(Resorting { seen: raised, credit: sorted });
    }

    fn queue_again(&self, entry: W) {
        let entry = entry.sorted();
        let worth = match entry.worth() {
            UNKNOWN => self.entry_nanos.get(),
            worth => worth,
        };
        self.queue(entry, worth);
    }
}

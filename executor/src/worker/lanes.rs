//! Classes of work in the run queue (C7).
//!
//! A worker has a lane for each class: a deque, and an inbox for what others hand to it; the normal
//! one has a private part besides. Which lane is served next is decided by
//! [`Aging`](dapple_colors::priority::Aging). As long as nothing has another class than the normal
//! one, no worker looks into its other lanes between two events.
//!
//! # Work that is raised
//!
//! A color that a set of a higher class waits for runs in that class (see `color::marks`), and so
//! do readers of it that were let go, and sets that have it. (Sets that stand before the set, and
//! wait for yet other colors, pass nothing on to those.) If it stands in a run queue already, it
//! stands in the wrong lane, and nobody can take it out of the middle. So a thread that raises a
//! color counts it, and a worker that sees the count change sorts its lower lanes anew: every entry
//! is taken out at the front and put in again, at the back of its lane or of a higher one, so that
//! their order stays. As that takes as long as there are entries, it is done again only after as
//! many entries have been run.

use dapple_colors::Priority;

use super::figures::UNKNOWN;
use super::scheduler::Scheduler;
use super::steal::Verdict;
use super::work::Work;

/// What a worker knows of raised work.
#[derive(Clone, Copy, Default)]
pub(crate) struct Resorting {
    /// How much there had been when it last sorted its lanes.
    seen: usize,
    /// Entries that are run before it sorts them again.
    credit: usize,
}

impl<W: Work> Scheduler<W> {
    /// The next entry of the own run queue, in the order of classes.
    #[cold]
    pub(super) fn dequeue_by_class(&self) -> Option<W> {
        self.resort();
        loop {
            let waits = |class| match class {
                // What others have handed over in this class is looked at by the loop.
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
            // Somebody else has taken it; or takes what is private, just now.
            let has_open = !self.plain.lane(class).is_empty() || !self.ready.lane(class).is_empty();
            if class == Priority::Normal && !has_open {
                return None;
            }
        }
    }

    /// Says whether something of a class is bound to this worker, taken out of its inbox or not.
    fn has_affine_of(&self, class: Priority) -> bool {
        self.affine.has(class)
            || self.fleet.has_affine() && !self.shared().affine.is_empty_of(class)
    }

    /// If this worker would serve a lower class next, while a higher one waits behind the event
    /// that another worker is in, it takes some of that.
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

    /// Sorts the lower lanes anew, if work was raised; see the module.
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

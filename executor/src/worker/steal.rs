//! Stealing: whether, from whom, how much.
//!
//! A thief takes whole colors: one word from the victim's run queue, however many events the color
//! has (E3). Moving a color that others feed with tiny events loses; moving one that feeds
//! itself, or whose events are long, wins. A thief cannot look into a run queue, so it decides from
//! what the victim publishes: its average time per run-queue entry, and how many of its posts go from an
//! event to its own color. What has waited behind one event for longer than the steal delay
//! is taken whatever the figures say (E4): see `watch`.

use crossbeam_deque::{Injector, Steal, Stealer};

use super::entry::Entry;
use super::local::Local;
use super::shared::{WorkerShared, add};
use crate::runtime::builder::StealPolicy;
use crate::sync::Ordering;

/// Entries shorter than this, in nanoseconds, cost more to move than they bring.
const PRICE_NANOS: u32 = 2_000;

/// Of a thousand posts, as many to the own color make chains out of a worker's colors.
const MOSTLY_CHAINS: u32 = 500;

/// Entries that one steal takes at most.
const BATCH: usize = 32;

impl Local {
    /// Looks for something to run at the other workers. True: it is in the own run queue now.
    pub(super) fn steal(&self) -> bool {
        let n = self.core.workers.len();
        (1..n).map(|i| (self.index + i) % n).any(|index| {
            let victim = &self.core.workers[index];
            !victim.has_nothing() && self.pays(victim) && self.take_from(victim)
        })
    }

    /// Takes about half of what is runnable at another worker, a batch at most.
    pub(super) fn take_from(&self, victim: &WorkerShared) -> bool {
        let before = self.deque.len();
        let batch = |from: &dyn Fn() -> Steal<()>| retry(from).is_some();
        let taken = batch(&|| victim.stealer.steal_batch_with_limit(&self.deque, BATCH))
            || batch(&|| victim.inbox.steal_batch_with_limit(&self.deque, BATCH));
        if taken {
            // What was taken became ready after this worker last looked at its descriptors.
            self.polls.set(self.polls.get() + 1);
            let counters = &self.shared().counters;
            add(&counters.steals, 1);
            add(&counters.colors_stolen, self.deque.len().saturating_sub(before) as u64);
        }
        taken
    }

    fn pays(&self, victim: &WorkerShared) -> bool {
        match self.core.settings.steal_policy {
            StealPolicy::Off => false,
            StealPolicy::Eager => true,
            StealPolicy::CostAware => {
                let published = &victim.published;
                published.entry_nanos.load(Ordering::Relaxed) >= PRICE_NANOS
                    || published.self_posts.load(Ordering::Relaxed) >= MOSTLY_CHAINS
            }
        }
    }

    /// Takes what others have handed to this worker.
    pub(super) fn take_inbox(&self) -> Option<Entry> {
        let inbox = &self.shared().inbox;
        if inbox.is_empty() {
            return None;
        }
        // It was put there after this worker last looked at its descriptors, perhaps.
        self.polls.set(self.polls.get() + 1);
        retry(|| inbox.steal_batch_and_pop(&self.deque))
    }
}

/// One entry of a worker, for whoever disposes of what is left.
pub(super) fn take_one(inbox: &Injector<Entry>, stealer: &Stealer<Entry>) -> Option<Entry> {
    retry(|| inbox.steal()).or_else(|| retry(|| stealer.steal()))
}

fn retry<T>(mut attempt: impl FnMut() -> Steal<T>) -> Option<T> {
    loop {
        match attempt() {
            Steal::Success(entry) => return Some(entry),
            Steal::Empty => return None,
            Steal::Retry => crate::sync::spin_loop(),
        }
    }
}

//! Stealing: whether, from whom, how much.
//!
//! A thief takes whole colors: one word from the victim's run queue, however many events the color
//! has (E3). Moving a color that others feed with tiny events loses; moving one that feeds
//! itself, or whose events are long, wins. A thief cannot look into a run queue, so it decides from
//! what the victim publishes: its average time per run-queue entry, and how many of its posts go from an
//! event to its own color. What has waited behind one event for longer than the steal delay
//! is taken whatever the figures say (E4).

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

/// What a thief remembers of the others.
pub(super) struct Watch {
    last: Vec<Look>,
}

#[derive(Clone, Copy, Default)]
struct Look {
    progress: u64,
    since: u64,
}

impl Watch {
    pub(super) fn new(workers: usize) -> Self {
        Watch { last: vec![Look::default(); workers] }
    }

    /// Has `victim` not got on since it was looked at, at least `delay` nanoseconds ago?
    fn is_stuck(&mut self, index: usize, victim: &WorkerShared, now: u64, delay: u64) -> bool {
        let look = &mut self.last[index];
        let progress = victim.published.progress.load(Ordering::Relaxed);
        if look.progress != progress || look.since == 0 {
            *look = Look { progress, since: now };
            return false;
        }
        now.saturating_sub(look.since) >= delay
    }
}

impl Local {
    /// Looks for something to run at the other workers. What it takes, but for the one entry that
    /// it gives back, is in the own run queue afterwards.
    pub(super) fn steal(&self, watch: &mut Watch) -> Option<Entry> {
        let n = self.core.workers.len();
        (1..n).map(|i| (self.index + i) % n).find_map(|index| {
            let victim = &self.core.workers[index];
            if victim.has_nothing() || !self.pays(index, victim, watch) {
                return None;
            }
            let before = self.deque.len();
            let entry = retry(|| victim.stealer.steal_batch_with_limit_and_pop(&self.deque, BATCH))
                .or_else(|| {
                    retry(|| victim.inbox.steal_batch_with_limit_and_pop(&self.deque, BATCH))
                })?;
            // What was taken became ready after this worker last looked at its descriptors.
            self.polls.set(self.polls.get() + 1);
            let counters = &self.shared().counters;
            add(&counters.steals, 1);
            add(&counters.colors_stolen, (self.deque.len() + 1).saturating_sub(before) as u64);
            Some(entry)
        })
    }

    fn pays(&self, index: usize, victim: &WorkerShared, watch: &mut Watch) -> bool {
        match self.core.settings.steal_policy {
            StealPolicy::Off => false,
            StealPolicy::Eager => true,
            StealPolicy::CostAware => {
                let published = &victim.published;
                published.entry_nanos.load(Ordering::Relaxed) >= PRICE_NANOS
                    || published.self_posts.load(Ordering::Relaxed) >= MOSTLY_CHAINS
                    || watch.is_stuck(
                        index,
                        victim,
                        self.core.clock.now(),
                        self.core.settings.steal_delay_nanos(),
                    )
            }
        }
    }

    /// Takes what others have handed to this worker.
    pub(super) fn take_inbox(&self) -> Option<Entry> {
        let inbox = &self.shared().inbox;
        if inbox.is_empty() {
            return None;
        }
        retry(|| inbox.steal_batch_and_pop(&self.deque))
    }
}

/// One entry of a worker, for whoever disposes of what is left.
pub(super) fn take_one(inbox: &Injector<Entry>, stealer: &Stealer<Entry>) -> Option<Entry> {
    retry(|| inbox.steal()).or_else(|| retry(|| stealer.steal()))
}

fn retry(mut attempt: impl FnMut() -> Steal<Entry>) -> Option<Entry> {
    loop {
        match attempt() {
            Steal::Success(entry) => return Some(entry),
            Steal::Empty => return None,
            Steal::Retry => crate::sync::spin_loop(),
        }
    }
}

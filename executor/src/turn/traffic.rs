//! What is counted of a worker's posts: how long turns may last is decided by it, and what the
//! traffic between colors is.

use std::cell::Cell;

/// What an event without a color counts for, in thousandths of one that a color exchanges: it
/// crosses once, in one direction, and nobody writes to the same place from the other side.
const UNCOLORED_TRAFFIC: u32 = 250;

/// What an event of a domain counts for besides: it takes the domain's lock when it is posted and
/// when it ends, and writes to the order both times.
const DOMAIN_TRAFFIC: u32 = 2_000;

/// See the module. All numbers are since the worker started, and wrap.
#[derive(Default)]
pub(crate) struct Traffic {
    all: Cell<u32>,
    /// Of these, those of events to their own color, and those without a color.
    own: Cell<u32>,
    uncolored: Cell<u32>,
    /// Events without a color that have run here; of these, those of domains.
    uncolored_events: Cell<u32>,
    domain_events: Cell<u32>,
    /// All of these, and the events that had run, when the traffic was last asked for.
    before: Cell<(u64, u32, u32, InAndOut)>,
}

/// Posts to the own color, and to others.
#[derive(Clone, Copy, Default)]
pub(crate) struct InAndOut {
    pub(crate) own: u32,
    pub(crate) out: u32,
}

impl InAndOut {
    /// Those since `before`.
    pub(crate) fn since(self, before: InAndOut) -> InAndOut {
        let own = self.own.wrapping_sub(before.own);
        InAndOut { own, out: self.out.wrapping_sub(before.out) }
    }
}

#[inline]
fn add(count: &Cell<u32>, n: u32) {
    count.set(count.get().wrapping_add(n));
}

impl Traffic {
    /// So many more.
    #[inline]
    pub(crate) fn count(&self, n: u32) {
        add(&self.all, n);
    }

    /// The next one is by an event to its own color.
    #[inline]
    pub(super) fn is_to_itself(&self) {
        add(&self.own, 1);
    }

    /// The next one is of an event without a color.
    #[inline]
    pub(super) fn is_uncolored(&self) {
        add(&self.uncolored, 1);
    }

    /// An event without a color runs.
    #[inline]
    pub(super) fn runs_uncolored(&self) {
        add(&self.uncolored_events, 1);
    }

    /// It is one of a domain.
    #[inline]
    pub(crate) fn runs_in_a_domain(&self) {
        add(&self.domain_events, 1);
    }

    #[inline]
    pub(super) fn all(&self) -> u32 {
        self.all.get()
    }

    #[inline]
    pub(super) fn in_and_out(&self) -> InAndOut {
        let own = self.own.get();
        let not_out = own.wrapping_add(self.uncolored.get());
        InAndOut { own, out: self.all.get().wrapping_sub(not_out) }
    }

    /// Thousandths of events that crossed from color to color since this was last asked. `events`:
    /// how many have run.
    pub(super) fn since_asked(&self, events: u64) -> u64 {
        let (uncolored, domain) = (self.uncolored_events.get(), self.domain_events.get());
        let posts = self.in_and_out();
        let before = self.before.replace((events, uncolored, domain, posts));
        let (events_before, uncolored_before, domain_before, posts_before) = before;
        let uncolored = u64::from(uncolored.wrapping_sub(uncolored_before));
        let domain = u64::from(domain.wrapping_sub(domain_before));
        let posts = posts.since(posts_before);
        let colored = events.saturating_sub(events_before).saturating_sub(uncolored);
        // As many events as colors posted to themselves came from themselves; the others from
        // elsewhere.
        let crossed = colored.saturating_sub(u64::from(posts.own)) + u64::from(posts.out);
        1_000 * crossed
            + u64::from(UNCOLORED_TRAFFIC) * uncolored
            + u64::from(DOMAIN_TRAFFIC) * domain
    }
}

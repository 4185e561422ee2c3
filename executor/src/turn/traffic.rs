//! The counts of a worker's posts, by which the length of turns is bounded and the traffic between
//! colors is estimated.

use std::cell::Cell;

/// The weight of an event without a color, in thousandths of an event that a color exchanges: it
/// crosses once, in one direction, and no worker writes to the same place from the other side.
const UNCOLORED_TRAFFIC: u32 = 250;

/// The weight of a color of a set, in the same unit: its cache lines cross if another worker had it
/// before, in one direction.
const SET_COLOR_TRAFFIC: u32 = 250;

/// The additional weight of an event of a domain, in the same unit: it takes the domain's lock when
/// it is posted and when it ends, and writes to the order both times.
const DOMAIN_TRAFFIC: u32 = 2_000;

/// The counts of a worker's posts. They start at the worker's start, and wrap.
#[derive(Default)]
pub(crate) struct Traffic {
    all: Cell<u32>,
    /// The parts of `all`: posts of events to their own color, posts without a color, and the
    /// colors of sets.
    own: Cell<u32>,
    uncolored: Cell<u32>,
    set_colors: Cell<u32>,
    /// The events that have run here and were in no color's queue, without those of sets.
    /// `domain_events` are those of domains among them.
    uncolored_events: Cell<u32>,
    domain_events: Cell<u32>,
    /// The events of sets that have run here.
    set_events: Cell<u32>,
    /// The counts when the traffic was last read.
    before: Cell<Counted>,
}

/// The counts at some time.
#[derive(Clone, Copy, Default)]
struct Counted {
    events: u64,
    uncolored: u32,
    domain: u32,
    sets: u32,
    posts: InAndOut,
}

/// The posts to the own color, to others, and to colors of sets.
#[derive(Clone, Copy, Default)]
pub(crate) struct InAndOut {
    pub(super) own: u32,
    out: u32,
    set_colors: u32,
}

impl InAndOut {
    /// Returns the counts since `before`.
    pub(super) fn since(self, before: InAndOut) -> InAndOut {
        InAndOut {
            own: self.own.wrapping_sub(before.own),
            out: self.out.wrapping_sub(before.out),
            set_colors: self.set_colors.wrapping_sub(before.set_colors),
        }
    }

    /// Returns the weight of what has gone out, in thousandths of an event that a color exchanges.
    pub(super) fn gone_out(self) -> u64 {
        1_000 * u64::from(self.out) + u64::from(SET_COLOR_TRAFFIC) * u64::from(self.set_colors)
    }
}

#[inline]
fn add(count: &Cell<u32>, n: u32) {
    count.set(count.get().wrapping_add(n));
}

impl Traffic {
    /// Counts `n` more posts.
    #[inline]
    pub(crate) fn count(&self, n: u32) {
        add(&self.all, n);
    }

    /// Notes that the next post is by an event to its own color.
    #[inline]
    pub(super) fn count_own(&self) {
        add(&self.own, 1);
    }

    /// Notes that the next post is of an event that is in no color's queue.
    #[inline]
    pub(super) fn count_uncolored(&self) {
        add(&self.uncolored, 1);
    }

    /// Counts the post of a set of `colors` colors.
    #[inline]
    pub(crate) fn counts_set(&self, colors: u32) {
        add(&self.all, colors);
        add(&self.set_colors, colors);
    }

    /// Counts an event that runs and was in no color's queue, unless it is that of a set.
    #[inline]
    pub(super) fn runs_uncolored(&self) {
        add(&self.uncolored_events, 1);
    }

    /// Counts the event of a set that runs. Its colors were counted when it was posted.
    #[inline]
    pub(super) fn runs_set(&self) {
        add(&self.set_events, 1);
    }

    /// Counts an event of a domain that runs.
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
        let (own, set_colors) = (self.own.get(), self.set_colors.get());
        let not_out = own.wrapping_add(self.uncolored.get()).wrapping_add(set_colors);
        InAndOut { own, out: self.all.get().wrapping_sub(not_out), set_colors }
    }

    /// Returns the traffic from color to color since the last call, in thousandths of an event.
    /// `events` is the number of events that have run.
    pub(super) fn since_asked(&self, events: u64) -> u64 {
        let now = Counted {
            events,
            uncolored: self.uncolored_events.get(),
            domain: self.domain_events.get(),
            sets: self.set_events.get(),
            posts: self.in_and_out(),
        };
        let before = self.before.replace(now);
        let uncolored = u64::from(now.uncolored.wrapping_sub(before.uncolored));
        let domain = u64::from(now.domain.wrapping_sub(before.domain));
        let sets = u64::from(now.sets.wrapping_sub(before.sets));
        let posts = now.posts.since(before.posts);
        let colored = events.saturating_sub(before.events).saturating_sub(uncolored + sets);
        // Colors received as many events from themselves as they posted to themselves. The others
        // came from other colors.
        1_000 * colored.saturating_sub(u64::from(posts.own))
            + posts.gone_out()
            + u64::from(UNCOLORED_TRAFFIC) * uncolored
            + u64::from(DOMAIN_TRAFFIC) * domain
    }
}

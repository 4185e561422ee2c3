//! What is counted of a worker's posts: how long turns may last is decided by it, and what the
//! traffic between colors is.

use std::cell::Cell;

/// What an event without a color counts for, in thousandths of one that a color exchanges: it
/// crosses once, in one direction, and nobody writes to the same place from the other side.
const UNCOLORED_TRAFFIC: u32 = 250;

/// What a color of a set counts for: its lines cross if another worker had it before, in one
/// direction.
const SET_COLOR_TRAFFIC: u32 = 250;

/// What an event of a domain counts for besides: it takes the domain's lock when it is posted and
/// when it ends, and writes to the order both times.
const DOMAIN_TRAFFIC: u32 = 2_000;

/// See the module. All numbers are since the worker started, and wrap.
#[derive(Default)]
pub(crate) struct Traffic {
    all: Cell<u32>,
    /// Of these, those of events to their own color, those without a color, and the colors of sets.
    own: Cell<u32>,
    uncolored: Cell<u32>,
    set_colors: Cell<u32>,
    /// Events without a color that have run here; of these, those of domains.
    uncolored_events: Cell<u32>,
    domain_events: Cell<u32>,
    /// Events of sets that have run here.
    set_events: Cell<u32>,
    /// What was counted when the traffic was last asked for.
    before: Cell<Counted>,
}

/// What had been counted at some time.
#[derive(Clone, Copy, Default)]
struct Counted {
    events: u64,
    uncolored: u32,
    domain: u32,
    sets: u32,
    posts: InAndOut,
}

/// Posts to the own color, to others, and to colors of sets.
#[derive(Clone, Copy, Default)]
pub(crate) struct InAndOut {
    pub(super) own: u32,
    out: u32,
    set_colors: u32,
}

impl InAndOut {
    /// The counts since `before`.
    pub(super) fn since(self, before: InAndOut) -> InAndOut {
        InAndOut {
            own: self.own.wrapping_sub(before.own),
            out: self.out.wrapping_sub(before.out),
            set_colors: self.set_colors.wrapping_sub(before.set_colors),
        }
    }

    /// What has gone out, in thousandths of an event that a color exchanges.
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

    /// Counts the post of a set of `colors` colors.
    #[inline]
    pub(crate) fn counts_set(&self, colors: u32) {
        add(&self.all, colors);
        add(&self.set_colors, colors);
    }

    /// An event without a color runs.
    #[inline]
    pub(super) fn runs_uncolored(&self) {
        add(&self.uncolored_events, 1);
    }

    /// The event of a set runs. What its colors count for was counted when it was posted.
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

    /// Thousandths of events that crossed from color to color since this was last asked. `events`:
    /// how many have run.
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
        // As many events as colors posted to themselves came from themselves; the others from
        // elsewhere.
        1_000 * colored.saturating_sub(u64::from(posts.own))
            + posts.gone_out()
            + u64::from(UNCOLORED_TRAFFIC) * uncolored
            + u64::from(DOMAIN_TRAFFIC) * domain
    }
}

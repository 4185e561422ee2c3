//! Posting a set: it takes places in the queues of its colors, and the poster goes on with the
//! colors that were idle.

use dapple_colors::{Access, Arrived, Priority};

use super::block::{Block, RequestLink};
use super::gathered::SetRequest;
use super::named::Named;
use crate::color::cell::ColorCell;
use crate::color::held::Held;
use crate::color::two_phase::QueuePlace;
use crate::event::{Memory, Owned};
use crate::lock::Flag;
use crate::sync::{Reached, reached};

/// A set that is being posted. It counts the requests to which its poster comes.
#[must_use = "the requests that have arrived must be counted"]
pub(crate) struct NewSet {
    block: Block,
    arrived: usize,
}

/// A place in the queue of one of the set's colors, which is about to be taken.
pub(crate) struct SetPlace<'a> {
    named: Named<'a>,
    /// The link of the request, or `None` if it has its place.
    link: Option<RequestLink>,
    /// The color, if it was idle, so that the poster holds it.
    held: Option<Held>,
}

impl NewSet {
    /// Creates a set of two colors, in their order, in `memory`, and its places.
    ///
    /// `event` runs when it has both colors. `lead` is the index of the color that was named first.
    /// `class` is the class in which the set runs, or `None` if the runtime does not use classes.
    #[inline]
    pub(crate) fn pair<'a>(
        memory: Memory,
        event: Owned,
        named: [Named<'a>; 2],
        lead: usize,
        class: Option<Priority>,
    ) -> (NewSet, [SetPlace<'a>; 2]) {
        let block = Block::pair(memory, event, named, lead, class.unwrap_or_default());
        let [low, high] = named;
        let places = [SetPlace::new(low, block.link(0)), SetPlace::new(high, block.link(1))];
        (NewSet { block, arrived: 0 }, places)
    }

    /// Creates a set of more than two colors, in their order, each named once, and its places.
    pub(crate) fn many<'a>(
        memory: Memory,
        event: Owned,
        named: &[Named<'a>],
        first: &ColorCell,
        class: Option<Priority>,
    ) -> (NewSet, Vec<SetPlace<'a>>) {
        let lead = named.iter().position(|named| named.0.is_of(first)).unwrap_or(0);
        let block = Block::many(memory, event, named, lead, class.unwrap_or_default());
        let place = |(at, named): (usize, &Named<'a>)| SetPlace::new(*named, block.link(at));
        let places = named.iter().enumerate().map(place).collect();
        (NewSet { block, arrived: 0 }, places)
    }

    /// Counts a request to which the poster has come.
    #[inline]
    pub(crate) fn count_arrival(&mut self, request: SetRequest) {
        debug_assert!(request.is_of(&self.block), "it is a request of this set");
        self.arrived += 1;
    }

    /// Counts the requests to which the poster has come as arrived. If they were the last ones,
    /// returns the set's event and its class: the event has all colors of the set and must be
    /// queued.
    #[inline]
    pub(crate) fn arrive(self) -> Option<(Owned, Priority)> {
        let NewSet { block, arrived } = self;
        // If the poster has come to none, the other holders have the set, which may already be
        // over. If it has come to all, nobody else has come to the set or ever will, so nothing
        // needs to be counted.
        let is_complete = arrived > 0
            && (arrived == block.len()
                || block.count().arrive(arrived as u32) == Arrived::Complete);
        // SAFETY: all requests have arrived. Each arrives once, so only the last one takes the
        // event.
        is_complete.then(|| (unsafe { block.take_event() }, block.class()))
    }
}

impl<'a> SetPlace<'a> {
    #[inline]
    fn new(named: Named<'a>, link: RequestLink) -> Self {
        SetPlace { named, link: Some(link), held: None }
    }

    /// Takes the place, for a set of this class, while the locks of all its colors are held. `None`
    /// means that all colors are of the normal class.
    #[inline]
    pub(crate) fn take(&mut self, class: Option<Priority>) {
        let Some(link) = self.link.take() else { return };
        let cell = self.named.cell();
        if cell.is_bounded() {
            cell.enter_bound_by_set();
        }
        let boost = class.filter(|class| class.is_higher_than(cell.own_priority()));
        let was_raised = boost.is_some_and(|class| cell.boost(class));
        if was_raised {
            reached(Reached::ColorRaised);
        }
        // SAFETY: the link is that of a request of the set that is being posted. It takes its place
        // once, in the queue of the color for which it was made.
        self.held = unsafe { cell.push_link(link.0) };
        if was_raised && self.held.is_none() {
            // The color may be queued in the lane of a lower class.
            cell.core().fleet.note_raised();
        }
    }

    /// Returns the color, and what the set wants of it.
    #[inline]
    pub(crate) fn named(&self) -> Named<'_> {
        self.named
    }

    /// Takes the color, if it was idle, and returns it with the access that the set wants.
    #[inline]
    pub(crate) fn take_held(&mut self) -> Option<(Held, Access)> {
        Some((self.held.take()?, self.named.access()))
    }
}

impl QueuePlace for SetPlace<'_> {
    #[inline]
    fn lock(&self) -> &Flag {
        &self.named.cell().set_lock
    }
}

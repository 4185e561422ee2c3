//! Posting a set: its places in the queues of its colors, and what the poster does with those that
//! were idle.

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

/// A set that is being posted. It counts the requests that its poster comes to.
#[must_use = "requests that have arrived are told"]
pub(crate) struct NewSet {
    block: Block,
    arrived: usize,
}

/// The place of a set in the queue of one of its colors, which is to be taken.
pub(crate) struct SetPlace<'a> {
    named: Named<'a>,
    /// The request. `None`: it has its place.
    link: Option<RequestLink>,
    /// The color was idle: who posts holds it.
    held: Option<Held>,
}

impl NewSet {
    /// Makes a set of two colors, in their order, in `memory`; and its places. `event` is what runs
    /// when it has them; `lead`: which of them was named first; `class`: in which class it runs, if
    /// there are any.
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

    /// Makes a set of more than two colors, in their order, each named once; and its places.
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

    /// The poster has come to one of the requests.
    #[inline]
    pub(crate) fn has_come_to(&mut self, request: SetRequest) {
        debug_assert!(request.is_of(&self.block), "it is a request of this set");
        self.arrived += 1;
    }

    /// The requests that the poster has come to have arrived. If they were the last ones, this is
    /// the event that is to be queued, and its class; it has all colors of the set.
    #[inline]
    pub(crate) fn arrive(self) -> Option<(Owned, Priority)> {
        let NewSet { block, arrived } = self;
        // Without one, the set is with others, and may be over. With all, nobody else has come to
        // the set, nor will: there is nothing to count.
        let is_complete = arrived > 0
            && (arrived == block.len()
                || block.count().arrive(arrived as u32) == Arrived::Complete);
        // SAFETY: all requests have arrived, each by a value of which there is one.
        is_complete.then(|| (unsafe { block.take_event() }, block.class()))
    }
}

impl<'a> SetPlace<'a> {
    #[inline]
    fn new(named: Named<'a>, link: RequestLink) -> Self {
        SetPlace { named, link: Some(link), held: None }
    }

    /// Takes the place, for a set of this class, under the locks of all its colors. `None`: all
    /// colors are of the normal class.
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
        // SAFETY: it is the request of a set that is being posted, and takes its place once, in the
        // queue of the color for which it was made.
        self.held = unsafe { cell.push_link(link.0) };
        if was_raised && self.held.is_none() {
            // It may stand in a lane of a lower class.
            cell.core().fleet.has_raised();
        }
    }

    /// Its color, and what the set wants of it.
    #[inline]
    pub(crate) fn named(&self) -> Named<'_> {
        self.named
    }

    /// The color, if it was idle, and what the set wants of it.
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

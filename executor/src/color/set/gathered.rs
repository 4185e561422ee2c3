//! A set on its way: gathering its colors, having them all, and giving them back.

use std::ptr::NonNull;

use dapple_colors::{Access, Arrived, Priority};

use super::block::Block;
use super::named::Want;
use crate::color::cell::ColorCell;
use crate::color::held::{Held, Reader, Reserved};
use crate::color::queue::Link;
use crate::event::{Memory, Owned, Word};

/// A request that has come to the front of its queue, and has not arrived: the set has the color,
/// or is a reader of it.
#[must_use = "a request that does not arrive keeps its set waiting"]
pub(crate) struct SetRequest(Block);

/// A request that had to stay in its queue, and keeps the memory of its set, which may be over.
pub(in crate::color) struct StayedRequest(Block);

/// A set whose last request has arrived: it has all its colors.
#[must_use = "it gives its colors back"]
pub(crate) struct Gathered(Block);

/// One color of a set that gives them back, with what the set has of it.
pub(crate) enum Given {
    Held(Reserved),
    Reader(Reader),
}

impl SetRequest {
    /// # Safety
    ///
    /// The link is that of a request which has come to the front of its queue now.
    #[inline]
    pub(in crate::color) unsafe fn of(link: NonNull<Link>) -> SetRequest {
        // SAFETY: passed on from the caller; a set is there until its last request has arrived.
        SetRequest(unsafe { Block::of_request(link) })
    }

    #[inline]
    pub(super) fn is_of(&self, block: &Block) -> bool {
        self.0 == *block
    }

    /// The set does not wait for the color any more.
    #[inline]
    pub(in crate::color) fn has_come_to(&self, color: &ColorCell) {
        let class = self.0.class();
        if class.is_higher_than(color.own_priority()) {
            color.unboost(class);
        }
    }

    /// The link of the request stays in its queue, though it is over.
    #[cold]
    pub(in crate::color) fn stays(&self) {
        self.0.count().keep();
    }

    /// The request has arrived. If it was the last one, this is the event that is to be queued, and
    /// its class; it has all colors of the set.
    #[inline]
    pub(crate) fn arrive(self) -> Option<(Owned, Priority)> {
        match self.0.count().arrive(1) {
            Arrived::Waits => None,
            // SAFETY: all requests have arrived, each by a value of which there is one.
            Arrived::Complete => Some((unsafe { self.0.take_event() }, self.0.class())),
        }
    }
}

impl StayedRequest {
    /// The request of a set that gives the color back stays in its queue.
    ///
    /// # Safety
    ///
    /// The link is that of a request, and its set is not over.
    #[cold]
    pub(in crate::color) unsafe fn stays(link: NonNull<Link>) {
        // SAFETY: passed on from the caller; the set itself is a keeper.
        unsafe { Block::of_request(link) }.count().keep();
    }

    /// # Safety
    ///
    /// The link is that of a request that had to stay, and leaves its queue now.
    #[cold]
    pub(in crate::color) unsafe fn of(link: NonNull<Link>) -> StayedRequest {
        // SAFETY: passed on from the caller; the request keeps the memory.
        StayedRequest(unsafe { Block::of_request(link) })
    }

    /// The memory of the set, if this was the last thing in it that is used.
    #[cold]
    pub(in crate::color) fn release(self) -> Option<Memory> {
        self.0.release()
    }
}

impl Gathered {
    /// # Safety
    ///
    /// The word is that of a set's event, which has arrived, and this is the only such value of it.
    #[inline]
    pub(in crate::color) unsafe fn of(word: Word) -> Option<Gathered> {
        word.as_pointer().map(|set| Gathered(Block(set)))
    }

    pub(in crate::color) fn into_word(self) -> Word {
        self.0.into_word()
    }

    /// A color of it.
    #[inline]
    fn color(&self, want: Want) -> &ColorCell {
        // SAFETY: the set has the color, so it is there.
        unsafe { &*want.as_ptr().as_ptr() }
    }

    /// The highest class among its colors.
    pub(in crate::color) fn class(&self) -> Priority {
        let mut class = Priority::Low;
        self.0.for_each(|want| class = class.or_higher(self.color(want).priority()));
        class
    }

    /// The worker to which one of its colors is bound.
    pub(in crate::color) fn bound_to(&self) -> Option<usize> {
        let mut worker = None;
        self.0.for_each(|want| worker = worker.or(self.color(want).bound_to()));
        worker
    }

    /// The color that was named first.
    #[inline]
    pub(crate) fn first(&self) -> &ColorCell {
        self.color(self.0.first())
    }

    /// What the set may do with a color.
    pub(crate) fn access(&self, color: &ColorCell) -> Option<Access> {
        self.0.find(color, |want| self.color(want).serial()).map(Want::access)
    }

    /// The set's event has ended: `give` gets all colors. The answer is the set's memory, unless a
    /// request had to stay in a queue.
    #[inline]
    pub(crate) fn give_back(self, mut give: impl FnMut(Given)) -> Option<Memory> {
        // SAFETY: it has all colors, each by the request that arrived for it: an exclusive one is
        // held, of a shared one it is a reader; each is given once.
        unsafe {
            self.0.for_each(|want| {
                give(match want.access() {
                    Access::Shared => Given::Reader(Reader::of(want.as_ptr())),
                    Access::Exclusive => Given::Held(Held::of(want.as_ptr()).into_reserved()),
                })
            });
        }
        self.0.release()
    }
}

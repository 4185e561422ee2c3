//! The stages of a set: it gathers its colors, has them all, and releases them.

use std::ptr::NonNull;

use dapple_colors::{Access, Arrived, Priority};

use super::block::Block;
use super::named::Want;
use crate::color::cell::ColorCell;
use crate::color::held::{Held, Reader, Reserved};
use crate::color::queue::Link;
use crate::event::{Memory, Owned, Word};

/// A request that has come to the front of its queue and has not arrived. The set has the color, or
/// is a reader of it.
#[must_use = "a request that does not arrive keeps its set waiting"]
pub(crate) struct SetRequest(Block);

/// A request that had to stay in its queue and keeps the memory of its set, which may be over.
pub(in crate::color) struct StayedRequest(Block);

/// A set that has all its colors, because its last request has arrived.
#[must_use = "it gives its colors back"]
pub(crate) struct Gathered(Block);

/// A color that a set releases, with the right of the set to it.
pub(crate) enum Given {
    Held(Reserved),
    Reader(Reader),
}

impl SetRequest {
    /// Takes the request.
    ///
    /// # Safety
    ///
    /// The link is that of a request that has just come to the front of its queue.
    #[inline]
    pub(in crate::color) unsafe fn of(link: NonNull<Link>) -> SetRequest {
        // SAFETY: the link is a request's, whose set is alive until its last request has arrived.
        SetRequest(unsafe { Block::of_request(link) })
    }

    #[inline]
    pub(super) fn is_of(&self, block: &Block) -> bool {
        self.0 == *block
    }

    /// Notes that the set no longer waits for the color.
    #[inline]
    pub(in crate::color) fn unboost_color(&self, color: &ColorCell) {
        let class = self.0.class();
        if class.is_higher_than(color.own_priority()) {
            color.unboost(class);
        }
    }

    /// Keeps the memory of the set, because the link of this request stays in its queue.
    #[cold]
    pub(in crate::color) fn stays(&self) {
        self.0.count().keep();
    }

    /// Counts the request as arrived. If it was the last one, returns the set's event and its
    /// class: the event has all colors of the set and must be queued.
    #[inline]
    pub(crate) fn arrive(self) -> Option<(Owned, Priority)> {
        match self.0.count().arrive(1) {
            Arrived::Waits => None,
            // SAFETY: all requests have arrived. Each arrives once, so only the last one takes the
            // event.
            Arrived::Complete => Some((unsafe { self.0.take_event() }, self.0.class())),
        }
    }
}

impl StayedRequest {
    /// Keeps the memory of a set that releases its colors, because the link of this request stays
    /// in its queue.
    ///
    /// # Safety
    ///
    /// The link is that of a request, and its set is not over.
    #[cold]
    pub(in crate::color) unsafe fn stays(link: NonNull<Link>) {
        // SAFETY: the link is a request's, and its set, which is not over, is itself a keeper.
        unsafe { Block::of_request(link) }.count().keep();
    }

    /// Takes the request back when it leaves its queue.
    ///
    /// # Safety
    ///
    /// The link is that of a request that had to stay, and is leaving its queue now.
    #[cold]
    pub(in crate::color) unsafe fn of(link: NonNull<Link>) -> StayedRequest {
        // SAFETY: the link is a request's that had to stay, and so keeps the memory of the set.
        StayedRequest(unsafe { Block::of_request(link) })
    }

    /// Releases the keeper. Returns the memory of the set if this was the last one.
    #[cold]
    pub(in crate::color) fn release(self) -> Option<Memory> {
        self.0.release()
    }
}

impl Gathered {
    /// Takes the set out of the word of its event.
    ///
    /// # Safety
    ///
    /// The word is that of a set's event whose requests have all arrived, and no other `Gathered`
    /// of this set exists.
    #[inline]
    pub(in crate::color) unsafe fn of(word: Word) -> Option<Gathered> {
        word.as_pointer().map(|set| Gathered(Block(set)))
    }

    pub(in crate::color) fn into_word(self) -> Word {
        self.0.into_word()
    }

    /// Returns one of the set's colors.
    #[inline]
    fn color(&self, want: Want) -> &ColorCell {
        // SAFETY: the set has the color, which therefore is alive.
        unsafe { &*want.as_ptr().as_ptr() }
    }

    /// Returns the highest class among the colors.
    pub(in crate::color) fn class(&self) -> Priority {
        let mut class = Priority::Low;
        self.0.for_each(|want| class = class.or_higher(self.color(want).priority()));
        class
    }

    /// Returns the worker to which one of the colors is bound.
    pub(in crate::color) fn bound_to(&self) -> Option<usize> {
        let mut worker = None;
        self.0.for_each(|want| worker = worker.or(self.color(want).bound_to()));
        worker
    }

    /// Returns the color that was named first.
    #[inline]
    pub(crate) fn first(&self) -> &ColorCell {
        self.color(self.0.first())
    }

    /// Returns the set's access to a color, if it is one of the set's.
    pub(crate) fn access(&self, color: &ColorCell) -> Option<Access> {
        self.0.find(color, |want| self.color(want).serial()).map(Want::access)
    }

    /// Releases all colors, by passing each to `give`, after the set's event has ended. Returns the
    /// set's memory, unless a request had to stay in a queue.
    #[inline]
    pub(crate) fn release_colors(self, mut give: impl FnMut(Given)) -> Option<Memory> {
        // SAFETY: the set has all colors by its requests: it holds the exclusive ones and is a
        // reader of the shared ones. Each color is passed on once.
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

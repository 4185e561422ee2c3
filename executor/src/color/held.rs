//! The right of a color's holder, as a value (C1).
//!
//! A color has one holder at a time, so there is one `Held` of it at most. It comes out of a run
//! queue, or from what made the color runnable; it ends when the color becomes idle, goes into a
//! run queue, or to its readers or a set. So what may be done with a color, and by whom, is a
//! matter of types: only who has a `Held` reaches the front of the queue, and nothing reaches the
//! color after the `Held` is gone.

use std::ops::Deref;
use std::ptr::NonNull;

use dapple_colors::Finished;

use super::cell::ColorCell;
use super::queue::Link;
use crate::event::{Header, Kind, Memory, Owned};

/// See the module.
#[must_use = "a color that is held has to be queued, let go, or given on"]
#[derive(Debug)]
pub(crate) struct Held(NonNull<ColorCell>);

// SAFETY: a cell is used from any thread by its protocol, and is held by one at a time.
unsafe impl Send for Held {}

/// The head of a held color's queue.
#[derive(Clone, Copy)]
pub(crate) struct Front(NonNull<Link>);

/// What is behind the event that has left the front.
#[must_use]
pub(crate) enum Ended {
    /// The next one; the color is still held.
    Next(Held, NonNull<Link>),
    /// Nothing: the color is idle.
    Idle,
    /// A poster is between its two steps; the color is still held, and is to be queued.
    Gap(Held),
}

impl Deref for Held {
    type Target = ColorCell;
    #[inline]
    fn deref(&self) -> &ColorCell {
        // SAFETY: a color that is held has something in its queue, or readers, so it is there.
        unsafe { self.0.as_ref() }
    }
}

impl Held {
    /// # Safety
    ///
    /// The caller has just come to hold the color, and nobody else does.
    #[inline]
    pub(crate) unsafe fn of(cell: NonNull<ColorCell>) -> Held {
        Held(cell)
    }

    #[inline]
    pub(crate) fn cell(&self) -> NonNull<ColorCell> {
        self.0
    }

    /// The kind of what stands at the head.
    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        // SAFETY: the head of a held color is in the queue.
        unsafe { Header::of(self.queue.head()).as_ref() }.kind()
    }

    /// What is next to run, and its kind: the first of the own list, or the head.
    #[inline]
    pub(crate) fn next(&self) -> (NonNull<Link>, Kind) {
        let link = self.queue.own().unwrap_or_else(|| self.queue.head());
        // SAFETY: the head of a held color, and what is in its own list, is there.
        (link, unsafe { Header::of(link).as_ref() }.kind())
    }

    /// What stands at the head, for [`finish`](Self::finish).
    #[inline]
    pub(crate) fn head(&self) -> Front {
        Front(self.queue.head())
    }

    /// Says whether nothing stands behind the head.
    #[inline]
    pub(crate) fn is_last(&self, front: Front) -> bool {
        self.queue.is_last(front.0)
    }

    /// The event at the head, as what the holder may do with it.
    #[inline]
    pub(crate) fn front(&self) -> Owned {
        // SAFETY: the head of a held color is the holder's, and a grave is never taken for an
        // event.
        unsafe { Owned::of_link(self.queue.head()) }
    }

    /// What stands at the head, and is over, leaves the queue, with `give` for its memory.
    #[inline]
    pub(crate) fn finish(self, front: Front, give: impl FnOnce(Memory)) -> Ended {
        let Front(spent) = front;
        debug_assert_eq!(spent, self.queue.head());
        // SAFETY: the color is held, this is its head, and the own list is empty.
        let finished = unsafe { self.queue.finish(spent) };
        if finished != Finished::Gap {
            // SAFETY: the link is out of the queue.
            give(unsafe { Owned::of_link(spent) }.into_memory());
        }
        self.after(finished)
    }

    /// What the queue has answered, and who holds the color now.
    #[inline]
    pub(crate) fn after(self, finished: Finished<NonNull<Link>>) -> Ended {
        match finished {
            Finished::Next(next) => {
                self.queue.set_head(next);
                Ended::Next(self, next)
            }
            Finished::Idle => Ended::Idle,
            Finished::Gap => Ended::Gap(self),
        }
    }

    /// The event that is next to run in the own list, after `ended`, which leaves it if it is of
    /// it.
    #[inline]
    pub(crate) fn pass_own(
        &self,
        ended: NonNull<Link>,
        give: impl FnOnce(Memory),
    ) -> Option<NonNull<Link>> {
        let own = self.queue.own()?;
        if own != ended {
            return Some(own);
        }
        // SAFETY: the color is held; what left the list is ours.
        unsafe {
            self.queue.drop_own(own);
            give(Owned::of_link(own).into_memory());
        }
        self.queue.own()
    }
}

//! What stands in a run queue: a runnable color, at home or as a guest (see `watch`), or an event
//! that stands in no color's queue; with its class (C7).

use std::ptr::NonNull;

use dapple_colors::Priority;

use crate::color::cell::ColorCell;
use crate::color::held::Held;
use crate::event::{Event, Owned};

/// One word: the lowest bits tell which of them it is. It owns what it stands for.
#[derive(Debug)]
pub(crate) struct Entry(NonNull<u8>);

// SAFETY: a cell is used from any thread by its protocol, and an event's closure is Send.
unsafe impl Send for Entry {}

/// An [`Entry`], opened.
pub(crate) enum Job {
    Color(Held),
    /// Run here because the worker where it belongs is stuck; it goes back afterwards.
    Guest(Held),
    Event(Owned),
}

const EVENT: usize = 1;
const GUEST: usize = 2;
const HIGH: usize = 4;
const LOW: usize = 8;
const TAG: usize = EVENT | GUEST | HIGH | LOW;
const _: () = assert!(align_of::<ColorCell>() > TAG && align_of::<Event>() > TAG);

impl Entry {
    /// The bits of a tag that tell the class.
    pub(crate) const CLASS: usize = HIGH | LOW;

    /// Of a class as the tag tells it; see [`ColorCell::entry`].
    #[inline]
    pub(crate) fn color(cell: NonNull<ColorCell>, class_tag: usize) -> Self {
        Entry(cell.cast()).tagged(class_tag)
    }

    /// Of the normal class.
    #[inline]
    pub(crate) fn normal_color(cell: NonNull<ColorCell>) -> Self {
        Entry(cell.cast())
    }

    #[inline]
    pub(crate) fn event(event: Owned, class: Priority) -> Self {
        Entry(event.into_raw().cast()).tagged(EVENT | Self::class_tag(class))
    }

    #[inline]
    pub(crate) fn class_tag(class: Priority) -> usize {
        match class {
            Priority::High => HIGH,
            Priority::Normal => 0,
            Priority::Low => LOW,
        }
    }

    #[inline]
    fn tagged(self, tag: usize) -> Self {
        let tagged = self.0.as_ptr().map_addr(|a| a | tag);
        // SAFETY: setting a bit of a pointer that is not null leaves it so.
        Entry(unsafe { NonNull::new_unchecked(tagged) })
    }

    #[inline]
    fn tag(&self) -> usize {
        self.0.as_ptr().addr() & TAG
    }

    /// Is it queued with what names no class?
    #[inline]
    pub(crate) fn is_normal(&self) -> bool {
        self.tag() & Self::CLASS == 0
    }

    /// Where it is queued.
    #[inline]
    pub(crate) fn class(&self) -> Priority {
        Self::class_of_tag(self.tag() & Self::CLASS)
    }

    #[inline]
    pub(crate) fn class_of_tag(tag: usize) -> Priority {
        match tag {
            0 => Priority::Normal,
            HIGH => Priority::High,
            _ => Priority::Low,
        }
    }

    /// The same as a guest, if it is a color.
    pub(crate) fn into_guest(self) -> Self {
        match self.tag() & EVENT {
            0 => self.tagged(GUEST),
            _ => self,
        }
    }

    #[inline]
    pub(crate) fn open(self) -> Job {
        let address = self.0.as_ptr();
        if self.tag() == 0 {
            // SAFETY: a color is in one run queue at most, so who takes it out holds it.
            return Job::Color(unsafe { Held::of(self.0.cast()) });
        }
        // SAFETY: it is what `tagged` began with, which was not null.
        let plain = unsafe { NonNull::new_unchecked(address.map_addr(|a| a & !TAG)) };
        match self.tag() & (EVENT | GUEST) {
            // SAFETY: a color is in one run queue at most, so who takes it out holds it.
            0 => Job::Color(unsafe { Held::of(plain.cast()) }),
            // SAFETY: it was made of an owned event, and this entry is gone.
            EVENT => Job::Event(unsafe { Owned::of_raw(plain.cast()) }),
            // SAFETY: a guest is a color, and in one run queue at most.
            _ => Job::Guest(unsafe { Held::of(plain.cast()) }),
        }
    }
}

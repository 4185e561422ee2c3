//! What stands in a run queue: a runnable color, or an event without a color.

use std::ptr::NonNull;

use crate::color::cell::ColorCell;
use crate::event::Event;

/// One word: the lowest bit tells which of the two it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry(NonNull<u8>);

// SAFETY: a cell is used from any thread by its protocol, and an event's closure is Send.
unsafe impl Send for Entry {}

/// An [`Entry`], opened.
pub(crate) enum Job {
    Color(NonNull<ColorCell>),
    Event(NonNull<Event>),
}

const EVENT: usize = 1;
const _: () = assert!(align_of::<ColorCell>() > EVENT && align_of::<Event>() > EVENT);

impl Entry {
    #[inline]
    pub(crate) fn color(cell: NonNull<ColorCell>) -> Self {
        Entry(cell.cast())
    }

    #[inline]
    pub(crate) fn event(event: NonNull<Event>) -> Self {
        let tagged = event.as_ptr().cast::<u8>().map_addr(|a| a | EVENT);
        // SAFETY: setting a bit of a pointer that is not null leaves it so.
        Entry(unsafe { NonNull::new_unchecked(tagged) })
    }

    #[inline]
    pub(crate) fn open(self) -> Job {
        let address = self.0.as_ptr();
        if address.addr() & EVENT == 0 {
            return Job::Color(self.0.cast());
        }
        let event = address.map_addr(|a| a & !EVENT).cast::<Event>();
        // SAFETY: this undoes `event`.
        Job::Event(unsafe { NonNull::new_unchecked(event) })
    }
}

//! What stands in a run queue: a runnable color, at home or as a guest (see `watch`), or an event
//! without a color.

use std::ptr::NonNull;

use crate::color::cell::ColorCell;
use crate::event::Event;

/// One word: the lowest bits tell which of them it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry(NonNull<u8>);

// SAFETY: a cell is used from any thread by its protocol, and an event's closure is Send.
unsafe impl Send for Entry {}

/// An [`Entry`], opened.
pub(crate) enum Job {
    Color(NonNull<ColorCell>),
    /// Run here because the worker where it belongs is stuck; it goes back afterwards.
    Guest(NonNull<ColorCell>),
    Event(NonNull<Event>),
}

const EVENT: usize = 1;
const GUEST: usize = 2;
const TAG: usize = EVENT | GUEST;
const _: () = assert!(align_of::<ColorCell>() > TAG && align_of::<Event>() > TAG);

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

    /// The same as a guest, if it is a color.
    pub(crate) fn into_guest(self) -> Self {
        match self.open() {
            Job::Event(_) => self,
            Job::Color(cell) | Job::Guest(cell) => {
                let tagged = cell.as_ptr().cast::<u8>().map_addr(|a| a | GUEST);
                // SAFETY: setting a bit of a pointer that is not null leaves it so.
                Entry(unsafe { NonNull::new_unchecked(tagged) })
            }
        }
    }

    #[inline]
    pub(crate) fn open(self) -> Job {
        let address = self.0.as_ptr();
        let tag = address.addr() & TAG;
        if tag == 0 {
            return Job::Color(self.0.cast());
        }
        // SAFETY: this undoes `event` and `into_guest`.
        let plain = unsafe { NonNull::new_unchecked(address.map_addr(|a| a & !TAG)) };
        match tag {
            EVENT => Job::Event(plain.cast()),
            _ => Job::Guest(plain.cast()),
        }
    }
}

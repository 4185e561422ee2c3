//! Common timeouts: lists of events that all wait for the same duration.
//!
//! Because of that, the event that is due next is always the first of its list. Only one event per
//! list, internal to the base, is in the heap. A program asks for a list with
//! `event_base_init_common_timeout`, which returns a duration that names the list in the upper bits
//! of its microseconds.

use std::ffi::{c_int, c_short, c_void};
use std::ptr::null_mut;

use super::base::{Base, BaseState};
use super::layout::{EV_TIMEOUT, Event, Neighbours, Place, Timeval};
use super::time::is_before;

pub(super) const MICROS_MASK: i64 = 0x000f_ffff;
const INDEX_SHIFT: u32 = 20;
const INDEX_MASK: i64 = 0x0ff0_0000;
const MAGIC_MASK: i64 = 0xf000_0000;
const MAGIC: i64 = 0x5000_0000;

/// The maximum number of lists in a base.
pub(super) const MOST: usize = 256;

/// A list of events with a common timeout.
pub(crate) struct Common {
    /// The duration that the program has got, which names the list.
    pub(super) duration: Timeval,
    first: *mut Event,
    last: *mut Event,
    /// The internal event, which fires when the first event of the list is due.
    pub(super) event: Event,
    base: *mut Base,
}

/// Returns a time without the bits that name a list.
pub(super) fn plain(time: Timeval) -> Timeval {
    match time.tv_usec & MAGIC_MASK == MAGIC {
        true => Timeval { tv_usec: time.tv_usec & MICROS_MASK, ..time },
        false => time,
    }
}

impl BaseState {
    /// Returns the list that a time names, or null if it names none.
    pub(super) fn common_of(&self, time: Timeval) -> *mut Common {
        if time.tv_usec & MAGIC_MASK != MAGIC {
            return null_mut();
        }
        let at = ((time.tv_usec & INDEX_MASK) >> INDEX_SHIFT) as usize;
        self.commons.get(at).copied().unwrap_or(null_mut())
    }

    /// Returns the list for a duration, and makes it if there is none. Returns null if there are
    /// [`MOST`] lists.
    pub(super) fn common_for(&mut self, base: *mut Base, duration: Timeval) -> *mut Common {
        let is_it = |list: &&*mut Common| {
            // SAFETY: the lists live as long as the base.
            let has = plain(unsafe { (***list).duration });
            (has.tv_sec, has.tv_usec) == (duration.tv_sec, duration.tv_usec)
        };
        if let Some(found) = self.commons.iter().find(is_it) {
            return *found;
        }
        if self.commons.len() == MOST {
            return null_mut();
        }
        let at = (self.commons.len() as i64) << INDEX_SHIFT;
        let named = Timeval { tv_usec: duration.tv_usec | MAGIC | at, ..duration };
        // SAFETY: an all-zero list is valid: null pointers, no functions, zero numbers.
        let mut list: Box<Common> = unsafe { Box::new(std::mem::zeroed()) };
        (list.duration, list.base) = (named, base);
        let list = Box::into_raw(list);
        // SAFETY: the list is a fresh box, to which nobody else has a pointer.
        unsafe {
            let arg = list.cast::<c_void>();
            super::core::assign_internal(&raw mut (*list).event, base, -1, 0, is_due, arg);
        }
        self.commons.push(list);
        list
    }

    /// Puts an event into its list, behind those that are due earlier. Its `timeout` must be set.
    ///
    /// # Safety
    ///
    /// The list is the base's. The event is in no list, and does not move while it is in this one.
    pub(super) unsafe fn push_common(&mut self, list: *mut Common, event: *mut Event) {
        // SAFETY: the caller guarantees that the list and the event are live, and so are the events
        // in the list.
        unsafe {
            let is_earlier = |other: *mut Event| is_before((*event).timeout, (*other).timeout);
            let mut previous = (*list).last;
            while !previous.is_null() && is_earlier(previous) {
                previous = (*previous).place.common.previous;
            }
            let next = match previous.is_null() {
                true => (*list).first,
                false => (*previous).place.common.next,
            };
            (*event).place = Place { common: Neighbours { next, previous } };
            match previous.is_null() {
                true => (*list).first = event,
                false => (*previous).place.common.next = event,
            }
            match next.is_null() {
                true => (*list).last = event,
                false => (*next).place.common.previous = event,
            }
        }
    }

    /// # Safety
    ///
    /// The event is in the list.
    pub(super) unsafe fn remove_common(&mut self, list: *mut Common, event: *mut Event) {
        // SAFETY: the event and its neighbours are in the list, so they are live.
        unsafe {
            let Neighbours { next, previous } = (*event).place.common;
            match previous.is_null() {
                true => (*list).first = next,
                false => (*previous).place.common.next = next,
            }
            match next.is_null() {
                true => (*list).last = previous,
                false => (*next).place.common.previous = previous,
            }
            (*event).place = Place { heap: -1 };
        }
    }

    /// Has the internal event of a list fire when the first event of the list is due.
    ///
    /// # Safety
    ///
    /// The list is the base's.
    pub(super) unsafe fn schedule_common(&mut self, list: *mut Common) {
        // SAFETY: the caller guarantees that the list is live, and so are the events in it.
        unsafe {
            let first = (*list).first;
            if !first.is_null() {
                let due = plain((*first).timeout);
                self.add(&raw mut (*list).event, Some((due, super::core::Meaning::At)));
            }
        }
    }

    /// Returns the events of all lists.
    pub(super) fn all_common(&self) -> Vec<*mut Event> {
        let mut all = Vec::new();
        for &list in &self.commons {
            // SAFETY: the lists live as long as the base, and the events in them are live.
            unsafe {
                let mut event = (*list).first;
                while !event.is_null() {
                    all.push(event);
                    event = (*event).place.common.next;
                }
            }
        }
        all
    }
}

/// Returns `true` if an event is the first of a list.
///
/// # Safety
///
/// The list belongs to a base whose lock the caller has.
pub(super) unsafe fn is_first(list: *mut Common, event: *mut Event) -> bool {
    // SAFETY: the caller guarantees that the list is live and that its base is locked.
    unsafe { (*list).first == event }
}

/// The callback of the internal event: activates the events of the list that are due.
unsafe extern "C" fn is_due(_: c_int, _: c_short, list: *mut c_void) {
    let list = list.cast::<Common>();
    // SAFETY: a list lives as long as its base, whose loop calls this.
    unsafe {
        let base = &*(*list).base;
        let mut state = base.lock();
        let now = state.now();
        loop {
            let first = (*list).first;
            if first.is_null() || is_before(now, plain((*first).timeout)) {
                break;
            }
            state.delete(first, super::core::Even::IfFinalizing);
            state.activate(first, EV_TIMEOUT, 1);
        }
        state.schedule_common(list);
    }
}

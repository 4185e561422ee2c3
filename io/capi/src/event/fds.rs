//! Tables of the events that wait for each descriptor, and for each signal.

use std::ffi::{c_int, c_short};

use super::layout::{EV_CLOSED, EV_ET, EV_IO, EV_READ, EV_WRITE, Event};

/// The events that wait for each descriptor or signal, indexed by its number.
#[derive(Default)]
pub(super) struct Table(Vec<Slot>);

/// The events that wait for one descriptor or signal.
#[derive(Default)]
pub(super) struct Slot {
    /// The events, in the order in which they were added.
    events: Vec<*mut Event>,
}

/// The readiness that the system is to report for a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// A combination of `EV_READ`, `EV_WRITE`, `EV_CLOSED` and `EV_ET`; 0 for nothing.
    pub(super) what: c_short,
}

impl Slot {
    /// Returns what the events wait for, all together.
    pub(super) fn wanted(&self) -> Wanted {
        let of = |what: c_short, &event: &*mut Event| {
            // SAFETY: an event that waits is live, as libevent demands of programs.
            what | unsafe { (*event).events } & (EV_IO | EV_ET)
        };
        Wanted { what: self.events.iter().fold(0, of) }
    }

    /// Returns `true` if an event with these flags is edge-triggered and the present ones are not,
    /// or the other way round. The system has one trigger mode per descriptor.
    pub(super) fn mixes(&self, events: c_short) -> bool {
        self.wanted().what != 0 && (self.wanted().what ^ events) & EV_ET != 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn push(&mut self, event: *mut Event) {
        self.events.push(event);
    }

    pub(super) fn remove(&mut self, event: *mut Event) {
        self.events.retain(|other| *other != event);
    }

    /// Returns the events, the last one first: libevent activates them in this order.
    pub(super) fn latest_first(&self) -> impl Iterator<Item = *mut Event> + use<> {
        // Most slots have one event, and need no allocation.
        let few: [*mut Event; 4] = std::array::from_fn(|n| {
            self.events.len().checked_sub(n + 1).map_or(std::ptr::null_mut(), |at| self.events[at])
        });
        let rest: Vec<_> = self.events.iter().rev().skip(few.len()).copied().collect();
        few.into_iter().filter(|event| !event.is_null()).chain(rest)
    }
}

impl Table {
    pub(super) fn get(&self, number: c_int) -> Option<&Slot> {
        self.0.get(usize::try_from(number).ok()?)
    }

    /// Returns the slot of a number, and makes it if there is none. Returns `None` if there is no
    /// memory.
    pub(super) fn slot(&mut self, number: c_int) -> Option<&mut Slot> {
        let at = usize::try_from(number).ok()?;
        if at >= self.0.len() {
            let len = (at + 1).next_power_of_two().max(32);
            self.0.try_reserve(len - self.0.len()).ok()?;
            self.0.resize_with(len, Slot::default);
        }
        self.0.get_mut(at)
    }

    /// Returns the numbers for which events wait, with their slots.
    pub(super) fn all(&self) -> impl Iterator<Item = (c_int, &Slot)> {
        let slots = self.0.iter().enumerate().filter(|(_, slot)| !slot.is_empty());
        slots.map(|(at, slot)| (at as c_int, slot))
    }

    /// Returns all events that wait, sorted by number.
    pub(super) fn events(&self) -> Vec<*mut Event> {
        self.all().flat_map(|(_, slot)| slot.latest_first()).collect()
    }
}

/// Returns the part of the readiness that an event waits for.
pub(super) fn of_interest(events: c_short, ready: c_short) -> c_short {
    events & ready & (EV_READ | EV_WRITE | EV_CLOSED)
}

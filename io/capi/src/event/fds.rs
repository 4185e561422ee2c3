//! Which events wait for which descriptors, and for which signals.

use std::ffi::{c_int, c_short};

use super::layout::{EV_CLOSED, EV_ET, EV_IO, EV_READ, EV_WRITE, Event};

/// What waits for each descriptor, or signal, by its number.
#[derive(Default)]
pub(super) struct Table(Vec<Slot>);

/// What waits for one.
#[derive(Default)]
pub(super) struct Slot {
    /// The latest one last.
    events: Vec<*mut Event>,
}

/// What the system is to be asked for a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// `EV_READ`, `EV_WRITE`, `EV_CLOSED` and `EV_ET`; none: nothing.
    pub(super) what: c_short,
}

impl Slot {
    /// What its events wait for.
    pub(super) fn wanted(&self) -> Wanted {
        let of = |what: c_short, &event: &*mut Event| {
            // SAFETY: what waits is there.
            what | unsafe { (*event).events } & (EV_IO | EV_ET)
        };
        Wanted { what: self.events.iter().fold(0, of) }
    }

    /// Says whether one more event, of such a kind, has another trigger than those that are here:
    /// the system has one for all.
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

    /// Those that are here, the latest one first: so libevent activates them.
    pub(super) fn latest_first(&self) -> impl Iterator<Item = *mut Event> + use<> {
        // Most have one.
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

    /// The place of a number, which is made if there is none. `None`: there is no memory.
    pub(super) fn slot(&mut self, number: c_int) -> Option<&mut Slot> {
        let at = usize::try_from(number).ok()?;
        if at >= self.0.len() {
            let len = (at + 1).next_power_of_two().max(32);
            self.0.try_reserve(len - self.0.len()).ok()?;
            self.0.resize_with(len, Slot::default);
        }
        self.0.get_mut(at)
    }

    /// The numbers for which something waits, and what.
    pub(super) fn all(&self) -> impl Iterator<Item = (c_int, &Slot)> {
        let slots = self.0.iter().enumerate().filter(|(_, slot)| !slot.is_empty());
        slots.map(|(at, slot)| (at as c_int, slot))
    }

    /// All events that wait, by their numbers.
    pub(super) fn events(&self) -> Vec<*mut Event> {
        self.all().flat_map(|(_, slot)| slot.latest_first()).collect()
    }
}

/// Says what of readiness an event waits for.
pub(super) fn of_interest(events: c_short, ready: c_short) -> c_short {
    events & ready & (EV_READ | EV_WRITE | EV_CLOSED)
}

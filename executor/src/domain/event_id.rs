//! The identity of a domain's event, and which task holds its ticket (see `held`).

use dapple_colors::Ticket;

/// The identity of a domain's event: the domain and the ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EventId {
    domain: usize,
    ticket: u64,
}

impl EventId {
    /// Creates the identity of an event. `domain` is the address of its domain.
    pub(super) fn new(domain: usize, ticket: Ticket) -> Self {
        EventId { domain, ticket: ticket.number() }
    }
}

#[cfg(debug_assertions)]
pub(super) mod tickets {
    use std::collections::BTreeMap;

    use super::EventId;
    use crate::sync::{Arc, LazyLock, Mutex, lock};
    use crate::thread;

    /// The events whose tickets one task holds.
    pub(in crate::domain) type Held = Arc<Mutex<Vec<EventId>>>;

    /// The task that holds each ticket. Each domain numbers its own tickets, and a new domain may
    /// have the address of a freed one, so the latest holder counts.
    static HOLDERS: LazyLock<Mutex<BTreeMap<EventId, Held>>> = LazyLock::new(Mutex::default);

    pub(in crate::domain) fn swap(held: Option<Held>) -> Option<Held> {
        thread::state(|state| state.tickets.replace(held))
    }

    fn polled() -> Option<Held> {
        thread::state(|state| state.tickets.get())
    }

    /// Notes that the task that is polled holds this ticket.
    pub(in crate::domain) fn begins(event_id: EventId) {
        if let Some(held) = polled() {
            lock(&held).push(event_id);
            lock(&HOLDERS).insert(event_id, held);
        }
    }

    /// Notes that the holder of this ticket has released it.
    pub(in crate::domain) fn ends(event_id: EventId) {
        let holder = lock(&HOLDERS).remove(&event_id);
        if let Some(held) = holder {
            lock(&held).retain(|other| *other != event_id);
        }
    }

    /// Returns a ticket of the task that is polled for which `is_it` returns `true`.
    pub(in crate::domain) fn find(is_it: impl Fn(&EventId) -> bool) -> Option<EventId> {
        polled().and_then(|held| lock(&held).iter().find(|event_id| is_it(event_id)).copied())
    }
}

impl EventId {
    /// Checks that the task that is polled may wait for this event. In a debug build it panics if
    /// the task holds a ticket of another domain, or a smaller ticket of the same domain (I15).
    #[inline]
    pub(crate) fn check(self) {
        #[cfg(debug_assertions)]
        {
            let is_wrong = |h: &EventId| h.domain != self.domain || h.ticket < self.ticket;
            let wrong = tickets::find(is_wrong);
            if let Some(held) = wrong {
                let what = match held.domain == self.domain {
                    true => "a later event of the same domain",
                    false => "another domain",
                };
                panic!("I15: an event that holds ticket {} waits for {what}", held.ticket);
            }
        }
    }

    /// Notes that the task that is polled holds this ticket.
    pub(in crate::domain) fn begins(self) {
        #[cfg(debug_assertions)]
        tickets::begins(self);
    }

    /// Notes that the holder of this ticket has released it.
    #[inline]
    pub(in crate::domain) fn ends(&self) {
        #[cfg(debug_assertions)]
        tickets::ends(*self);
    }
}

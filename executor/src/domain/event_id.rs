//! Which event of which domain it is, and who holds its ticket; see `held`.

use dapple_colors::Ticket;

/// An event of a domain: which domain, and which ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EventId {
    domain: usize,
    ticket: u64,
}

impl EventId {
    /// `domain`: its address.
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

    /// The tickets that one task holds.
    pub(in crate::domain) type Held = Arc<Mutex<Vec<EventId>>>;

    /// Who holds a ticket. Tickets are numbered anew in each domain, and a place of memory may be
    /// another domain's later: the last one to hold it counts.
    static HOLDERS: LazyLock<Mutex<BTreeMap<EventId, Held>>> = LazyLock::new(Mutex::default);

    pub(in crate::domain) fn swap(held: Option<Held>) -> Option<Held> {
        thread::state(|state| state.tickets.replace(held))
    }

    fn polled() -> Option<Held> {
        thread::state(|state| state.tickets.get())
    }

    /// The task that is polled holds it.
    pub(in crate::domain) fn begins(place: EventId) {
        if let Some(held) = polled() {
            lock(&held).push(place);
            lock(&HOLDERS).insert(place, held);
        }
    }

    /// Its holder has let it go.
    pub(in crate::domain) fn ends(place: EventId) {
        let holder = lock(&HOLDERS).remove(&place);
        if let Some(held) = holder {
            lock(&held).retain(|other| *other != place);
        }
    }

    /// What the task that is polled holds that is such.
    pub(in crate::domain) fn find(is_it: impl Fn(&EventId) -> bool) -> Option<EventId> {
        polled().and_then(|held| lock(&held).iter().find(|place| is_it(place)).copied())
    }
}

impl EventId {
    /// The task that is polled is about to wait for the event with this place.
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

    /// Notes that the task holds the ticket.
    pub(in crate::domain) fn begins(self) {
        #[cfg(debug_assertions)]
        tickets::begins(self);
    }

    /// Notes that the task has let the ticket go.
    #[inline]
    pub(in crate::domain) fn ends(&self) {
        #[cfg(debug_assertions)]
        tickets::ends(*self);
    }
}

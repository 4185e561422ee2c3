//! Which tickets an async task holds, so that a debug build notices a wait that could stop the order (I15).
//!
//! An event may wait for those with smaller tickets of its own domain: they do not wait for it.
//! While a domain's task is polled, a thread-local leads to the tickets that it holds; whoever
//! waits for another event compares. A token may be sent to another thread, and end its event
//! there; so there is a table of all that are held, which leads from a ticket to its holder. A
//! release build keeps none of this.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use dapple_colors::Ticket;

use super::contexts::{AnonCx, MayGlobal, NoneCx};
use super::inner::DomainPtr;

/// An event's place: which domain, and which ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    domain: usize,
    ticket: u64,
}

impl Place {
    pub(super) fn new<S>(domain: DomainPtr<S>, ticket: Ticket) -> Self {
        Place { domain: domain.0.as_ptr().addr(), ticket: ticket.number() }
    }
}

/// What gives a token back to a task.
pub trait Gives {
    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn place(&self) -> Place;
}

#[allow(private_interfaces)]
impl<T, S: Send + Sync + 'static> Gives for (T, AnonCx<S>) {
    fn place(&self) -> Place {
        self.1.token.place()
    }
}

#[allow(private_interfaces)]
impl<S: Send + Sync + 'static> Gives for AnonCx<S> {
    fn place(&self) -> Place {
        self.token.place()
    }
}

#[allow(private_interfaces)]
impl<S: Send + Sync + 'static> Gives for NoneCx<S, MayGlobal> {
    fn place(&self) -> Place {
        self.token.place()
    }
}

#[cfg(debug_assertions)]
mod tickets {
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::sync::{Arc, LazyLock};

    use super::Place;
    use crate::sync::{Mutex, lock};

    /// The tickets that one task holds.
    pub(super) type Held = Arc<Mutex<Vec<Place>>>;

    thread_local! {
        /// Those of the task that is polled.
        static POLLED: RefCell<Option<Held>> = const { RefCell::new(None) };
    }

    /// Who holds a ticket. Tickets are numbered anew in each domain, and a place of memory may be
    /// another domain's later: the last one to hold it counts.
    static HOLDERS: LazyLock<Mutex<HashMap<Place, Held>>> = LazyLock::new(Mutex::default);

    pub(super) fn swap(held: Option<Held>) -> Option<Held> {
        POLLED.with(|polled| polled.replace(held))
    }

    fn polled() -> Option<Held> {
        POLLED.with(|polled| polled.borrow().clone())
    }

    /// The task that is polled holds it.
    pub(super) fn begins(place: Place) {
        if let Some(held) = polled() {
            lock(&held).push(place);
            lock(&HOLDERS).insert(place, held);
        }
    }

    /// Whoever holds it does not any more.
    pub(super) fn ends(place: Place) {
        let holder = lock(&HOLDERS).remove(&place);
        if let Some(held) = holder {
            lock(&held).retain(|other| *other != place);
        }
    }

    /// What the task that is polled holds that is such.
    pub(super) fn find(is_it: impl Fn(&Place) -> bool) -> Option<Place> {
        polled().and_then(|held| lock(&held).iter().find(|place| is_it(place)).copied())
    }
}

impl Place {
    /// The task that is polled is about to wait for the event with this place.
    #[inline]
    pub(crate) fn check(self) {
        #[cfg(debug_assertions)]
        {
            let is_wrong = |h: &Place| h.domain != self.domain || h.ticket < self.ticket;
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

    /// The task holds the ticket.
    pub(super) fn begins(self) {
        #[cfg(debug_assertions)]
        tickets::begins(self);
    }

    /// It does not any more.
    #[inline]
    pub(super) fn ends(&self) {
        #[cfg(debug_assertions)]
        tickets::ends(*self);
    }
}

#[cfg(debug_assertions)]
type HeldByTask = tickets::Held;
#[cfg(not(debug_assertions))]
type HeldByTask = ();

pin_project_lite::pin_project! {
    /// A domain's task, with the tickets that it holds.
    pub(super) struct Holding<F> {
        #[pin]
        future: F,
        held: HeldByTask,
    }
}

impl<F> Holding<F> {
    /// Makes the future of a task that holds a ticket, which may be given up in that already.
    pub(super) fn make(place: Place, make: impl FnOnce() -> F) -> Self {
        let held = HeldByTask::default();
        let future = while_held(&held, || {
            place.begins();
            make()
        });
        Holding { future, held }
    }
}

/// Runs `f` while the calling thread polls the task that holds these tickets.
#[inline]
fn while_held<R>(held: &HeldByTask, f: impl FnOnce() -> R) -> R {
    #[cfg(debug_assertions)]
    {
        /// The outer task again, also if it panics.
        struct Back(Option<HeldByTask>);
        impl Drop for Back {
            fn drop(&mut self) {
                tickets::swap(self.0.take());
            }
        }
        let _back = Back(tickets::swap(Some(std::sync::Arc::clone(held))));
        f()
    }
    #[cfg(not(debug_assertions))]
    {
        let () = *held;
        f()
    }
}

impl<F: Future> Future for Holding<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let future = this.future;
        while_held(this.held, || future.poll(cx))
    }
}

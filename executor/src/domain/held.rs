//! Which tickets an async task holds, so that a debug build notices a wait that could stop the order (I15).
//!
//! An event may wait for those with smaller tickets of its own domain: they do not wait for it. While a domain's task is polled, a
//! thread-local leads to the tickets that it holds; whoever waits for another event compares. A release build keeps none of this.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use dapple_colors::Ticket;

use super::contexts::{AnonCx, MayGlobal, NoneCx};
use super::inner::DomainPtr;

/// An event's place: which domain, and which ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    use super::Place;

    thread_local! {
        /// Of the task that is polled.
        static HELD: RefCell<Option<Vec<Place>>> = const { RefCell::new(None) };
    }

    pub(super) fn swap(tickets: Option<Vec<Place>>) -> Option<Vec<Place>> {
        HELD.with(|held| held.replace(tickets))
    }

    pub(super) fn change(f: impl FnOnce(&mut Vec<Place>)) {
        HELD.with(|held| {
            if let Some(held) = held.borrow_mut().as_mut() {
                f(held);
            }
        });
    }
}

impl Place {
    /// The task that is polled is about to wait for the event with this place.
    #[inline]
    pub(crate) fn check(self) {
        #[cfg(debug_assertions)]
        {
            let mut wrong = None;
            tickets::change(|held| {
                wrong = held
                    .iter()
                    .find(|h| h.domain != self.domain || h.ticket < self.ticket)
                    .copied();
            });
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
        tickets::change(|held| held.push(self));
    }

    /// It does not any more.
    #[inline]
    pub(super) fn ends(&self) {
        #[cfg(debug_assertions)]
        tickets::change(|held| held.retain(|place| place != self));
    }
}

pin_project_lite::pin_project! {
    /// A domain's task, with the tickets that it holds.
    pub(super) struct Holding<F> {
        #[pin]
        future: F,
        held: Option<Vec<Place>>,
    }
}

impl<F> Holding<F> {
    /// Makes the future of a task that holds a ticket, which may be given up in that already.
    pub(super) fn make(place: Place, make: impl FnOnce() -> F) -> Self {
        let mut held = cfg!(debug_assertions).then(|| vec![place]);
        let future = while_held(&mut held, make);
        Holding { future, held }
    }
}

/// Runs `f` while the calling thread holds these tickets, which may be others afterwards.
#[inline]
fn while_held<R>(held: &mut Option<Vec<Place>>, f: impl FnOnce() -> R) -> R {
    #[cfg(debug_assertions)]
    {
        /// Gives the tickets back, also if it panics.
        struct Back<'a>(&'a mut Option<Vec<Place>>, Option<Vec<Place>>);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                *self.0 = tickets::swap(self.1.take());
            }
        }
        let outer = tickets::swap(held.take());
        let _back = Back(held, outer);
        f()
    }
    #[cfg(not(debug_assertions))]
    {
        let _ = held;
        f()
    }
}

impl<F: Future> Future for Holding<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        while_held(this.held, || this.future.poll(cx))
    }
}

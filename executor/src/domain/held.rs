//! The tickets that an async task holds: a debug build notices a wait that could stop the order
//! (I15).
//!
//! An event may wait for events of its own domain with smaller tickets, because those do not wait
//! for it. While a domain's task is polled, a thread-local leads to the tickets that it holds. A
//! task that is about to wait for an event compares them with the ticket of that event. A token may
//! be sent to another thread and end its event there, so a table leads from each ticket to its
//! holder. A release build keeps none of this.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::contexts::{AnonCx, MayGlobal, NoneCx};
use super::event_id::EventId;
#[cfg(debug_assertions)]
use super::event_id::tickets;

/// The result of a wait that returns a token to a task.
pub trait ReturnsToken {
    #[doc(hidden)]
    #[allow(private_interfaces)]
    fn event_id(&self) -> EventId;
}

#[allow(private_interfaces)]
impl<T, S: Send + Sync + 'static> ReturnsToken for (T, AnonCx<S>) {
    fn event_id(&self) -> EventId {
        self.1.token.event_id()
    }
}

#[allow(private_interfaces)]
impl<S: Send + Sync + 'static> ReturnsToken for AnonCx<S> {
    fn event_id(&self) -> EventId {
        self.token.event_id()
    }
}

#[allow(private_interfaces)]
impl<S: Send + Sync + 'static> ReturnsToken for NoneCx<S, MayGlobal> {
    fn event_id(&self) -> EventId {
        self.token.event_id()
    }
}

#[cfg(debug_assertions)]
type HeldByTask = tickets::Held;
#[cfg(not(debug_assertions))]
type HeldByTask = ();

pin_project_lite::pin_project! {
    /// The future of a domain's task, with the tickets that the task holds.
    pub(super) struct Holding<F> {
        #[pin]
        future: F,
        held: HeldByTask,
    }
}

impl<F> Holding<F> {
    /// Makes the future of a task that holds a ticket. `make` may already release the ticket.
    pub(super) fn make(event_id: EventId, make: impl FnOnce() -> F) -> Self {
        let held = HeldByTask::default();
        let future = while_held(&held, || {
            event_id.begins();
            make()
        });
        Holding { future, held }
    }
}

/// Runs `f` as a part of polling the task that holds these tickets.
#[inline]
fn while_held<R>(held: &HeldByTask, f: impl FnOnce() -> R) -> R {
    #[cfg(debug_assertions)]
    {
        /// Restores the tickets of the outer task, also after a panic.
        struct Back(Option<HeldByTask>);
        impl Drop for Back {
            fn drop(&mut self) {
                tickets::swap(self.0.take());
            }
        }
        let _back = Back(tickets::swap(Some(crate::sync::Arc::clone(held))));
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

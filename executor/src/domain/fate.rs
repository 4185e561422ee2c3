//! The fate of an event that is an async task, as the handle of the task learns it (I12).
//!
//! A future may end before its event has committed. If poison then covers the event, what the
//! future did and deferred never takes effect, and nothing has told the future so. Its value must
//! not be handed out as if all were well. So the future is followed by a wait for the *fate* of its
//! event, which is known when the event leaves the order.
//!
//! The task waits only if the domain is to end the event, that is, if its commit or its next
//! section has been asked for. It does not wait for a token that the future gave away, which ends
//! when its new owner says so. A future that was told of poison or of a panic by what it awaited
//! knows what its value means, so its value is handed out.

use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::event_id::EventId;
use crate::lock::Lock;
use crate::runtime::core::CoreRef;
use crate::sync::Arc;
use crate::task::error::JoinError;
use crate::thread;

/// The fate of an event. The order keeps it with the ticket, and shares it with the task.
pub(super) struct Fate(Lock<FateState>);

#[derive(Default)]
struct FateState {
    /// The event of the task: the first one, and later a sub-event of it.
    event_id: Option<EventId>,
    /// The domain has the token, and either ends the event or returns the token.
    is_asked: bool,
    /// The future has been told that its event failed.
    is_told: bool,
    /// The outcome, once the event has left the order: whether its deferred actions have run.
    outcome: Option<Result<(), JoinError>>,
    waker: Option<Waker>,
}

impl Fate {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Fate(Lock::new(FateState::default())))
    }

    /// Notes that the event has left the order, and wakes the task. The caller holds no lock.
    pub(super) fn decide(&self, outcome: Result<(), JoinError>) {
        let waker = self.0.with(|state| {
            state.outcome = Some(outcome);
            state.waker.take()
        });
        waker.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Result<(), JoinError>> {
        let mut waker = Some(cx.waker().clone());
        let outcome = self.0.with(|state| match state.outcome {
            _ if state.is_told => Poll::Ready(Ok(())),
            Some(outcome) => Poll::Ready(outcome),
            None if state.is_asked => {
                std::mem::swap(&mut state.waker, &mut waker);
                Poll::Pending
            }
            _ => Poll::Ready(Ok(())),
        });
        // The previous waker, or the new one, is dropped outside the lock.
        drop(waker);
        outcome
    }
}

/// A fate that the order keeps until the event has left it. It is [decided](Self::decide), never
/// dropped, so the data of a ticket needs no drop, and is not moved for one when the ticket goes.
pub(super) struct Undecided(ManuallyDrop<Arc<Fate>>);

impl Undecided {
    pub(super) fn new(fate: Arc<Fate>) -> Self {
        Undecided(ManuallyDrop::new(fate))
    }

    /// Notes that the event has left the order, and wakes the task; see [`Fate::decide`].
    pub(super) fn decide(self, outcome: Result<(), JoinError>) {
        ManuallyDrop::into_inner(self.0).decide(outcome);
    }
}

impl EventId {
    /// Calls `f` if this is the event of the task that is polled.
    fn of_the_polled(self, f: impl FnOnce(&mut FateState)) {
        if let Some(fate) = thread::state(|state| state.fate.get::<Fate>()) {
            fate.0.with(|state| {
                if state.event_id == Some(self) {
                    f(state);
                }
            });
        }
    }

    /// Notes that the token goes to the domain.
    pub(super) fn leaves(self) {
        self.of_the_polled(|state| state.is_asked = true);
    }

    /// Notes that the token has come back, as that of the event `now`.
    pub(super) fn comes_back(self, now: EventId) {
        self.of_the_polled(|state| (state.is_asked, state.event_id) = (false, Some(now)));
    }

    /// Notes that the future has been told that this event failed.
    pub(super) fn note_told(self) {
        self.of_the_polled(|state| state.is_told = true);
    }
}

/// Calls `f` as a part of polling the task with this fate.
fn polled<R>(fate: &Arc<Fate>, f: impl FnOnce() -> R) -> R {
    /// Restores the fate of the outer task, also after a panic.
    struct Back(Option<Arc<Fate>>);
    impl Drop for Back {
        fn drop(&mut self) {
            thread::state(|state| state.fate.replace(self.0.take()));
        }
    }
    let fate = Some(Arc::clone(fate));
    let _back = Back(thread::state(|state| state.fate.replace(fate)));
    f()
}

pin_project_lite::pin_project! {
    /// The future of an event, and then the wait for the fate of the event.
    pub(super) struct Fated<F: Future> {
        #[pin]
        future: Option<F>,
        value: Option<F::Output>,
        fate: Arc<Fate>,
        core: CoreRef,
    }
}

impl<F: Future> Fated<F> {
    /// Makes the future of the event `place`.
    pub(super) fn make(
        fate: Arc<Fate>,
        event_id: EventId,
        core: CoreRef,
        make: impl FnOnce() -> F,
    ) -> Self {
        fate.0.with(|state| state.event_id = Some(event_id));
        let future = Some(polled(&fate, make));
        Fated { future, value: None, fate, core }
    }
}

impl<F: Future> Future for Fated<F> {
    type Output = Result<F::Output, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(future) = this.future.as_mut().as_pin_mut() {
            let Poll::Ready(value) = polled(this.fate, || future.poll(cx)) else {
                return Poll::Pending;
            };
            let known = this.fate.poll(cx);
            let Poll::Pending = known else { return known.map(|known| known.map(|()| value)) };
            *this.value = Some(value);
            // The contents of the future are dropped when it ends, and do not wait for the fate.
            this.core.guard(None, || this.future.set(None));
            return Poll::Pending;
        }
        this.fate.poll(cx).map(|known| {
            let value = this.value.take().expect("the future is not polled after its end");
            known.map(|()| value)
        })
    }
}

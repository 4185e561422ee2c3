//! One value on its way from its maker to the task that waits for it.
//!
//! The maker has a [`Promise`], which is kept once; dropped, it says that there will be no value.
//! The other side polls a [`Packet`]. Both meet under a small lock, under which no foreign code
//! runs: wakers are cloned before it, and woken and dropped after it.
//!
//! *No wake-up is lost*: under the lock, a poll either finds the value, or leaves its waker where
//! the maker finds it.

use std::task::{Context, Poll, Waker};

use super::error::JoinError;
use crate::lock::Lock;
use crate::sync::Arc;

type Outcome<T> = Result<T, JoinError>;

enum State<T> {
    /// The task that polled last is to be woken.
    Waiting(Option<Waker>),
    Done(Outcome<T>),
    Taken,
}

/// See the module.
pub(crate) struct Packet<T>(Lock<State<T>>);

/// The maker's side.
pub(crate) struct Promise<T> {
    packet: Option<Arc<Packet<T>>>,
    /// What it means when it is dropped.
    otherwise: JoinError,
}

/// Both sides of a packet.
pub(crate) fn promise<T>() -> (Promise<T>, Arc<Packet<T>>) {
    let packet = Arc::new(Packet(Lock::new(State::Waiting(None))));
    let maker = Some(Arc::clone(&packet));
    (Promise { packet: maker, otherwise: JoinError::cancelled() }, packet)
}

impl<T> Packet<T> {
    /// The outcome, if it is there; once. Otherwise the waker is woken when it is.
    ///
    /// # Panics
    ///
    /// When it has been taken.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Outcome<T>> {
        let mut waker = Some(cx.waker().clone());
        let outcome = self.0.with(|state| match state {
            State::Waiting(old) => {
                std::mem::swap(old, &mut waker);
                None
            }
            _ => Some(std::mem::replace(state, State::Taken)),
        });
        // The old waker, or ours, is dropped outside of the lock.
        drop(waker);
        match outcome {
            None => Poll::Pending,
            Some(State::Done(outcome)) => Poll::Ready(outcome),
            Some(_) => panic!("a JoinHandle was polled after it had given its outcome"),
        }
    }

    /// Says whether there is an outcome, taken or not.
    pub(crate) fn is_done(&self) -> bool {
        self.0.with(|state| !matches!(state, State::Waiting(_)))
    }
}

impl<T> Promise<T> {
    /// Keeps the promise.
    pub(crate) fn keep(mut self, outcome: Outcome<T>) {
        self.settle(outcome);
    }

    /// From now on, that it is dropped means that a panic unwinds.
    pub(crate) fn panics(&mut self) {
        self.otherwise = JoinError::panicked();
    }

    /// No more.
    pub(crate) fn goes_on(&mut self) {
        self.otherwise = JoinError::cancelled();
    }

    /// From now on, that it is dropped means that poison covers what would have kept it.
    pub(crate) fn is_poisoned(&mut self) {
        self.otherwise = JoinError::poisoned();
    }

    /// Says whether somebody still waits for it.
    pub(crate) fn is_awaited(&self) -> bool {
        self.packet.as_ref().is_some_and(|packet| Arc::strong_count(packet) > 1)
    }

    fn settle(&mut self, outcome: Outcome<T>) {
        let Some(packet) = self.packet.take() else { return };
        // Nobody waits any more: there is a waker perhaps, but nobody who polls.
        let is_awaited = Arc::strong_count(&packet) > 1;
        let before = packet.0.with(|state| std::mem::replace(state, State::Done(outcome)));
        match before {
            State::Waiting(Some(waker)) if is_awaited => waker.wake(),
            before => drop(before),
        }
        // If nobody waits any more, the value is dropped here.
        drop(packet);
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.settle(Err(self.otherwise));
    }
}

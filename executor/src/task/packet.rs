//! A value on its way from its maker to the task that waits for it.
//!
//! The maker has a [`Promise`], which is kept once. A promise that is dropped says that there is no
//! value. The other side polls a [`Packet`]. Both meet under a small lock. No foreign code runs
//! under it: wakers are cloned before it is taken, and woken and dropped after it is released.
//!
//! *No wakeup is lost*: under the lock, a poll either finds the value, or leaves its waker where
//! the maker finds it.

use std::task::{Context, Poll, Waker};

use super::error::JoinError;
use crate::lock::Lock;
use crate::sync::Arc;

type Outcome<T> = Result<T, JoinError>;

enum PacketState<T> {
    /// There is no outcome yet. The waker is that of the last poll.
    Waiting(Option<Waker>),
    Done(Outcome<T>),
    Taken,
}

/// The side that waits for the outcome; see the module.
pub(crate) struct Packet<T>(Lock<PacketState<T>>);

/// The side that makes the outcome; see the module.
pub(crate) struct Promise<T> {
    packet: Option<Arc<Packet<T>>>,
    /// The outcome if the promise is dropped.
    otherwise: JoinError,
}

/// Creates both sides of a packet.
pub(crate) fn promise<T>() -> (Promise<T>, Arc<Packet<T>>) {
    let packet = Arc::new(Packet(Lock::new(PacketState::Waiting(None))));
    let maker = Some(Arc::clone(&packet));
    (Promise { packet: maker, otherwise: JoinError::cancelled() }, packet)
}

impl<T> Packet<T> {
    /// Returns the outcome, once, if it is there. Otherwise the waker is woken when it is.
    ///
    /// # Panics
    ///
    /// Panics if the outcome has already been taken.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Outcome<T>> {
        let mut waker = Some(cx.waker().clone());
        let outcome = self.0.with(|state| match state {
            PacketState::Waiting(old) => {
                std::mem::swap(old, &mut waker);
                None
            }
            _ => Some(std::mem::replace(state, PacketState::Taken)),
        });
        // The previous waker, or the new one, is dropped outside the lock.
        drop(waker);
        match outcome {
            None => Poll::Pending,
            Some(PacketState::Done(outcome)) => Poll::Ready(outcome),
            Some(_) => panic!("a `JoinHandle` was polled after it had returned its result"),
        }
    }

    /// Returns `true` if there is an outcome, taken or not.
    pub(crate) fn is_done(&self) -> bool {
        self.0.with(|state| !matches!(state, PacketState::Waiting(_)))
    }
}

impl<T> Promise<T> {
    /// Keeps the promise, with an outcome.
    pub(crate) fn keep(mut self, outcome: Outcome<T>) {
        self.settle(outcome);
    }

    /// Makes the drop of the promise, from now on, mean that a panic unwinds.
    pub(crate) fn drop_means_panic(&mut self) {
        self.otherwise = JoinError::panicked();
    }

    /// Makes the drop of the promise, from now on, mean a cancellation again.
    pub(crate) fn drop_means_cancel(&mut self) {
        self.otherwise = JoinError::cancelled();
    }

    /// Makes the drop of the promise, from now on, mean that poison covers the work.
    pub(crate) fn drop_means_poison(&mut self) {
        self.otherwise = JoinError::poisoned();
    }

    /// Returns `true` if the other side still exists.
    pub(crate) fn is_awaited(&self) -> bool {
        self.packet.as_ref().is_some_and(|packet| Arc::strong_count(packet) > 1)
    }

    fn settle(&mut self, outcome: Outcome<T>) {
        let Some(packet) = self.packet.take() else { return };
        // If the other side is gone, there may still be a waker, but nobody polls.
        let is_awaited = Arc::strong_count(&packet) > 1;
        let before = packet.0.with(|state| std::mem::replace(state, PacketState::Done(outcome)));
        match before {
            PacketState::Waiting(Some(waker)) if is_awaited => waker.wake(),
            before => drop(before),
        }
        // If the other side is gone, the value is dropped here.
        drop(packet);
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.settle(Err(self.otherwise));
    }
}

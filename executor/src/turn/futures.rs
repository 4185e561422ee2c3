//! The futures of a worker that are not `Send`, and never leave its thread; see `task::local`.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::chunks::Chunks;

/// A future of a task that stays on its thread.
pub(crate) type Stored = Pin<Box<dyn Future<Output = ()>>>;

/// The futures that are at home on a worker. `None` stands in the place of one that is polled.
#[derive(Default)]
pub(crate) struct LocalFutures(RefCell<Chunks<Option<Stored>>>);

impl LocalFutures {
    pub(crate) fn insert(&self, future: Stored) -> usize {
        self.0.borrow_mut().insert(Some(future))
    }

    /// Polls one. If it panics, it is dropped by that.
    pub(crate) fn poll(&self, number: usize, cx: &mut Context<'_>) -> Poll<()> {
        let taken = self.0.borrow_mut().get_mut(number).and_then(Option::take);
        let mut future = taken.expect("a future is polled again only when it has returned");
        let polled = future.as_mut().poll(cx);
        if polled.is_pending()
            && let Some(place) = self.0.borrow_mut().get_mut(number)
        {
            *place = Some(future);
        }
        polled
    }

    pub(crate) fn remove(&self, number: usize) {
        // Dropped when the table is free: its drop may spawn, or drop others.
        let future = self.0.borrow_mut().remove(number);
        drop(future);
    }

    /// Takes out all that are there.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = Stored> + use<> {
        self.0.borrow_mut().drain().flatten()
    }
}

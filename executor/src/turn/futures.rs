//! The futures of a worker that are not `Send`, and so never leave its thread; see `task::local`.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::chunks::Chunks;

/// The future of a task that stays on its thread.
pub(crate) type Stored = Pin<Box<dyn Future<Output = ()>>>;

/// The futures that stay on a worker's thread. `None` stands for a future that is being polled.
#[derive(Default)]
pub(crate) struct LocalFutures(RefCell<Chunks<Option<Stored>>>);

impl LocalFutures {
    pub(crate) fn insert(&self, future: Stored) -> usize {
        self.0.borrow_mut().insert(Some(future))
    }

    /// Polls the future with this number. If the poll panics, the future is dropped.
    pub(crate) fn poll(&self, number: usize, cx: &mut Context<'_>) -> Poll<()> {
        let taken = self.0.borrow_mut().get_mut(number).and_then(Option::take);
        let mut future = taken.expect("a future is not polled while a poll of it runs");
        let polled = future.as_mut().poll(cx);
        if polled.is_pending()
            && let Some(place) = self.0.borrow_mut().get_mut(number)
        {
            *place = Some(future);
        }
        polled
    }

    pub(crate) fn remove(&self, number: usize) {
        // Dropped outside the borrow of the table, because the drop may spawn futures or remove
        // others.
        let future = self.0.borrow_mut().remove(number);
        drop(future);
    }

    /// Takes out all futures that are there.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = Stored> + use<> {
        self.0.borrow_mut().drain().flatten()
    }
}

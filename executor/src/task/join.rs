//! Waiting for work that runs elsewhere.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::block_on;
use super::error::JoinError;
use super::packet::Packet;
use super::register::Key;
use crate::domain::event_id::EventId;
use crate::runtime::core::CoreRef;
use crate::sync::Arc;

/// A handle to work that runs elsewhere: a task, a call, or blocking work.
///
/// It is a future of the work's result. A thread that is not a worker can also [`join`](Self::join)
/// it. The result is a [`JoinError`] if the work panicked, was dropped before its end, or was
/// covered by poison. Dropping the handle detaches the work, which goes on.
///
/// # Examples
///
/// ```
/// let rt = dapple::Runtime::new()?;
/// let h = rt.handle();
/// let task = h.spawn(&h.new_color(), async { 6 });
/// let work = h.offload(|| 7);
/// let both = h.spawn(&h.new_color(), async move { task.await.unwrap() * work.await.unwrap() });
/// assert_eq!(both.join(), Ok(42));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "dropping a JoinHandle detaches; await it, join it, or call `detach`"]
pub struct JoinHandle<T> {
    packet: Arc<Packet<T>>,
    /// The runtime and the key of the task, if the work is a task.
    task: Option<(CoreRef, Key)>,
    /// The event of a domain, if the work is one.
    event: Option<EventId>,
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(packet: Arc<Packet<T>>) -> Self {
        JoinHandle { packet, task: None, event: None }
    }

    pub(crate) fn of_task(packet: Arc<Packet<T>>, core: CoreRef, key: Key) -> Self {
        JoinHandle { packet, task: Some((core, key)), event: None }
    }

    pub(crate) fn of_domain(
        packet: Arc<Packet<T>>,
        core: CoreRef,
        key: Key,
        event: Option<EventId>,
    ) -> Self {
        JoinHandle { packet, task: Some((core, key)), event }
    }

    /// Aborts a task: drops its future as soon as it is not being polled, as an event of its color.
    ///
    /// Awaiting the handle then returns an error that [is cancelled](JoinError::is_cancelled),
    /// unless the task had ended before. Other work cannot be aborted: a call, or blocking work,
    /// that has been accepted runs.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let task = rt.handle().new_color().spawn(std::future::pending::<()>());
    /// task.abort();
    /// assert!(task.join().unwrap_err().is_cancelled());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn abort(&self) {
        if let Some((core, key)) = &self.task {
            core.tasks.abort(*key);
        }
    }

    /// Returns `true` if the work has ended: it has returned, panicked, or been dropped.
    pub fn is_finished(&self) -> bool {
        self.packet.is_done()
    }

    /// Detaches the work, which goes on. Dropping the handle does the same.
    pub fn detach(self) {}

    /// Blocks the calling thread until the work has ended, and returns its result.
    ///
    /// Everything that was done before that end is visible afterwards.
    ///
    /// # Errors
    ///
    /// Returns an error if the work panicked, was dropped before its end, or was covered by poison.
    ///
    /// # Panics
    ///
    /// Panics on a worker of any runtime, because it would block the worker.
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        block_on::block_on(self, "`JoinHandle::join` was called on a worker, which it would block")
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(event) = self.event {
            event.check();
        }
        self.packet.poll(cx)
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("is_finished", &self.is_finished()).finish()
    }
}

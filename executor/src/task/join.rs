//! Waiting for what runs elsewhere.

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

/// The outcome of something that runs elsewhere: a task, a call, or blocking work. It is a future;
/// a thread that is not a worker can also [`join`](Self::join) it.
///
/// Dropping it detaches: what it stands for goes on.
#[must_use = "dropping a JoinHandle detaches; await it, join it, or say so by `detach`"]
pub struct JoinHandle<T> {
    packet: Arc<Packet<T>>,
    /// The task, if it is one.
    task: Option<(CoreRef, Key)>,
    /// Which event of a domain it is, if it is one.
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

    /// Drops a task as soon as it is not being polled, as an event of its color; awaiting it then
    /// says that it was [cancelled](JoinError::is_cancelled), unless it had ended before. Nothing
    /// else can be aborted: a call, or blocking work, that has been accepted runs.
    pub fn abort(&self) {
        if let Some((core, key)) = &self.task {
            core.tasks.abort(*key);
        }
    }

    /// Says whether it has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        self.packet.is_done()
    }

    /// Lets it go on by itself. The same as dropping the handle.
    pub fn detach(self) {}

    /// Waits for the outcome in the calling thread. What was done before the end is visible
    /// afterwards.
    ///
    /// # Errors
    ///
    /// As awaiting it.
    ///
    /// # Panics
    ///
    /// On a worker, of whatever runtime: it would block it.
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        block_on::block_on(self, "join on a worker would block it")
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

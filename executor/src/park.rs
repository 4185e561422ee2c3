//! The seam between the executor, which knows no descriptor, and a reactor: how a worker sleeps.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::cx::Cx;
pub use crate::fork::Process;
use crate::sync::{Arc, Parker, Unparker};
pub use crate::worker::poller::{Attention, Unpark};

/// A poller: a worker sleeps on it when it has nothing to run, and polls it regularly while it is
/// busy.
///
/// A reactor implements this trait. While it waits, descriptors become ready, and it posts their
/// callbacks through the [`Cx`]. Each worker has its own `Park`.
///
/// A worker counts as awake from the first post that its `Park` makes in a wait. If the `Park`
/// blocks after that, the delay is noticed like that of an event that blocks, but no other worker
/// can poll in its place.
pub trait Park: Send {
    /// Waits until something is ready, [`Unpark::unpark`] is called, or the time is over, and posts
    /// the callbacks of what became ready.
    ///
    /// With `Some(Duration::ZERO)` it polls without waiting; with `None` there is no time limit. An
    /// `unpark` that came before the call is not lost: the next wait ends at once. While the worker
    /// is stuck in an event, another worker may call this in its place.
    ///
    /// # Errors
    ///
    /// Returns the error that the operating system reports. The worker logs it, and goes on.
    fn park(&mut self, timeout: Option<Duration>, cx: &mut Cx) -> io::Result<()>;

    /// Begins or ends attending to the poller of another worker.
    ///
    /// While that worker is stuck in an event, and this one stands in for it, a wait of this poller
    /// must also end when something is ready in the poller of `worker`. This worker then polls
    /// there itself. By default this method does nothing, and the other poller is polled at
    /// intervals only.
    fn attend(&mut self, worker: usize, attention: Attention) {
        let _ = (worker, attention);
    }

    /// Ends the poller, as its worker ends. A reactor drops its registrations here, because their
    /// callbacks may own colors, and through them the runtime.
    fn close(&mut self) {}

    /// Returns a descriptor that is readable while a wait would end at once.
    ///
    /// That is so when something is ready or [`Unpark::unpark`] was called. The descriptor is for a
    /// thread that waits elsewhere (see [`Here::poll_fd`](crate::Here::poll_fd)). By default there
    /// is none.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system if it refuses the descriptor.
    fn poll_fd(&self) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    /// Returns the handle that ends a wait of this poller, from any thread.
    fn unparker(&self) -> Arc<dyn Unpark>;
}

/// Returns `true` if the waker of this context belongs to the task of this crate that is polled on
/// this thread.
///
/// Such a waker posts an event, and runs nothing else, so a reactor may call it in its [`Park`].
/// Any other waker is foreign: it may block, and no worker could take the place of a poller that is
/// blocked in it. A reactor calls a foreign waker in an event of its own.
pub fn wakes_a_task(cx: &std::task::Context<'_>) -> bool {
    crate::task::polled::wakes_a_task(cx)
}

/// A factory that makes a [`Park`] for each worker of a runtime.
///
/// [`Handle::driver`](crate::Handle::driver) returns the driver of a runtime.
pub trait Driver: std::any::Any + Send + Sync {
    /// Makes the `Park` of the worker with this number, counted from 0.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system if it refuses what the `Park` needs. The runtime
    /// is not built then.
    fn park(&self, worker: usize) -> io::Result<Box<dyn Park>>;
}

/// A poller without a reactor: the worker sleeps on a parker of its thread.
pub(crate) struct ThreadPark(Parker);

struct ThreadUnpark(Unparker);

impl ThreadPark {
    pub(crate) fn new() -> Self {
        ThreadPark(Parker::new())
    }
}

impl Park for ThreadPark {
    fn park(&mut self, timeout: Option<Duration>, _cx: &mut Cx) -> io::Result<()> {
        match timeout {
            None => self.0.park(),
            // A limit of zero consumes an `unpark` that came before.
            Some(limit) => self.0.park_timeout(limit),
        }
        Ok(())
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(ThreadUnpark(self.0.unparker().clone()))
    }
}

impl Unpark for ThreadUnpark {
    fn unpark(&self) {
        self.0.unpark();
    }
}

//! How a worker sleeps: the seam between the executor, which knows no descriptor, and a reactor.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::cx::Cx;
pub use crate::fork::Process;
use crate::sync::{Arc, Parker, Unparker};
pub use crate::worker::poller::{Attention, Unpark};

/// What a worker sleeps on when it has nothing to run, and looks at now and then when it has.
///
/// A reactor implements it: while it waits, descriptors become ready, and it posts their callbacks
/// through the [`Cx`]. Each worker has its own.
///
/// From its first post on the worker counts as awake. So what blocks in here after that is noticed
/// as an event that blocks is; but nobody can poll in its place.
pub trait Park: Send {
    /// Waits until something is ready, [`Unpark::unpark`] was called, or the time is over, and
    /// posts what became ready. `Some(Duration::ZERO)` only looks; `None` has no time limit. An
    /// `unpark` that came before is not lost: the next wait ends at once. While its worker is stuck
    /// in an event, another worker may look in its place.
    ///
    /// # Errors
    ///
    /// What the operating system reports. The worker logs it, and goes on.
    fn park(&mut self, timeout: Option<Duration>, cx: &mut Cx) -> io::Result<()>;

    /// Attends to the poller of another worker, or does so no longer: while that worker is stuck in
    /// an event, and this one stands in for it, a wait of this poller shall also end when something
    /// is ready in that one. This worker then looks there itself. By default nothing is done, and
    /// it looks there at intervals only.
    fn attend(&mut self, worker: usize, attention: Attention) {
        let _ = (worker, attention);
    }

    /// The worker ends. A reactor drops its registrations, whose callbacks may hold colors and
    /// through them the runtime.
    fn close(&mut self) {}

    /// A descriptor that is readable when a wait would end at once, because something is ready or
    /// [`Unpark::unpark`] was called: for a thread that waits elsewhere (see
    /// [`Here::poll_fd`](crate::Here::poll_fd)). By default there is none.
    ///
    /// # Errors
    ///
    /// When the operating system refuses it.
    fn poll_fd(&self) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    /// What wakes it, from any thread.
    fn unparker(&self) -> Arc<dyn Unpark>;
}

/// Says whether the waker of this context is that of the task of this crate that is polled on this
/// thread.
///
/// To wake it posts an event, and runs nothing else, so a reactor may do so in its [`Park`]. Any
/// other waker is foreign: it may block, and nobody could take the place of a poller that is held
/// up in it. A reactor wakes it in an event of its own.
pub fn wakes_a_task(cx: &std::task::Context<'_>) -> bool {
    crate::task::polled::wakes_a_task(cx)
}

/// Makes a [`Park`] for each worker of a runtime, and is found again by
/// [`Handle::driver`](crate::Handle::driver).
pub trait Driver: std::any::Any + Send + Sync {
    /// The `Park` of worker number `worker`, counted from 0.
    ///
    /// # Errors
    ///
    /// When the operating system refuses what it needs; the runtime is not built then.
    fn park(&self, worker: usize) -> io::Result<Box<dyn Park>>;
}

/// Sleeping without a reactor.
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
            // With no time it takes back an `unpark` that came before.
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

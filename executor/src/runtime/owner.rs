//! The owner of a runtime, which runs until the owner shuts it down or drops it.

use std::future::Future;
use std::io;
use std::time::Duration;

use super::builder::Builder;
use super::core::{Core, CoreRef, Phase};
use super::here::Here;
use super::shutdown::{self, ShutdownReport};
use crate::fork::Process;
use crate::sync::{Ordering, thread};
use crate::task::block_on::block_on;
use crate::turn::local::Local;
use crate::{Handle, Metrics};

/// A runtime: workers, each a thread pinned to a core, that run callbacks by their colors.
///
/// Dropping a runtime is a [`shutdown`](Self::shutdown) with a limit of zero: running callbacks
/// finish, and the rest is dropped and counted. If it is dropped on one of its own workers, the
/// drop starts the shutdown and returns.
///
/// # Forked processes
///
/// A child process that was made by `fork`, and has not called `exec`, has a copy of the runtime,
/// but none of its threads. The child may drop that copy, which then does nothing, and build a
/// runtime of its own. Anything else that belongs to the copy may wait for a thread that does not
/// exist. Locks that other threads had taken when the process was forked stay locked in the child,
/// so a program should fork before it builds its first runtime if it can.
///
/// # Examples
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering::Relaxed}};
/// let rt = dapple::Runtime::new()?;
/// let h = rt.handle();
/// let sum = Arc::new(AtomicU64::new(0));
/// for i in 1..=100 {
///     let sum = Arc::clone(&sum);
///     h.post_uncolored(move |_| { sum.fetch_add(i, Relaxed); });
/// }
/// rt.wait_idle();
/// assert_eq!(sum.load(Relaxed), 5050);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Runtime {
    pub(super) owned: Owned,
}

/// The parts of a runtime that end with its owner.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) core: CoreRef,
    /// The workers' threads. `None` stands for a worker that has no thread of its own, or whose
    /// thread was joined or detached.
    pub(super) threads: Vec<Option<thread::JoinHandle<()>>>,
    /// The process in which the threads were started.
    process: Process,
}

impl Owned {
    pub(super) fn new(core: CoreRef) -> Self {
        Owned { core, threads: Vec::new(), process: Process::current() }
    }

    /// Returns `true` if this is the copy of a forked child, in which the workers do not exist.
    pub(super) fn was_forked(&self) -> bool {
        self.process.is_another()
    }

    /// Forgets the copy of a forked child: its threads do not exist, nor does the thread that would
    /// release the core.
    pub(super) fn forget(&mut self) {
        // Dropping a thread's handle would detach the thread, which does not exist here.
        std::mem::forget(std::mem::take(&mut self.threads));
        std::mem::forget(self.core.clone());
    }

    /// Takes back the counts of a worker that has no thread.
    pub(super) fn uncount_worker(&self) {
        self.core.serving.fetch_sub(1, Ordering::SeqCst);
        shutdown::worker_leaves(&self.core);
    }

    /// Ends the runtime, whose start has failed.
    pub(super) fn end_at_once(mut self) {
        drop(shutdown::shutdown(&self.core, &mut self.threads, Duration::ZERO));
    }
}

impl Runtime {
    /// Starts a runtime with the defaults of the [`Builder`].
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if it refuses a thread or a poller.
    pub fn new() -> io::Result<Runtime> {
        Builder::default().build()
    }

    /// Returns a builder, which configures and starts a runtime.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns a handle of the runtime, which makes colors and posts callbacks.
    pub fn handle(&self) -> Handle {
        Handle::new(self.owned.core.clone())
    }

    /// Returns the number of workers.
    pub fn workers(&self) -> usize {
        self.owned.core.fleet.workers.len()
    }

    /// Reads the metrics of the runtime.
    pub fn metrics(&self) -> Metrics {
        Metrics::read(&self.owned.core)
    }

    /// Waits until no event is running or queued.
    ///
    /// Armed timers, waiting tasks and quiet descriptors do not count. Nor do events of a
    /// [`Domain`](crate::Domain) that wait for an earlier one whose token is kept outside events
    /// and tasks that run. What the events did is visible afterwards.
    ///
    /// # Panics
    ///
    /// On a worker of any runtime, and in blocking work of this one, because it could wait for
    /// itself.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let h = rt.handle();
    /// let color = h.new_color();
    /// h.post_default(move |cx| cx.post(&color, |_| println!("was posted by an event")));
    /// rt.wait_idle();
    /// assert_eq!(rt.metrics().events(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn wait_idle(&self) {
        wait_idle(&self.owned.core);
    }

    /// Runs a future on the calling thread, which sleeps while the future waits.
    ///
    /// What was done before the future was ready is visible afterwards.
    ///
    /// # Panics
    ///
    /// On a worker of any runtime, which it would block, and if the future panics.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// assert_eq!(rt.block_on(async { 6 * 7 }), 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        block_on(future, "block_on on a worker would block it")
    }

    /// Ends the runtime, and waits until its workers have ended.
    ///
    /// Posts from outside are refused from now on, and timers that have not fired are dropped.
    /// Running work goes on, and may post, until nothing is left or `limit` is over. Then running
    /// events finish, and the rest is dropped and counted. In a [forked](Self#forked-processes)
    /// child it does nothing.
    ///
    /// An event that does not finish in time (see [`Builder::stuck_after`]) is reported, and its
    /// worker's thread is detached. So is a worker in which one drop of unrun work takes that long.
    /// The calling thread drops the queued blocking work, and what a stuck worker leaves, however
    /// long this takes.
    ///
    /// # Panics
    ///
    /// On a worker of any runtime, and in blocking work of this one, because it could wait for
    /// itself. Drop the runtime there instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let rt = dapple::Runtime::new()?;
    /// rt.handle().post_default(|_| println!("runs before the end"));
    /// let report = rt.shutdown(Duration::from_secs(5));
    /// assert!(report.drained && report.dropped_events == 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn shutdown(mut self, limit: Duration) -> ShutdownReport {
        if self.owned.was_forked() {
            return ShutdownReport::default();
        }
        assert!(!Local::on_a_worker(), "shutdown on a worker would wait for itself");
        let Owned { core, threads, .. } = &mut self.owned;
        let own = crate::blocking::works_for(core);
        assert!(!own, "shutdown in offloaded work would wait for itself");
        shutdown::shutdown(core, threads, limit)
    }

    /// Makes the calling thread worker 0 of a runtime with the defaults of the [`Builder`].
    ///
    /// See [`Builder::build_here`], and [`Here`] for an example.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if it refuses a thread or a poller.
    pub fn here() -> io::Result<Here> {
        Builder::default().build_here()
    }
}

impl Handle {
    /// Waits until no event is running or queued, or the runtime has ended. See
    /// [`Runtime::wait_idle`](crate::Runtime::wait_idle) for what counts.
    ///
    /// # Panics
    ///
    /// On a worker of any runtime, and in blocking work of this one, because it could wait for
    /// itself.
    #[track_caller]
    pub fn wait_idle(&self) {
        wait_idle(self.core());
    }
}

/// Waits until the runtime is at rest or closed; see [`Runtime::wait_idle`].
#[track_caller]
fn wait_idle(core: &Core) {
    assert!(!Local::on_a_worker(), "wait_idle on a worker would wait for itself");
    let own = crate::blocking::works_for(core);
    assert!(!own, "wait_idle in offloaded work would wait for itself");
    core.wait_for_rest(None, || core.phase() == Phase::Closed);
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.owned.was_forked() {
            return self.owned.forget();
        }
        let Owned { core, threads, .. } = &mut self.owned;
        if threads.iter().all(Option::is_none) {
            return;
        }
        // A worker of this runtime would wait for itself. A worker of another runtime waits, as any
        // thread does.
        match Local::is_on(core) {
            true => shutdown::start_stopping(core),
            false => drop(shutdown::shutdown(core, threads, Duration::ZERO)),
        }
    }
}

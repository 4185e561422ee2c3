//! A worker, as a value that a thread enters and leaves.

use std::cell::RefCell;
use std::time::Duration;

use super::entry::Entry;
use super::local::Local;
use crate::cx::Cx;
use crate::runtime::core::{Core, CoreRef, Phase};
use crate::runtime::shutdown;
use crate::runtime::thread_hooks::ThreadKind;
use crate::sync::{is_simulated, worker_begins};
use crate::worker::cores::{Mask, Pin};
use crate::worker::scheduler::Scheduler;
use crate::worker::worker_loop::{Rounds, WorkerLoop};

/// A worker of a runtime. One thread is in it at a time, and finds its state again when it enters
/// the next time.
pub(crate) struct Worker {
    local: Local,
    /// The state of the worker's loop, borrowed while a thread is in the worker.
    rounds: RefCell<Rounds>,
}

/// The error of a thread that is in a worker already, and cannot enter it again: its event cannot
/// be suspended.
pub(crate) struct CannotSuspend;

impl Worker {
    /// Makes a worker, which the calling thread enters, and later stops.
    pub(crate) fn new(core: CoreRef, scheduler: Scheduler<Entry>) -> Self {
        core.seats[scheduler.index].cpu_time.begin();
        let rounds = RefCell::new(Rounds::new(core.fleet.workers.len()));
        Worker { local: Local::new(core, scheduler), rounds }
    }

    /// Runs `f` with the calling thread acting as the worker. If the thread is in the worker
    /// already, it is in an event, which is suspended.
    pub(crate) fn enter<R>(
        &self,
        f: impl FnOnce(&mut Inside<'_>) -> R,
    ) -> Result<R, CannotSuspend> {
        let local = &self.local;
        if let Ok(mut rounds) = self.rounds.try_borrow_mut() {
            return Ok(local.enter(|| f(&mut Inside::new(local, &mut rounds))));
        }
        let _suspended = local.suspend().ok_or(CannotSuspend)?;
        let mut rounds = Rounds::new(local.core.fleet.workers.len());
        Ok(local.enter(|| f(&mut Inside::new(local, &mut rounds))))
    }

    /// Returns `true` if the calling thread can enter the worker.
    pub(crate) fn can_enter(&self) -> bool {
        !self.is_entered() || self.local.can_suspend()
    }

    /// Returns `true` if a thread is in the worker.
    pub(crate) fn is_entered(&self) -> bool {
        self.rounds.try_borrow().is_err()
    }

    /// Drops everything that is queued for the worker, which has stopped.
    pub(crate) fn stop(&self) {
        self.local.enter(|| shutdown::worker_stops(&self.local));
        self.local.core.seats[self.local.index()].cpu_time.end();
    }
}

/// The worker as which the calling thread acts.
pub(crate) struct Inside<'a> {
    local: &'a Local,
    at_work: WorkerLoop<'a, Local>,
}

impl<'a> Inside<'a> {
    fn new(local: &'a Local, rounds: &'a mut Rounds) -> Self {
        Inside { local, at_work: WorkerLoop::new(local, &local.scheduler, rounds) }
    }

    fn core(&self) -> &'a Core {
        &self.local.core
    }

    /// Runs entries, and sleeps when there are none, until the runtime stops.
    pub(crate) fn run_until_stopped(&mut self) {
        self.run_until(|| false);
    }

    /// Runs entries, and sleeps when there are none, until `is_over` returns `true` or the runtime
    /// stops.
    pub(crate) fn run_until(&mut self, is_over: impl Fn() -> bool) {
        let core = self.core();
        self.at_work.run_until(|| core.phase() >= Phase::Stopping || is_over());
    }

    /// Runs one turn of the loop; see [`WorkerLoop::turn`].
    pub(crate) fn turn(&mut self, wait: Option<Duration>, budget: u64) -> u64 {
        let core = self.core();
        self.at_work.turn(wait, budget, || core.phase() >= Phase::Stopping)
    }

    /// Notes that the thread is back; see [`WorkerLoop::comes_back`].
    pub(crate) fn comes_back(&mut self) {
        self.at_work.comes_back();
    }

    /// Notes that the thread goes away; see [`WorkerLoop::goes_away`].
    pub(crate) fn goes_away(&mut self) -> Option<u64> {
        self.at_work.goes_away()
    }

    /// Calls `f` with the [`Cx`] of this worker.
    pub(crate) fn with_cx<R>(&mut self, f: impl FnOnce(&mut Cx) -> R) -> R {
        Cx::with(self.local, f)
    }

    /// Runs up to `budget` entries of run queues without sleeping, and returns their number.
    #[cfg(test)]
    pub(crate) fn run_once(&mut self, budget: u64) -> u64 {
        let core = self.core();
        self.at_work.run_once(budget, || core.phase() >= Phase::Stopping)
    }

    /// Returns the deadline of the first timer, in nanoseconds of the runtime's clock.
    #[cfg(test)]
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.at_work.next_deadline()
    }
}

/// Runs a worker on its own thread, until the runtime stops.
pub(crate) fn run(core: CoreRef, scheduler: Scheduler<Entry>, pin: Option<Pin>) {
    match &pin {
        Some(pin) if !crate::worker::cores::pin(pin.core()) => {
            let (worker, core) = (scheduler.index, pin.core().id);
            tracing::warn!(worker, core, "the system refused to pin a worker");
        }
        Some(_) => {}
        // A fiber runs on the test's thread, whose CPU mask stays as it is.
        None if is_simulated() => {}
        // The thread that built the runtime may be pinned, and this one has inherited its mask.
        None => Mask::of_the_process().iter().for_each(Mask::apply),
    }
    let rules = &core.fleet.rules;
    let rescues = rules.steals().then(|| rules.steal_delay_nanos());
    worker_begins(std::ptr::from_ref::<Core>(&core).addr(), rescues);
    let running = core.settings.thread_hooks.thread_starts(ThreadKind::Worker(scheduler.index));
    let worker = Worker::new(core.clone(), scheduler);
    // This cannot fail: the thread has not entered the worker yet.
    let _ = worker.enter(|inside| inside.run_until_stopped());
    worker.stop();
    // Dropped before the worker is counted as gone, because its counts of the core return to the
    // core.
    drop(worker);
    drop(running);
    shutdown::worker_leaves(&core);
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;

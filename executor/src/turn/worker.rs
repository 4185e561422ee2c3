//! A worker, as a value that a thread enters and leaves.

use super::entry::Entry;
use super::local::Local;
use crate::runtime::core::{Core, CoreRef, Phase};
use crate::runtime::shutdown;
use crate::runtime::thread_hooks::ThreadKind;
use crate::worker::cores::{Mask, Pin};
use crate::worker::scheduler::Scheduler;
use crate::worker::worker_loop::{Rounds, WorkerLoop};

/// See the module. One thread is in it at a time; what it remembers is there when it is entered
/// again.
pub(crate) struct Worker {
    local: Local,
    rounds: Rounds,
}

impl Worker {
    pub(crate) fn new(core: CoreRef, scheduler: Scheduler<Entry>) -> Self {
        let rounds = Rounds::new(core.fleet.workers.len());
        Worker { local: Local::new(core, scheduler), rounds }
    }

    /// Runs `f` with the worker at hand, which the calling thread is meanwhile.
    pub(crate) fn enter<R>(&mut self, f: impl FnOnce(&mut Inside<'_>) -> R) -> R {
        let Worker { local, rounds } = self;
        let local: &Local = local;
        local.enter(|| {
            let at_work = WorkerLoop::new(local, &local.scheduler, rounds);
            f(&mut Inside { core: &local.core, at_work })
        })
    }

    /// The worker has stopped: drops what is queued for it.
    fn stop(&self) {
        self.local.enter(|| shutdown::worker_stops(&self.local));
    }
}

/// A worker that the calling thread is.
pub(crate) struct Inside<'a> {
    core: &'a Core,
    at_work: WorkerLoop<'a, Local>,
}

impl Inside<'_> {
    /// Works, and sleeps when there is nothing to run, until the runtime stops.
    pub(crate) fn run_until_stopped(&mut self) {
        let core = self.core;
        self.at_work.run_until(|| core.phase() >= Phase::Stopping);
    }

    /// Runs up to `budget` entries of run queues without sleeping, and says how many there were.
    #[cfg(test)]
    pub(crate) fn run_once(&mut self, budget: u64) -> u64 {
        let core = self.core;
        self.at_work.run_once(budget, || core.phase() >= Phase::Stopping)
    }

    /// When its first timer is due, in nanoseconds of the runtime's clock.
    #[cfg(test)]
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.at_work.next_deadline()
    }
}

/// The body of a worker's thread.
pub(crate) fn run(core: CoreRef, scheduler: Scheduler<Entry>, pin: Option<Pin>) {
    match &pin {
        Some(pin) if !crate::worker::cores::pin(pin.core()) => {
            let (worker, core) = (scheduler.index, pin.core().id);
            tracing::warn!(worker, core, "the system refused to pin a worker");
        }
        Some(_) => {}
        // The thread that has built the runtime may be pinned.
        None => Mask::of_the_process().iter().for_each(Mask::apply),
    }
    let running = core.settings.thread_hooks.thread_starts(ThreadKind::Worker(scheduler.index));
    let mut worker = Worker::new(core.clone(), scheduler);
    worker.enter(|inside| inside.run_until_stopped());
    worker.stop();
    // Before the worker says that it has left: its counts of the core go to the core.
    drop(worker);
    drop(running);
    shutdown::worker_leaves(&core);
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;

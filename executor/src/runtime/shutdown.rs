//! How a runtime ends (E11).
//!
//! 1. *Draining*: posts from outside are refused, timers dropped; running work goes on until
//!    nothing is left or the deadline comes.
//! 2. *Stopping*: what is still posted by running work is dropped. Each worker ends the event that
//!    it runs, drops what is queued for it, and leaves.
//! 3. *Closed*: by the last worker that leaves, or by the caller of the shutdown who gives up on a
//!    stuck one. From then on, a thread that puts something into an inbox disposes of all that is
//!    there.
//!
//! What may still be queued in the end: events whose post was accepted before the phase changed,
//! and what keeps memory in order and is never refused, the graves of colors and the ends of
//! colored values.
//!
//! # Nothing is left behind
//!
//! A poster pushes to an inbox, fences, and reads the phase (`Core::inject`); the closer changes
//! the phase, fences, and disposes. One of the two sees the other's; who disposes is settled in
//! `undertaking`. What a stuck worker still posts into its own run queue it drops itself, when its
//! event has ended.
//!
//! # It comes to an end
//!
//! A worker that leaves, and the thread that closes, each dispose of what is there when it begins,
//! and of what that leads to; beside a worker that is still in an event, and may post for ever, for
//! a limited time (see `turn::discard`). The caller of a shutdown gives up on a worker that has
//! been in one event, or in one drop, for longer than `stuck_after`; not on one that gets on.

use std::time::{Duration, Instant};

use super::core::{Core, CoreRef, Phase};
use crate::clock;
use crate::park::ThreadPark;
use crate::sync::{Ordering, lock, sleep, thread, try_lock};
use crate::turn::local::Local;

/// How long a worker may take that is in no event, but has not left: until it is given the core, or
/// while a foreign poller holds it.
const IDLE_PATIENCE: Duration = Duration::from_secs(5);

/// How often the caller of a shutdown looks.
const LOOK: Duration = Duration::from_micros(200);

/// How often somebody who has queued something looks again while somebody else disposes.
const PATIENCE: u32 = 64;

/// What a shutdown left undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Events that were dropped unrun since the start of the shutdown, refused ones included.
    pub dropped_events: u64,
    /// Timers that had not fired.
    pub dropped_timers: u64,
    /// Workers that were still in an event, or in the drop of one closure, when the shutdown gave
    /// up on them; their threads were detached.
    pub stuck_workers: Vec<usize>,
    /// Whether everything that was queued was run before the deadline. It was not if a domain has
    /// events that have not committed.
    pub drained: bool,
}

impl Core {
    /// Says whether nothing runs, and nothing is queued.
    pub(super) fn is_at_rest(&self) -> bool {
        self.quiesce.is_at_rest(&self.fleet.sleep, || self.fleet.has_nothing())
    }

    /// Waits until the runtime is at rest, or has been stopped, or the time is over; true if at
    /// rest or stopped.
    pub(super) fn wait_for_rest(&self, until: Option<Instant>, stopped: impl Fn() -> bool) -> bool {
        let fleet = &self.fleet;
        self.quiesce.wait(&fleet.sleep, || fleet.has_nothing(), until, stopped)
    }
}

/// Goes through all phases. `threads`: the workers', taken as they end.
pub(super) fn shutdown(
    core: &CoreRef,
    threads: &mut [Option<thread::JoinHandle<()>>],
    limit: Duration,
) -> ShutdownReport {
    let ending = Ending::begin(core, limit);
    let stopped = || core.phase() >= Phase::Stopping;
    let is_at_rest = core.wait_for_rest(ending.deadline, stopped);
    ending.finish(core, threads, is_at_rest, || {})
}

/// A shutdown that has begun.
#[must_use = "it has to be finished"]
pub(super) struct Ending {
    dropped_before: u64,
    dropped_timers: u64,
    /// Until when running work goes on; `None`: for ever.
    pub(super) deadline: Option<Instant>,
}

impl Ending {
    /// The first phase: posts from outside are refused, timers dropped.
    pub(super) fn begin(core: &CoreRef, limit: Duration) -> Ending {
        let dropped_before = dropped(core);
        core.advance(Phase::Draining);
        let dropped_timers = crate::timer::drop_all(core);
        Ending { dropped_before, dropped_timers, deadline: clock::now().checked_add(limit) }
    }

    /// The other phases. `is_at_rest`: nothing was left to run, or somebody else has stopped the
    /// runtime. `leave`: the worker that the calling thread is leaves.
    pub(super) fn finish(
        self,
        core: &CoreRef,
        threads: &mut [Option<thread::JoinHandle<()>>],
        is_at_rest: bool,
        leave: impl FnOnce(),
    ) -> ShutdownReport {
        // A token that is kept somewhere holds up events that are in no queue.
        let drained = is_at_rest && !core.domains.is_open();
        start_stopping(core);
        leave();
        ShutdownReport {
            stuck_workers: wait_for_workers(core, threads),
            dropped_events: dropped(core) - self.dropped_before,
            dropped_timers: self.dropped_timers,
            drained,
        }
    }
}

/// Waits until all workers have left, and answers those that are stuck.
fn wait_for_workers(core: &CoreRef, threads: &mut [Option<thread::JoinHandle<()>>]) -> Vec<usize> {
    let mut watches: Vec<_> = (0..threads.len()).map(|index| Leaving::of(core, index)).collect();
    let mut stuck_workers = Vec::new();
    for (index, slot) in threads.iter_mut().enumerate() {
        let Some(thread) = slot.take() else { continue };
        while !thread.is_finished() && !watches[index].is_stuck(core) {
            sleep(LOOK);
        }
        if thread.is_finished() {
            // A worker's thread does not panic; if it did, its panic has been printed.
            let _ = thread.join();
        } else {
            tracing::error!(worker = index, "a worker is stuck in an event, and left behind");
            stuck_workers.push(index);
        }
    }
    if !stuck_workers.is_empty() {
        close(core);
    }
    stuck_workers
}

/// A worker that is to leave, as the caller of the shutdown sees it.
struct Leaving {
    worker: usize,
    progress: u64,
    since: Instant,
}

impl Leaving {
    fn of(core: &Core, worker: usize) -> Self {
        let progress = core.fleet.workers[worker].published.progress.load(Ordering::Relaxed);
        Leaving { worker, progress, since: clock::now() }
    }

    /// Says whether it has been at the same thing for too long.
    fn is_stuck(&mut self, core: &Core) -> bool {
        let now = Leaving::of(core, self.worker);
        if now.progress != self.progress {
            *self = now;
            return false;
        }
        // None: it runs no event, nor a drop.
        let is_busy = core.seats[self.worker].event.site().is_some();
        let patience = core.settings.stuck_after;
        let patience = if is_busy { patience } else { patience.max(IDLE_PATIENCE) };
        now.since.duration_since(self.since) >= patience
    }
}

fn dropped(core: &Core) -> u64 {
    let workers = core.fleet.workers.iter().map(|w| w.counters.dropped.load(Ordering::Relaxed));
    workers.sum::<u64>() + core.outside.dropped.load(Ordering::Relaxed)
}

/// Tells all workers to leave, and waits for none.
pub(crate) fn start_stopping(core: &Core) {
    core.advance(Phase::Draining);
    crate::timer::drop_all(core);
    if core.advance(Phase::Stopping) {
        core.tasks.abort_all();
        core.domains.end_waits();
        core.blocking.close();
        core.fleet.unpark_all();
        core.quiesce.wake();
    }
}

/// A worker has left its loop: it drops what is queued for it.
pub(crate) fn worker_stops(local: &Local) {
    local.core.serving.fetch_sub(1, Ordering::SeqCst);
    // It is in no event any more, and closing its poller is not one.
    local.gets_on();
    local.guard(None, || lock(&local.seat.park).close());
    local.gets_on();
    local.discard_all();
    local.gets_on();
    drop_futures(local);
    local.gets_on();
    local.flush_samples(true);
}

/// Drops the futures that are to be dropped on this thread, and are not yet.
fn drop_futures(local: &Local) {
    loop {
        // The drop of one may leave another.
        let left: Vec<_> = local.futures.take_all().collect();
        if left.is_empty() {
            return;
        }
        left.into_iter().for_each(|future| local.guard(None, || drop(future)));
    }
}

/// A worker's thread is about to end.
pub(crate) fn worker_leaves(core: &Core) {
    if core.live_workers.fetch_sub(1, Ordering::SeqCst) == 1 {
        close(core);
    }
}

/// Nobody serves the queues any more.
fn close(core: &Core) {
    core.advance(Phase::Closed);
    let undertaker = Local::undertaker(CoreRef::of(core));
    undertaker.enter(|| {
        for seat in &core.seats {
            // A worker that is stuck in an event does not hold its poller.
            let Some(mut park) = try_lock(&seat.park) else { continue };
            undertaker.guard(None, || park.close());
            *park = Box::new(ThreadPark::new());
        }
        undertaker.discard_all();
    });
    drop(undertaker);
    undertake(core);
    core.quiesce.wake();
    core.settings.drop_hooks();
}

/// Disposes of all that is queued. Called after the phase is *Closed*.
pub(crate) fn undertake(core: &Core) {
    // What is disposed of may hold the last count of the core, but ours.
    let core = CoreRef::of(core);
    // Inside of a pass, this thread would wait for itself.
    let patience = if Local::is_undertaker_of(&core) { 0 } else { PATIENCE };
    core.undertaking.undertake(patience, || {
        let undertaker = Local::undertaker(core.clone());
        undertaker.enter(|| undertaker.discard_all());
    });
}

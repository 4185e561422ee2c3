//! The shutdown of a runtime (E11).
//!
//! 1. *Draining*: posts from outside are refused, and timers are dropped. Running work goes on
//!    until nothing is left or the deadline comes.
//! 2. *Stopping*: events that running work still posts are dropped. Each worker finishes the event
//!    that it runs, drops everything that is queued for it, and exits.
//! 3. *Closed*: the phase is set by the last worker that exits, or by the caller of the shutdown
//!    when it gives up on a stuck one. From then on, a thread that puts something into an inbox
//!    disposes of everything there.
//!
//! Two kinds of things may still be queued at the end: events whose post was accepted before the
//! phase changed, and housekeeping that is never refused, namely the graves of colors and the ends
//! of colored values.
//!
//! # Nothing is left behind
//!
//! A poster pushes to an inbox, fences, and reads the phase (`Core::inject`). The closer changes
//! the phase, fences, and disposes of the queues. One of the two sees the other's step; which of
//! them disposes is settled in `disposal`. If a stuck worker still posts into its own run queue,
//! it drops these events itself when the event that it is in has ended.
//!
//! # It comes to an end
//!
//! A worker that exits, and the thread that closes, each dispose of the entries that are queued
//! when they begin, and of those that these lead to. While a worker is still in an event, and may
//! post for ever, they do so for a limited time (see `turn::discard`). The caller of a shutdown
//! gives up on a worker that has been in one event, or in one drop, for longer than `stuck_after`.
//! It does not give up on a worker that makes progress.

use std::time::{Duration, Instant};

use super::core::{Core, CoreRef, Phase};
use crate::clock;
use crate::park::ThreadPark;
use crate::sync::{Ordering, lock, sleep, thread, try_lock};
use crate::turn::local::Local;

/// The patience for a worker that is in no event but has not exited: it may wait for a CPU core, be
/// kept in a poller of the program's (see `Builder::driver`), or wait for a thread that polls for
/// it.
const IDLE_PATIENCE: Duration = Duration::from_secs(5);

/// The interval at which the caller of a shutdown checks the workers.
const LOOK: Duration = Duration::from_micros(200);

/// The number of times that a thread which has queued something yields and looks again while
/// another thread disposes.
const PATIENCE: u32 = 64;

/// The result of a shutdown: the events and timers that it dropped, and the workers that were
/// stuck.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The number of events that were dropped unrun since the start of the shutdown, including
    /// refused ones.
    pub dropped_events: u64,
    /// The number of timers that were dropped because they had not fired.
    pub dropped_timers: u64,
    /// The numbers of the workers that were still in an event, or in one drop, when the shutdown
    /// gave up on them. Their threads were detached.
    pub stuck_workers: Vec<usize>,
    /// Whether everything that was queued ran before the deadline. This is `false` if a domain has
    /// events that have not committed.
    pub drained: bool,
}

impl Core {
    /// Returns `true` if nothing runs, and nothing is queued.
    pub(super) fn is_at_rest(&self) -> bool {
        self.quiesce.is_at_rest(&self.fleet.sleep, || self.fleet.has_nothing())
    }

    /// Waits until the runtime is at rest, `stopped` returns `true`, or the time `until` has come.
    /// Returns `true` in the first two cases.
    pub(super) fn wait_for_rest(&self, until: Option<Instant>, stopped: impl Fn() -> bool) -> bool {
        let fleet = &self.fleet;
        self.quiesce.wait(&fleet.sleep, || fleet.has_nothing(), until, stopped)
    }
}

/// Takes the runtime through all phases. `threads` are the workers' threads, which are taken as
/// they end.
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

/// A shutdown that has begun, and has to be finished.
#[must_use = "a shutdown that has begun must be finished"]
pub(super) struct Ending {
    dropped_before: u64,
    dropped_timers: u64,
    /// The time until which running work goes on; `None` means without a limit.
    pub(super) deadline: Option<Instant>,
}

impl Ending {
    /// Begins the draining phase: posts from outside are refused, and timers are dropped.
    pub(super) fn begin(core: &CoreRef, limit: Duration) -> Ending {
        let dropped_before = dropped(core);
        core.advance(Phase::Draining);
        let dropped_timers = crate::timer::drop_all(core);
        Ending { dropped_before, dropped_timers, deadline: clock::now().checked_add(limit) }
    }

    /// Runs the other phases. `is_at_rest` is true if nothing was left to run, or another thread
    /// has stopped the runtime. `leave` is called to end the worker on the calling thread, if there
    /// is one.
    pub(super) fn finish(
        self,
        core: &CoreRef,
        threads: &mut [Option<thread::JoinHandle<()>>],
        is_at_rest: bool,
        leave: impl FnOnce(),
    ) -> ShutdownReport {
        // A token that is kept somewhere delays events that are in no queue.
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

/// Waits until all workers have exited, and returns those that are stuck.
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
            tracing::error!(
                worker = index,
                "a worker is stuck in an event; its thread is detached"
            );
            stuck_workers.push(index);
        }
    }
    if !stuck_workers.is_empty() {
        close(core);
    }
    stuck_workers
}

/// A worker that is to exit, as the caller of the shutdown watches it.
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

    /// Returns `true` if the worker has been in the same event or drop for too long.
    fn is_stuck(&mut self, core: &Core) -> bool {
        let now = Leaving::of(core, self.worker);
        if now.progress != self.progress {
            *self = now;
            return false;
        }
        // Without a site, the worker is in no event and in no drop.
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

/// Tells all workers to exit, and returns without waiting for them.
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

/// Drops everything that is queued for a worker that has exited its loop.
pub(crate) fn worker_stops(local: &Local) {
    local.core.serving.fetch_sub(1, Ordering::SeqCst);
    // The worker is no longer in an event, and closing its poller counts as none.
    local.publish_progress();
    local.guard(None, || lock(&local.seat.park).close());
    local.publish_progress();
    local.discard_all();
    local.publish_progress();
    drop_futures(local);
    local.publish_progress();
    local.flush_samples(true);
}

/// Drops the remaining futures that must be dropped on this thread.
fn drop_futures(local: &Local) {
    loop {
        // The drop of a future may leave another.
        let left: Vec<_> = local.futures.take_all().collect();
        if left.is_empty() {
            return;
        }
        left.into_iter().for_each(|future| local.guard(None, || drop(future)));
    }
}

/// Notes that a worker's thread is about to end, and closes the runtime if it is the last one.
pub(crate) fn worker_leaves(core: &Core) {
    if core.live_workers.fetch_sub(1, Ordering::SeqCst) == 1 {
        close(core);
    }
}

/// Closes the runtime, whose queues no worker serves any longer, and disposes of the queues.
fn close(core: &Core) {
    core.advance(Phase::Closed);
    let disposer = Local::disposer(CoreRef::of(core));
    disposer.enter(|| {
        for seat in &core.seats {
            // A worker that is stuck in an event does not have its poller locked.
            let Some(mut park) = try_lock(&seat.park) else { continue };
            disposer.guard(None, || park.close());
            *park = Box::new(ThreadPark::new());
        }
        disposer.discard_all();
    });
    drop(disposer);
    dispose_queues(core);
    core.quiesce.wake();
    core.settings.drop_hooks();
}

/// Disposes of everything that is queued. The phase is *Closed*.
pub(crate) fn dispose_queues(core: &Core) {
    // The entries may own the last count of the core other than this one.
    let core = CoreRef::of(core);
    // Inside a pass, this thread would wait for itself.
    let patience = if Local::is_disposer_of(&core) { 0 } else { PATIENCE };
    core.disposal.dispose(patience, || {
        let disposer = Local::disposer(core.clone());
        disposer.enter(|| disposer.discard_all());
    });
}

//! How a runtime ends (E11).
//!
//! 1. *Draining*: posts from outside are refused, timers dropped; running work goes on until nothing
//!    is left or the deadline comes.
//! 2. *Stopping*: what is still posted by running work is dropped. Each worker ends the event that it runs, drops what is queued
//!    for it, and leaves.
//! 3. *Closed*: by the last worker that leaves, or by the caller of the shutdown who gives up on a
//!    stuck one. From then on, whoever puts something into an inbox disposes of all that is there.
//!
//! What may still be queued in the end: events whose post was accepted before the phase changed, and what
//! keeps memory in order and is never refused, the graves of colors and the ends of colored values.
//!
//! # Nothing is left behind
//!
//! A poster pushes to an inbox, fences, and reads the phase (`Core::inject`); the closer changes the
//! phase, fences, and disposes. One of the two sees the other's. Disposing is done under a lock that
//! is only tried: who does not get it leaves its entry to the holder, which looks again after it has
//! unlocked. So a drop that queues something while something is disposed of does not recurse.

use std::sync::{PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::core::{Core, CoreRef, Phase};
use crate::park::ThreadPark;
use crate::sync::{Ordering, fence, lock, thread};
use crate::worker::local::Local;

/// What a shutdown left undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Events that were dropped unrun since the begin of the shutdown, refused ones included.
    pub dropped_events: u64,
    /// Timers that had not fired.
    pub dropped_timers: u64,
    /// Workers that were still in an event when the shutdown gave up on them; their threads
    /// were detached.
    pub stuck_workers: Vec<usize>,
    /// Was everything that was queued run before the deadline? Not if a domain has events that have not committed.
    pub drained: bool,
}

/// Goes through all phases. `threads`: the workers', taken as they end.
pub(super) fn shutdown(
    core: &CoreRef,
    threads: &mut [Option<thread::JoinHandle<()>>],
    limit: Duration,
) -> ShutdownReport {
    let dropped_before = dropped(core);
    core.advance(Phase::Draining);
    let dropped_timers = crate::timer::drop_all(core);
    let deadline = Instant::now().checked_add(limit);
    let stopped = || core.phase() >= Phase::Stopping;
    // A token that is kept somewhere holds up events that are in no queue.
    let drained = core.quiesce.wait(core, deadline, stopped) && !core.domains.is_open();
    start_stopping(core);
    let patience = Instant::now().checked_add(core.settings.stuck_after);
    let mut stuck_workers = Vec::new();
    for (index, slot) in threads.iter_mut().enumerate() {
        let Some(thread) = slot.take() else { continue };
        while !thread.is_finished() && patience.is_none_or(|end| Instant::now() < end) {
            thread::park_timeout(Duration::from_micros(200));
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
    ShutdownReport {
        dropped_events: dropped(core) - dropped_before,
        dropped_timers,
        stuck_workers,
        drained,
    }
}

fn dropped(core: &Core) -> u64 {
    let workers = core.workers.iter().map(|w| w.counters.dropped.load(Ordering::Relaxed));
    workers.sum::<u64>() + core.dropped_outside.load(Ordering::Relaxed)
}

/// Tells all workers to leave, and waits for none.
pub(super) fn start_stopping(core: &Core) {
    core.advance(Phase::Draining);
    crate::timer::drop_all(core);
    if core.advance(Phase::Stopping) {
        core.tasks.abort_all();
        core.offload.close();
        core.sleep.notify_all(core);
        core.quiesce.wake();
    }
}

/// A worker has left its loop: it drops what is queued for it.
pub(crate) fn worker_stops(local: &Local) {
    local.guard(None, || lock(&local.shared().park).close());
    local.dispose_all(&local.core);
    local.flush_samples();
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
    for worker in core.workers.iter() {
        // A worker that is stuck in an event does not hold its poller.
        let mut park = match worker.park.try_lock() {
            Ok(park) => park,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => continue,
        };
        undertaker.guard(None, || park.close());
        *park = Box::new(ThreadPark::new());
    }
    drop(undertaker);
    undertake(core);
    core.quiesce.wake();
    core.settings.drop_hooks();
}

/// Disposes of all that is queued. Called after the phase is *Closed*.
pub(crate) fn undertake(core: &Core) {
    // What is disposed of may hold the last count of the core, but ours.
    let core = CoreRef::of(core);
    loop {
        let guard = match core.undertaker.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(p)) => PoisonError::into_inner(p),
            // The holder, which may be this thread further up, looks again.
            Err(TryLockError::WouldBlock) => return,
        };
        Local::undertaker(core.clone()).dispose_all(&core);
        drop(guard);
        fence(Ordering::SeqCst);
        if core.workers.iter().all(|w| w.has_nothing_open()) {
            return;
        }
    }
}

//! What each worker has done.

use std::time::Duration;

use crate::runtime::core::Core;
use crate::sync::{AtomicU64, Ordering};

/// What one worker has done since the start of the runtime; see
/// [`Metrics::by_worker`](crate::Metrics::by_worker).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerFigures {
    /// CPU time of its thread since it is a worker, to the precision of the system; its share of
    /// the time that passes is how busy the worker is. Of the thread of a [`Here`](crate::Here) it
    /// includes what that does outside. Zero where the system does not tell, which is everywhere
    /// but on Linux.
    pub cpu_time: Duration,
    /// Events that it has run, or found to be dropped.
    pub events: u64,
    /// Visits to colors.
    pub turns: u64,
    /// Successful looks at another worker's run queue.
    pub steals: u64,
    /// Run-queue entries that these took.
    pub colors_stolen: u64,
    /// Times that it slept.
    pub parks: u64,
}

pub(super) fn of(core: &Core) -> Vec<WorkerFigures> {
    let workers = core.fleet.workers.iter().zip(&core.seats);
    let figures = workers.map(|(worker, seat)| {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &worker.counters;
        WorkerFigures {
            cpu_time: Duration::from_nanos(seat.cpu_time.nanos()),
            events: read(&counters.events),
            turns: read(&counters.turns),
            steals: read(&counters.steals),
            colors_stolen: read(&counters.colors_stolen),
            parks: read(&counters.parks),
        }
    });
    figures.collect()
}

//! The figures of each worker.

use std::time::Duration;

use crate::runtime::core::Core;
use crate::sync::{AtomicU64, Ordering};

/// The figures of one worker since the start of the runtime; see
/// [`Metrics::by_worker`](crate::Metrics::by_worker).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerFigures {
    /// The CPU time of the worker's thread since it became a worker, with the precision of the
    /// system. Its share of the time that has passed says how busy the worker is. For the thread of
    /// a [`Here`](crate::Here) it includes CPU time that the thread uses outside the runtime. It is
    /// zero where the system does not tell, which is everywhere except on Linux.
    pub cpu_time: Duration,
    /// The number of events that the worker has run, including those that count as dropped because
    /// they ran in vain.
    pub events: u64,
    /// The number of turns: visits of the worker to a color.
    pub turns: u64,
    /// The number of successful looks at another worker's run queue.
    pub steals: u64,
    /// The number of run-queue entries that these looks took.
    pub colors_stolen: u64,
    /// The number of times that the worker slept.
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

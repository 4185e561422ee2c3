//! Latency under an open loop: requests arrive by a schedule, whether or not the system is ready
//! for them.
//!
//! A generator posts each request when it is due, and never waits for the system. The latency of a
//! request is the time from its *intended* arrival to the end of its service. A delay of the
//! generator, or of a system that holds it up in the post, is therefore part of the latency:
//! nothing is omitted because something else was late.
//!
//! * [`schedule`]: arrivals, service times and keys, from a seed.
//! * [`service`]: work that takes a given time.
//! * [`systems`]: the systems that serve the requests.
//! * [`generator`]: one run, which posts a schedule and waits until all requests have been served.
//! * [`mgk`]: the same schedule on ideal servers.
//! * [`percentiles`]: the percentiles of a run's latencies.
//! * [`record`]: the measurements, and medians over the runs.
//! * [`grid`]: the points that are measured, and the number of requests at each.
//! * [`report`]: the table and the JSON file.
//! * [`curves`]: the drawings.

pub mod curves;
pub mod generator;
pub mod grid;
pub mod mgk;
pub mod percentiles;
pub mod record;
pub mod report;
pub mod schedule;
pub mod service;
pub mod systems;

use core_affinity::CoreId;

/// The assignment of workers and generator to cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// One worker on a core, and the generator on another core, where it reads the clock all the
    /// time.
    One,
    /// Two workers, each on a core, and a generator that sleeps until the next request is due. It
    /// then takes the time that it needs from one of the workers.
    Two,
}

impl Setup {
    /// All setups.
    pub const ALL: [Self; 2] = [Self::One, Self::Two];

    /// Returns the name of the setup on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Two => "two",
        }
    }

    /// Returns the number of workers.
    pub fn workers(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// Returns the workers' cores.
    ///
    /// In [`Setup::One`] the generator has the first core, because the system tends to handle its
    /// interrupts there.
    pub fn worker_cores(self, cores: [usize; 2]) -> Vec<usize> {
        match self {
            Self::One => vec![cores[1]],
            Self::Two => cores.to_vec(),
        }
    }

    /// Returns the generator's core, if the generator has one to itself.
    pub fn generator_core(self, cores: [usize; 2]) -> Option<usize> {
        match self {
            Self::One => Some(cores[0]),
            Self::Two => None,
        }
    }
}

/// Returns the first two cores that the process may use, or `None` if it may not use two.
pub fn two_cores() -> Option<[usize; 2]> {
    match core_affinity::get_core_ids()?.as_slice() {
        [first, second, ..] => Some([first.id, second.id]),
        _ => None,
    }
}

/// Pins the calling thread to a core.
///
/// # Panics
///
/// Panics if the system refuses.
pub(crate) fn pin(core: usize) {
    assert!(core_affinity::set_for_current(CoreId { id: core }), "a thread can run on core {core}");
}

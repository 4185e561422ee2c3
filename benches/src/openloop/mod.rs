//! Latency under an open loop: requests arrive by a schedule, whether or not the system is ready
//! for them.
//!
//! A generator posts each request when it is due, and never waits for the system. The latency of a
//! request is the time from its *intended* arrival to the end of its service, so a delay of the
//! generator, or of a system that holds it up in the post, is part of it: nothing is omitted
//! because something else was late.
//!
//! * [`schedule`]: arrivals, service times and keys, from a seed.
//! * [`service`]: work that takes a given time.
//! * [`systems`]: who serves the requests.
//! * [`generator`]: posts a schedule and waits until all has been served: one run.
//! * [`mgk`]: the same schedule on ideal servers.
//! * [`percentiles`]: of the latencies of a run.
//! * [`record`]: what was measured, and medians over the runs.
//! * [`grid`]: which points are measured, and how many requests each has.
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

/// Who runs on which core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// One worker on a core, and the generator on another one, where it looks at the clock all the
    /// time.
    One,
    /// Two workers, each on a core, and a generator that sleeps until the next request is due, and
    /// then takes the time that it needs from one of the workers.
    Two,
}

impl Setup {
    /// Both.
    pub const ALL: [Self; 2] = [Self::One, Self::Two];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Two => "two",
        }
    }

    /// How many workers there are.
    pub fn workers(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// The workers' cores. The generator's is the first one in [`Setup::One`]: the system tends to
    /// handle its interrupts there.
    pub fn worker_cores(self, cores: [usize; 2]) -> Vec<usize> {
        match self {
            Self::One => vec![cores[1]],
            Self::Two => cores.to_vec(),
        }
    }

    /// The generator's core, if it has one to itself.
    pub fn generator_core(self, cores: [usize; 2]) -> Option<usize> {
        match self {
            Self::One => Some(cores[0]),
            Self::Two => None,
        }
    }
}

/// The first two cores that the process may use, if it may use so many.
pub fn two_cores() -> Option<[usize; 2]> {
    match core_affinity::get_core_ids()?.as_slice() {
        [first, second, ..] => Some([first.id, second.id]),
        _ => None,
    }
}

/// Pins the calling thread.
///
/// # Panics
///
/// When the system refuses.
pub(crate) fn pin(core: usize) {
    assert!(core_affinity::set_for_current(CoreId { id: core }), "a thread can run on core {core}");
}

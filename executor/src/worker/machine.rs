//! The machine that workers run on, as a value: measured, or given by a test or a simulation.

use super::cores::CoreId;
use super::rules::Rules;
use super::{neighbours, price};

/// The known properties of the machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// The time to move a cache line to another core and back, in nanoseconds. 0 means that it was
    /// not measured, as the policy does not need it.
    pub(crate) move_nanos: u32,
    /// The other workers for each worker, the nearest first.
    neighbours: Vec<Box<[usize]>>,
}

impl Machine {
    /// Measures the machine. `pins` has the core of each worker, if it has one; `cores` has all
    /// cores that may be used.
    pub(crate) fn measure(rules: &Rules, pins: &[Option<CoreId>], cores: &[CoreId]) -> Machine {
        // Without stealing, neither the neighbors nor the price of a move matter.
        if !rules.steals() {
            let nowhere = vec![None; pins.len()];
            return Machine { move_nanos: 0, neighbours: neighbours::of_all(&nowhere) };
        }
        let move_nanos = match (rules.is_eager(), pins) {
            (true, _) => 0,
            (false, &[Some(a), Some(b), ..]) => price::of_a_move(a, b),
            (false, _) => price::among(cores),
        };
        Machine { move_nanos, neighbours: neighbours::of_all(pins) }
    }

    /// Creates a machine with the given price of a move, whose workers are not pinned.
    pub(crate) fn given(workers: usize, move_nanos: u32) -> Machine {
        Machine { move_nanos, neighbours: neighbours::of_all(&vec![None; workers]) }
    }

    /// The other workers for each worker, the nearest first.
    pub(super) fn neighbours(&self) -> Vec<Box<[usize]>> {
        self.neighbours.clone()
    }
}

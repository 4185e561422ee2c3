//! What is known of the machine that workers run on, as a value: measured, or given.

use super::cores::CoreId;
use super::rules::Rules;
use super::{neighbours, price};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Nanoseconds that it takes to move a cache line to another core and back; 0: not measured, as
    /// nobody asks.
    pub(crate) move_nanos: u32,
    /// For each worker the others, nearest first.
    neighbours: Vec<Box<[usize]>>,
}

impl Machine {
    /// Measures it. `pins`: the core of each worker, if it has one; `cores`: all that may be used.
    pub(crate) fn measure(rules: &Rules, pins: &[Option<CoreId>], cores: &[CoreId]) -> Machine {
        // Who steals nothing asks for nobody's neighbours, nor for a price.
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

    /// Creates a machine of which this is known.
    pub(crate) fn given(workers: usize, move_nanos: u32) -> Machine {
        Machine { move_nanos, neighbours: neighbours::of_all(&vec![None; workers]) }
    }

    /// For each worker the others, nearest first.
    pub(super) fn neighbours(&self) -> Vec<Box<[usize]>> {
        self.neighbours.clone()
    }
}

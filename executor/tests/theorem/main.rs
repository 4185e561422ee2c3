//! I13: in every parallel run, the state, the reads and the effects are those of the (sub-)events
//! run one by one by ticket.
//!
//! Random programs run on the executor, in both modes, transactional or not, with 1 to 8 workers.
//! They also run in a serial interpreter, which knows of contexts only what they allow and what a
//! panic costs (I12). The interpreter shares no code with the step functions.
mod dynamic;
mod program;
mod run;
#[path = "../seeded/mod.rs"]
mod seeded;
mod serial;
mod tasks;
mod typed;

use program::event;
use proptest::prelude::*;
use run::on_the_executor;
use seeded::seeded;

proptest! {
    #![proptest_config(seeded(500))]

    #[test]
    fn i13_a_parallel_run_is_the_serial_one(
        program in prop::collection::vec(event(2), 1..12),
        workers in 1..=8usize,
        transactional: bool,
    ) {
        let expected = serial::run(&program, transactional);
        for (snapshot, workers) in [(true, workers), (false, workers), (true, 2), (false, 2)] {
            let found = on_the_executor(&program, workers, snapshot, transactional);
            prop_assert_eq!(
                &found, &expected,
                "workers: {}, snapshot: {}, transactional: {}", workers, snapshot, transactional
            );
        }
    }
}

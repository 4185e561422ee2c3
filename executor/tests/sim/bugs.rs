//! Small programs with one fault each: the simulation finds it, tells it in few deviations, and
//! reproduces it.

use dapple::sim::{self, Config, Failure, Sim};

use super::{Edit, edited, programs};

/// Returns the failure of a program that has a fault.
///
/// The default seeds find it, it takes at most two deviations, and it fails again when it is
/// replayed from its text.
fn found(body: fn(&Sim)) -> Failure {
    let config = Config::new();
    let failure = sim::find(&config, body).expect("no seed finds it");
    println!("{failure}");
    // Found by hand, none of the faults takes more than one deviation.
    assert!(failure.deviations <= 2, "{failure}");
    let saved: sim::Saved = failure.saved.as_ref().unwrap().to_string().parse().unwrap();
    assert_eq!(Some(&saved), failure.saved.as_ref());
    let again = sim::replay(&config, &saved, body).failure;
    assert_eq!(again.as_ref(), Some(&failure.message));
    failure
}

#[test]
fn e13_a_check_and_an_act_in_two_events() {
    let failure = found(programs::a_check_and_an_act_in_two_events);
    assert!(failure.message.contains("overdrawn"), "{failure}");
}

#[test]
fn e13_a_post_and_then_the_write_that_the_posted_event_reads() {
    let failure = found(programs::a_post_and_then_the_write_that_the_posted_event_reads);
    assert!(failure.message.contains("not written yet"), "{failure}");
    assert!(failure.story.contains("writer"), "{failure}");
}

#[test]
fn e13_a_timer_that_is_cancelled_too_late() {
    let failure = found(programs::a_timer_that_is_cancelled_too_late);
    assert!(failure.message.contains("called after the end"), "{failure}");
}

#[test]
fn e13_locks_that_are_taken_one_after_the_other() {
    let failure = found(programs::locks_that_are_taken_one_after_the_other);
    assert!(failure.message.contains("they wait for each other"), "{failure}");
}

#[test]
fn e13_an_accepted_post_that_a_shutdown_drops() {
    let failure = found(programs::an_accepted_post_that_a_shutdown_drops);
    assert!(failure.message.contains("lost"), "{failure}");
}

#[test]
fn e13_an_effect_before_its_commit() {
    let failure = found(programs::an_effect_before_its_commit);
    assert!(failure.message.contains("out of order"), "{failure}");
}

#[test]
fn e13_a_request_that_is_sent_again_and_is_not_known_again() {
    let failure = found(programs::a_request_that_is_sent_again_and_is_not_known_again);
    assert!(failure.message.contains("paid twice"), "{failure}");
}

#[test]
fn e13_a_promise_that_is_dropped() {
    let failure = found(programs::a_promise_that_is_dropped);
    assert!(failure.message.contains("no answer"), "{failure}");
}

#[test]
fn e13_a_reader_that_keeps_a_version_for_ever() {
    let failure = found(programs::a_reader_that_keeps_a_version_for_ever);
    assert!(failure.message.contains("kept for ever"), "{failure}");
}

#[test]
fn e13_a_priority_inversion_through_a_set() {
    let failure = found(programs::a_priority_inversion_through_a_set);
    assert!(failure.message.contains("the heart stands still"), "{failure}");
}

#[test]
fn e13_a_timer_that_is_taken_for_the_end_of_something_else() {
    let failure = found(programs::a_timer_that_is_taken_for_the_end_of_something_else);
    assert!(failure.story.contains("timers of flush are late"), "{failure}");
    assert!(failure.saved.as_ref().unwrap().to_string().contains("late-timer 0 for "), "{failure}");
}

/// A program, and a saved run of it that failed.
type Failed = (fn(&Sim), sim::Saved);

/// Returns the number of these runs that still fail when the programs are edited.
fn still_fail(saved: &[Failed], edit: Edit) -> usize {
    edited(edit, || {
        let fails =
            |(body, saved): &&Failed| sim::replay(&Config::new(), saved, *body).failure.is_some();
        saved.iter().filter(fails).count()
    })
}

#[test]
fn e13_saved_failures_survive_an_edit_of_their_programs() {
    // Three failures of each program.
    let mut saved: Vec<Failed> = Vec::new();
    for body in programs::ALL {
        let mut seed = 0;
        for _ in 0..3 {
            let failure = sim::find(&Config::new().seeds(seed..100_000), body).unwrap();
            seed = failure.seed.unwrap() + 1;
            saved.push((body, failure.saved.unwrap()));
        }
    }
    assert_eq!(still_fail(&saved, Edit::None), saved.len());
    for edit in [Edit::InMain, Edit::InAnEvent] {
        let still = still_fail(&saved, edit);
        println!("{still} of {} still fail ({edit:?})", saved.len());
        assert!(still * 10 >= saved.len() * 9, "{still} of {} ({edit:?})", saved.len());
    }
}

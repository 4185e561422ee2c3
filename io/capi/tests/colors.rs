//! P2: events, bufferevents and listeners with a color run on it, on any worker.
mod common;

use std::process::Command;

use common::{Linked, compile_linked, run_parts};

#[test]
fn p2_events_with_colors() {
    if let Some(program) = compile_linked("colored.c", Linked::BeforeLibevent, &[]) {
        run_parts(&program, 8);
    }
}

#[test]
fn p2_bufferevents_and_listeners_with_colors() {
    if let Some(program) = compile_linked("upper.c", Linked::BeforeLibevent, &[]) {
        run_parts(&program, 8);
    }
}

#[test]
fn p3_a_program_that_is_linked_the_wrong_way_round_is_told() {
    let linked = compile_linked("order_of_libraries.c", Linked::BehindLibevent, &[]);
    let Some(program) = linked else { return };
    let output = Command::new(&program).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, b"ok\n", "{errors}");
    assert!(errors.contains("link -ldapple_event before -levent"), "{errors}");
}

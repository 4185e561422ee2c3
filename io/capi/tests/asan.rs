//! The C programs under gcc's AddressSanitizer. On this library it reports nothing, leaks included,
//! that it does not report on libevent.
mod common;

use std::path::Path;
use std::process::Command;

use common::{Linked, compile, compile_linked, has, parts, run_parts};

const ASAN: [&str; 2] = ["-fsanitize=address", "-g"];

/// Runs a part of a program, and returns the summary lines of the sanitizer.
fn summary(program: &Path, part: &str) -> String {
    let output = Command::new(program).arg(part).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!errors.contains("ERROR: AddressSanitizer"), "{part}: {errors}");
    errors.lines().filter(|line| line.starts_with("SUMMARY")).collect()
}

#[test]
fn p1_no_more_is_leaked_than_on_libevent() {
    let Some(theirs) = compile("order", &ASAN) else { return };
    let ours = compile_linked("order.c", Linked::BeforeLibevent, &ASAN).unwrap();
    let parts = parts(&theirs);
    assert!(parts.len() > 15, "{parts:?}");
    for part in parts {
        assert_eq!(summary(&ours, &part), summary(&theirs, &part), "{part}");
    }
}

#[test]
fn programs_with_colors_leak_nothing() {
    for (file, linked) in [
        ("colored.c", Linked::BeforeLibevent),
        ("upper.c", Linked::BeforeLibevent),
        ("dapple.c", Linked::Alone),
        ("dapple.cpp", Linked::Alone),
    ] {
        if let Some(program) = compile_linked(file, linked, &ASAN) {
            run_parts(&program, 5);
        }
    }
    assert!(has("cc"));
}

//! The C programs under gcc's AddressSanitizer. On this library it reports no error, and
//! no more leaked bytes than on libevent.
mod common;

use std::path::Path;
use std::process::Command;

use common::{Linked, compile, compile_linked, has, parts, run_parts};

const ASAN: [&str; 2] = ["-fsanitize=address", "-g"];

/// Runs a part of a program, and returns the number of bytes that it leaks.
fn leaked(program: &Path, part: &str) -> u64 {
    let output = Command::new(program).arg(part).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!errors.contains("ERROR: AddressSanitizer"), "{part}: {errors}");
    assert!(output.status.code().is_some(), "{part}: {errors}");
    let Some(line) = errors.lines().find(|line| line.starts_with("SUMMARY")) else { return 0 };
    let bytes = line.split_once("Sanitizer: ").and_then(|(_, rest)| rest.split(' ').next());
    bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or_else(|| panic!("{part}: {line}"))
}

#[test]
fn p1_no_more_is_leaked_than_on_libevent() {
    let Some(theirs) = compile("order", &ASAN) else { return };
    let ours = compile_linked("order.c", Linked::BeforeLibevent, &ASAN).unwrap();
    let parts = parts(&theirs);
    assert!(parts.len() > 15, "{parts:?}");
    for part in parts {
        // The sanitizer overlooks a leak if an old pointer to it is left anywhere. So fewer bytes
        // here are fine, and libevent gets several tries to show as many.
        let ours = leaked(&ours, &part);
        let is_shown = |_| ours <= leaked(&theirs, &part);
        assert!((0..5).any(is_shown), "{part}: {ours} bytes, and fewer on libevent each time");
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

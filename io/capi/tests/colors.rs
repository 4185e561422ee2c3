//! P2: events with a color run on it, on any worker.
mod common;

use std::path::PathBuf;
use std::process::Command;

use common::{compile, library};

const INCLUDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include");

/// Compiles a program of `tests/c` that is linked to `libraries`, in this order. None: there is no
/// compiler, or no libevent.
fn compile_linked(name: &str, libraries: [&str; 2]) -> Option<PathBuf> {
    let library = library();
    let folder = library.parent().unwrap().to_str().unwrap();
    let (find, path) = (format!("-L{folder}"), format!("-Wl,-rpath,{folder}"));
    let [first, second] = libraries;
    compile(name, &["-I", INCLUDE, &find, &path, "-Wl,--no-as-needed", first, second])
}

#[test]
fn p2_events_with_colors() {
    let Some(program) = compile_linked("colored", ["-ldapple_event", "-levent"]) else { return };
    let parts = Command::new(&program).output().unwrap();
    let parts = String::from_utf8(parts.stdout).unwrap();
    assert!(parts.lines().count() > 5, "{parts}");
    for part in parts.lines() {
        let mut command = Command::new(&program);
        // A program that is linked so finds it first; the test's own environment names another.
        let output = command.arg(part).env("DAPPLE_WORKERS", "3").output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{part}: {} {errors}", output.status);
        assert_eq!(output.stdout, b"ok\n", "{part}: {errors}");
    }
}

#[test]
fn p3_a_program_that_is_linked_the_wrong_way_round_is_told() {
    let Some(program) = compile_linked("order_of_libraries", ["-levent", "-ldapple_event"]) else {
        return;
    };
    let output = Command::new(&program).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, b"ok\n", "{errors}");
    assert!(errors.contains("link -ldapple_event before -levent"), "{errors}");
}

#[test]
fn p2_a_header_for_c_and_for_cpp() {
    if !common::has("c++") || !std::path::Path::new("/usr/include/event2/event.h").exists() {
        return;
    }
    for (compiler, language) in [("cc", "c"), ("c++", "c++")] {
        let mut command = Command::new(compiler);
        command.args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-x", language]);
        let checked = command.arg(format!("{INCLUDE}/dapple_event.h")).output().unwrap();
        let errors = String::from_utf8_lossy(&checked.stderr);
        // What is main's pragma of a header that is compiled by itself does not matter.
        assert!(checked.status.success(), "{language}: {errors}");
    }
}

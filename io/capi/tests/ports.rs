//! Programs whose sources were ported, in `benches/ports`: they are built and their own tests pass.
//!
//! A variable of the environment names the folder of a program's unpacked source; without it the
//! test is skipped, which is said.
mod common;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{has, library};

/// Where a port's files are.
fn port(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/ports").join(name)
}

/// Lines that a port's changes have: of each script for sed, without its commands.
fn lines_changed(name: &str) -> usize {
    let scripts = fs::read_dir(port(name)).unwrap().map(|entry| entry.unwrap().path());
    let scripts = scripts.filter(|path| path.extension() == Some(OsStr::new("sed")));
    let is_command = |line: &&str| {
        let end = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ',');
        end.len() < line.len() && matches!(end, "a\\" | "c\\" | "d")
    };
    let lines = |path| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter(|line| !is_command(line)).count()
    };
    scripts.map(lines).sum()
}

/// The folder of a program that was built from its source, with a port's changes; `None`: there is
/// no source.
fn built(name: &str, variable: &str) -> Option<PathBuf> {
    let Some(source) = std::env::var_os(variable) else {
        eprintln!("skipped: {variable} names no source of {name}");
        return None;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(fs::remove_dir_all(&folder));
    let mut build = Command::new(port(name).join("build.sh"));
    build.arg(source).arg(&folder).env("LIBRARY", library().parent().unwrap());
    let output = build.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Some(folder)
}

#[test]
fn spiped_is_changed_in_one_line_of_a_hundred() {
    // Of its 3,711 lines; the library that it brings along is not counted.
    let changed = lines_changed("spiped");
    assert!((1..=37).contains(&changed), "{changed}");
}

#[test]
fn spipeds_own_tests_pass_with_a_color_per_connection() {
    let Some(folder) = built("spiped", "DAPPLE_SPIPED_SOURCE") else { return };
    // The peer of one of the tests.
    assert!(has("spiped"), "Debian's spiped");
    for workers in ["1", "2"] {
        let mut tests = Command::new("sh");
        tests.arg("tests/test_spiped.sh").current_dir(&folder).env("DAPPLE_WORKERS", workers);
        let output = tests.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        println!("{workers} workers: {said}");
        assert!(output.status.success(), "{said}");
        assert_eq!(said.matches("SUCCESS!").count(), 10, "{said}");
    }
}

//! P1: unchanged programs from Debian give the same answers on this library as on libevent.
mod common;

use std::process::Command;

use common::{has, library};

#[test]
fn p1_foreign_programs_answer_the_same() {
    if !has("python3") {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs.py");
    let mut command = Command::new("python3");
    let output = command.arg(script).arg("--library").arg(library()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    print!("{told}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{errors}");
}

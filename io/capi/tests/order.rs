//! P1: a libevent program sees the same behaviour on this library, in the same order.
mod common;

use common::{On, compile, output};

/// Runs the parts of `order.c` on both libraries, and compares output and exit status.
fn compare(more: &[&str]) {
    let Some(program) = compile("order", &[]) else { return };
    let parts = output(&program, &[], On::Libevent);
    let parts = String::from_utf8(parts.stdout).unwrap();
    assert!(parts.lines().count() > 15, "{parts}");
    let mut differ = Vec::new();
    for part in parts.lines() {
        let arguments: Vec<_> = [part].into_iter().chain(more.iter().copied()).collect();
        let is_same = || {
            let [theirs, ours] =
                [On::Libevent, On::Dapple].map(|on| output(&program, &arguments, on));
            let is_same = theirs.stdout == ours.stdout && theirs.status == ours.status;
            if !is_same {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let (theirs, ours) = (text(&theirs.stdout), text(&ours.stdout));
                eprintln!("{part} on libevent:\n{theirs}\nand here:\n{ours}");
            }
            is_same
        };
        // Which events are due together depends on the ticks of the coarse clock, on both
        // libraries. So a part may be tried three times.
        if !(is_same() || is_same() || is_same()) {
            differ.push(part);
        }
    }
    assert!(differ.is_empty(), "{differ:?}");
}

#[test]
fn p1_a_program_sees_the_same_order() {
    compare(&[]);
}

#[test]
fn p1_a_program_in_debug_mode_sees_the_same() {
    compare(&["debug"]);
}

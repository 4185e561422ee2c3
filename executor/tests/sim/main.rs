//! E13: programs under a seed. Run them with `cargo test -p dapple --features sim --test sim`.
#![cfg(feature = "sim")]

mod bugs;
mod choices;
mod failures;
mod histories;
#[cfg(dapple_mutants)]
mod mutants;
mod programs;
mod runs;
mod timed;

use std::cell::Cell;

use dapple::{Color, Handle, Runtime, sim};

/// An edit of a program, above its other code: a color with 1,000 events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    None,
    /// The body of the test posts the events.
    InMain,
    /// An event of the program posts the events.
    InAnEvent,
}

thread_local! {
    static EDIT: Cell<Edit> = const { Cell::new(Edit::None) };
}

/// Runs `f` with programs that have this edit.
fn edited<R>(edit: Edit, f: impl FnOnce() -> R) -> R {
    EDIT.set(edit);
    let result = f();
    EDIT.set(Edit::None);
    result
}

/// Applies the edit in an event, if the current edit is of that kind.
fn edit(h: &Handle) {
    if EDIT.get() == Edit::InAnEvent {
        add_noise(h);
    }
}

fn add_noise(h: &Handle) {
    let noise = color(h, "noise");
    (0..1_000).for_each(|_| h.post(&noise, |_| ()));
}

/// Starts a runtime with this many workers.
fn start(workers: usize) -> Runtime {
    let rt = Runtime::builder().workers(workers).build().unwrap();
    if EDIT.get() == Edit::InMain {
        add_noise(&rt.handle());
    }
    rt
}

/// Returns a color with a label, which stories name.
fn color(h: &Handle, label: &str) -> Color {
    h.color_builder().label(label).build()
}

/// Runs a body with this many seeds, and checks that none fails.
fn holds(seeds: u64, body: impl Fn(&sim::Sim) + 'static) {
    sim::check(&sim::Config::new().seeds(0..seeds), body);
}

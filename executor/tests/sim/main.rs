//! E13: programs under a seed. `cargo test -p dapple --features sim --test sim`.
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

/// What was added to a program above its other code: a color of a thousand events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    None,
    /// They are posted by the body of the test.
    InMain,
    /// They are posted by an event of the program.
    InAnEvent,
}

thread_local! {
    static EDIT: Cell<Edit> = const { Cell::new(Edit::None) };
}

/// Runs `f` with programs that have been edited so.
fn edited<R>(edit: Edit, f: impl FnOnce() -> R) -> R {
    EDIT.set(edit);
    let result = f();
    EDIT.set(Edit::None);
    result
}

/// The place of the edit in an event.
fn edit(h: &Handle) {
    if EDIT.get() == Edit::InAnEvent {
        add_noise(h);
    }
}

fn add_noise(h: &Handle) {
    let noise = color(h, "noise");
    (0..1_000).for_each(|_| h.post(&noise, |_| ()));
}

/// A runtime with so many workers.
fn start(workers: usize) -> Runtime {
    let rt = Runtime::builder().workers(workers).build().unwrap();
    if EDIT.get() == Edit::InMain {
        add_noise(&rt.handle());
    }
    rt
}

/// A color that stories name.
fn color(h: &Handle, label: &str) -> Color {
    h.color_builder().label(label).build()
}

/// Runs a body with so many seeds; none fails.
fn holds(seeds: u64, body: impl Fn(&sim::Sim) + 'static) {
    sim::check(&sim::Config::new().seeds(0..seeds), body);
}

//! E13: programs under a seed. `cargo test -p dapple --features sim --test sim`.
#![cfg(feature = "sim")]

mod bugs;
#[cfg(dapple_mutants)]
mod mutants;
mod runs;

use dapple::{Color, Handle, Runtime};

/// A runtime with so many workers.
fn start(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// A color that stories name.
fn color(h: &Handle, label: &str) -> Color {
    h.color_builder().label(label).build()
}

//! E13: programs under a seed. `cargo test -p dapple --features sim --test sim`.
#![cfg(feature = "sim")]

mod bugs;
#[cfg(dapple_mutants)]
mod mutants;
mod runs;

//! Micro benchmarks: `cargo bench -p dapple-benches`.
#![allow(missing_docs)]
fn main() {}

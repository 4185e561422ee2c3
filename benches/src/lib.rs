//! What the benchmarks of dapple share: workloads on dapple and on its peers, and measuring them
//! interleaved.
//!
//! * [`measure`]: wall and CPU time of a run, medians.
//! * [`workloads`]: the same work on each system.
//! * [`report`]: the table and the JSON file of `versus`.

pub mod measure;
pub mod report;
pub mod workloads;

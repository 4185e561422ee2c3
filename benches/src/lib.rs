//! What the benchmarks of dapple share: workloads on dapple and on its peers, and measuring them
//! interleaved.
//!
//! * [`cpu`]: CPU time of other processes.
//! * [`fileslimit`]: the transport of a server without features, to measure others by.
//! * [`filesload`]: load on servers of files over TLS.
//! * [`loginload`]: load on a pooler of PostgreSQL's connections.
//! * [`spipedload`]: load on spiped, as it is and on dapple.
//! * [`measure`]: clocks, wall and CPU time of a run, medians.
//! * [`random`]: numbers from seeds.
//! * [`workloads`]: the same work on each system.
//! * [`report`]: the table and the JSON file of `versus`.
//! * [`shared_state`]: one state that events read and write, in a domain and in other ways.
//! * [`openloop`]: latency under requests that arrive by a schedule, not when the system is ready
//!   for them.

pub mod cpu;
pub mod fileslimit;
pub mod filesload;
pub mod loginload;
pub mod measure;
pub mod openloop;
pub mod random;
pub mod report;
pub mod shared_state;
pub mod spipedload;
pub mod workloads;

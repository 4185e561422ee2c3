//! What the benchmarks of dapple share: workloads on dapple and on its peers, and tools to measure
//! them interleaved.
//!
//! * [`cpu`]: CPU time of other processes.
//! * [`fileslimit`]: the transport of a server without features, to measure others by.
//! * [`filesload`]: load on file servers over TLS.
//! * [`loginload`]: load on a PostgreSQL connection pooler.
//! * [`spipedload`]: load on the original spiped, and on spiped ported to dapple.
//! * [`measure`]: clocks, wall and CPU time of a run, medians.
//! * [`random`]: pseudorandom numbers from seeds.
//! * [`workloads`]: the same work on each system.
//! * [`report`]: the table and the JSON file of `versus`.
//! * [`shared_state`]: one state that events read and write, in a domain and in other ways.
//! * [`openloop`]: latency of requests that arrive by a schedule, not when the system is ready for
//!   them.

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

//! The systems that serve requests, each behind the trait [`System`].
//!
//! Requests of one key share something, so they must not be served at once: a key is dapple's
//! color, an actor on tokio, a mutex on rayon. What is posted is as small as each system allows.
//! All workers are pinned to the same cores; apart from that the systems have their defaults.

pub mod dapple;
pub mod rayon;
pub mod sharded;
pub mod tokio;

use std::sync::atomic::{AtomicU64, Ordering};

use ::dapple::StealPolicy;

use super::service::spin;
use crate::measure::monotonic_nanos;

/// A system that has been started. It ends when it is dropped.
pub trait System: Send {
    /// Posts the service of a request with this key, and does not wait for it.
    fn post(&mut self, key: u32, job: Job);
}

/// Starts a system with a worker on each of these cores.
pub type Start = fn(cores: &[usize]) -> Box<dyn System>;

/// All of them, by name.
pub const ALL: [(&str, Start); 6] = [
    ("dapple-cost-aware", |cores| dapple::start(cores, StealPolicy::CostAware)),
    ("dapple-eager", |cores| dapple::start(cores, StealPolicy::Eager)),
    ("dapple-off", |cores| dapple::start(cores, StealPolicy::Off)),
    ("tokio", tokio::start),
    ("rayon", rayon::start),
    ("sharded", sharded::start),
];

/// The service of one request: does the work, and writes down how long it took since the request's
/// intended arrival.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// How much work it is.
    pub steps: u64,
    /// By `monotonic_nanos`.
    pub intended: u64,
    /// For the latency in nanoseconds, of which there is always one at least. Relaxed: who reads it
    /// waits for this value and for nothing else.
    pub slot: &'static AtomicU64,
}

impl Job {
    /// On the worker.
    #[inline]
    pub fn serve(self) {
        spin(self.steps);
        let latency = monotonic_nanos().saturating_sub(self.intended);
        self.slot.store(latency.max(1), Ordering::Relaxed);
    }
}

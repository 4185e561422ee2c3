//! The systems that serve requests, each behind the trait [`System`].
//!
//! Requests of one key share something, so they must not be served at once. A key is a color on
//! dapple, an actor on tokio, a mutex on rayon, and a thread with a channel in the sharded system.
//! Each posted item is as small as the system allows. All workers are pinned to the same cores;
//! apart from that, the systems have their defaults.

pub mod dapple;
pub mod rayon;
pub mod sharded;
pub mod tokio;

use std::sync::atomic::{AtomicU64, Ordering};

use ::dapple::StealPolicy;

use super::service::spin;
use crate::measure::monotonic_nanos;

/// A system that has been started, and that ends when it is dropped.
pub trait System: Send {
    /// Posts the service of a request with this key, and does not wait for it.
    fn post(&mut self, key: u32, job: Job);
}

/// A function that starts a system with a worker on each of these cores.
pub type Start = fn(cores: &[usize]) -> Box<dyn System>;

/// All systems, each with its name.
pub const ALL: [(&str, Start); 6] = [
    ("dapple-cost-aware", |cores| dapple::start(cores, StealPolicy::CostAware)),
    ("dapple-eager", |cores| dapple::start(cores, StealPolicy::Eager)),
    ("dapple-off", |cores| dapple::start(cores, StealPolicy::Off)),
    ("tokio", tokio::start),
    ("rayon", rayon::start),
    ("sharded", sharded::start),
];

/// The service of one request. It does the work, and records the latency since the request's
/// intended arrival.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// The amount of work, in steps of [`spin`].
    pub steps: u64,
    /// The intended arrival, in nanoseconds of [`monotonic_nanos`].
    pub intended: u64,
    /// The slot for the latency in nanoseconds, which is at least 1. Relaxed: the reader waits for
    /// this value only, and for no other data.
    pub slot: &'static AtomicU64,
}

impl Job {
    /// Serves the request on the calling worker thread.
    #[inline]
    pub fn serve(self) {
        spin(self.steps);
        let latency = monotonic_nanos().saturating_sub(self.intended);
        self.slot.store(latency.max(1), Ordering::Relaxed);
    }
}

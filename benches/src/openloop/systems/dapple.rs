//! dapple: a color per key. Everything but the steal policy has its default.

use dapple::{Color, Handle, Runtime, StealPolicy};

use super::{Job, System};
use crate::openloop::schedule::KEYS;

struct Dapple {
    handle: Handle,
    colors: Vec<Color>,
    /// The runtime, which ends when it is dropped.
    _runtime: Runtime,
}

/// Starts a runtime with a worker on each of these cores and the given steal policy.
pub fn start(cores: &[usize], policy: StealPolicy) -> Box<dyn System> {
    let builder = Runtime::builder().cores(cores.iter().copied()).steal_policy(policy);
    let runtime = builder.build().expect("a runtime");
    let handle = runtime.handle();
    let colors = (0..KEYS).map(|_| handle.new_color()).collect();
    Box::new(Dapple { handle, colors, _runtime: runtime })
}

impl System for Dapple {
    fn post(&mut self, key: u32, job: Job) {
        self.handle.post(&self.colors[key as usize], move |_| job.serve());
    }
}

//! tokio: an actor per key, which is a task that receives jobs from an unbounded channel.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{Job, System};
use crate::openloop::{pin, schedule::KEYS};

struct Tokio {
    actors: Vec<UnboundedSender<Job>>,
    /// The runtime, which ends when it is dropped.
    _runtime: Runtime,
}

/// Starts a multi-threaded runtime with a worker on each of these cores.
pub fn start(cores: &[usize]) -> Box<dyn System> {
    let (workers, cores, started) = (cores.len(), cores.to_vec(), AtomicUsize::new(0));
    let pin_next = move || pin(cores[started.fetch_add(1, Ordering::Relaxed) % cores.len()]);
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(workers).on_thread_start(pin_next).build();
    let runtime = runtime.expect("a runtime");
    let actor = |_| {
        let (sender, mut jobs) = unbounded_channel::<Job>();
        runtime.spawn(async move {
            while let Some(job) = jobs.recv().await {
                job.serve();
            }
        });
        sender
    };
    let actors = (0..KEYS).map(actor).collect();
    Box::new(Tokio { actors, _runtime: runtime })
}

impl System for Tokio {
    fn post(&mut self, key: u32, job: Job) {
        assert!(
            self.actors[key as usize].send(job).is_ok(),
            "an actor runs until its sender is gone"
        );
    }
}

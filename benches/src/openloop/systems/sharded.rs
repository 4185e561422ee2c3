//! The simplest system: a thread per core, each with a channel of its own, which the key selects.
//! No request ever moves to an idle worker.

use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use super::{Job, System};
use crate::openloop::pin;

struct Sharded {
    channels: Vec<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts a thread on each of these cores.
pub fn start(cores: &[usize]) -> Box<dyn System> {
    let mut system = Sharded { channels: Vec::new(), threads: Vec::new() };
    for &core in cores {
        let (sender, jobs) = channel::<Job>();
        system.channels.push(sender);
        system.threads.push(thread::spawn(move || {
            pin(core);
            jobs.into_iter().for_each(Job::serve);
        }));
    }
    Box::new(system)
}

impl System for Sharded {
    fn post(&mut self, key: u32, job: Job) {
        let shard = key as usize % self.channels.len();
        self.channels[shard].send(job).expect("a thread runs until its sender is gone");
    }
}

impl Drop for Sharded {
    fn drop(&mut self) {
        self.channels.clear();
        for thread in self.threads.drain(..) {
            thread.join().expect("no job panics");
        }
    }
}

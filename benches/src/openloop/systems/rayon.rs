//! rayon: a spawned closure per request in FIFO order, and a mutex per key.
//!
//! A worker that finds a key locked blocks. Requests of one key may be served in another order than
//! that of their arrival. The other systems promise more.

use std::sync::Mutex;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{Job, System};
use crate::openloop::{pin, schedule::KEYS};

/// The locks of the keys, which are static so that no request has to count references to them.
static LOCKS: [Mutex<()>; KEYS] = [const { Mutex::new(()) }; KEYS];

struct Rayon {
    pool: ThreadPool,
}

/// Starts a thread pool with a thread on each of these cores.
pub fn start(cores: &[usize]) -> Box<dyn System> {
    let (workers, cores) = (cores.len(), cores.to_vec());
    let builder = ThreadPoolBuilder::new().num_threads(workers);
    let pool = builder.start_handler(move |worker| pin(cores[worker])).build().expect("a pool");
    Box::new(Rayon { pool })
}

impl System for Rayon {
    fn post(&mut self, key: u32, job: Job) {
        self.pool.spawn_fifo(move || {
            let _guard = LOCKS[key as usize].lock().expect("no job panics");
            job.serve();
        });
    }
}

//! The workloads on rayon: an event is a spawned closure in FIFO order, and a serial unit is a
//! mutex.

use std::sync::{Arc, Mutex};

use rayon::ScopeFifo;

use super::{
    BURST, CHAINS, GENERATORS, KEYS, Keys, Workload, keyed_rounds, sharing_rounds, work_10us,
};
use crate::measure::{Took, time};

/// Runs a workload. The result is never `None`.
///
/// # Panics
///
/// Panics if the thread pool cannot be built.
pub fn run(workload: Workload, events: u64, workers: usize) -> Option<Took> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build().expect("a pool");
    pool.broadcast(|_| ());
    Some(match workload {
        Workload::Chain => time(events, || pool.scope_fifo(|s| chain(events - 1, s))),
        Workload::Pingpong => {
            let pair = [Mutex::new(0), Mutex::new(0)];
            time(events, || pool.scope_fifo(|s| hop(events - 1, &pair, s)))
        }
        Workload::Chains => time(events, || {
            pool.scope_fifo(|s| {
                for _ in 0..CHAINS {
                    s.spawn_fifo(move |s| chain(events / CHAINS - 1, s));
                }
            })
        }),
        Workload::Work10us => time(events, || {
            pool.scope_fifo(|s| {
                for _ in 0..events {
                    s.spawn_fifo(|_| work_10us());
                }
            })
        }),
        Workload::Fanout => time(events, || {
            pool.scope_fifo(|s| {
                for i in 0..events {
                    s.spawn_fifo(move |_| {
                        std::hint::black_box(i);
                    });
                }
            })
        }),
        Workload::FanoutColors => time(events, || {
            pool.scope_fifo(|s| {
                for i in 0..events {
                    let unit = Arc::new(Mutex::new(0));
                    s.spawn_fifo(move |_| *unit.lock().unwrap() = i);
                }
            })
        }),
        Workload::Sharing(sharing) => {
            let (rounds, events) = sharing_rounds(sharing, events);
            time(events, || super::sharing::locks::run(&pool, sharing, rounds))
        }
        Workload::Keyed => {
            let (rounds, events) = keyed_rounds(events);
            let counters: Vec<Mutex<u64>> = (0..KEYS).map(|_| Mutex::new(0)).collect();
            time(events, || {
                pool.scope_fifo(|s| {
                    for g in 0..GENERATORS {
                        generate(rounds, Keys::of(g), &counters, s);
                    }
                })
            })
        }
    })
}

fn chain<'a>(left: u64, s: &ScopeFifo<'a>) {
    if left > 0 {
        s.spawn_fifo(move |s| chain(left - 1, s));
    }
}

fn hop<'a>(left: u64, pair: &'a [Mutex<u64>; 2], s: &ScopeFifo<'a>) {
    *pair[left as usize % 2].lock().unwrap() += 1;
    if left > 0 {
        s.spawn_fifo(move |s| hop(left - 1, pair, s));
    }
}

fn generate<'a>(left: usize, mut keys: Keys, counters: &'a [Mutex<u64>], s: &ScopeFifo<'a>) {
    s.spawn_fifo(move |s| {
        for _ in 0..BURST {
            let key = keys.draw();
            s.spawn_fifo(move |_| *counters[key].lock().unwrap() += 1);
        }
        if left > 1 {
            generate(left - 1, keys, counters, s);
        }
    });
}

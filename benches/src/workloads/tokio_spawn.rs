//! The workloads on tokio: an event is a task, and a serial unit is a mutex.

use std::sync::{Arc, Mutex};

use super::{
    BURST, CHAINS, GENERATORS, Gate, KEYS, Keys, OpensWhenDropped, Workload, keyed_rounds,
    sharing_rounds, work_10us,
};
use crate::measure::{Took, time};

/// Runs a workload. The result is never `None`.
///
/// # Panics
///
/// Panics if the runtime cannot be built.
pub fn run(workload: Workload, events: u64, workers: usize) -> Option<Took> {
    let rt = super::tokio_actor::runtime(workers);
    let gate = Arc::new(Gate::default());
    let last = Arc::new(OpensWhenDropped(Arc::clone(&gate)));
    let mut events = events;
    let first: Box<dyn FnOnce() + Send> = match workload {
        Workload::Chain => Box::new(move || chain(events - 1, last)),
        Workload::Pingpong => {
            let pair = Arc::new([Mutex::new(0), Mutex::new(0)]);
            Box::new(move || hop(events - 1, pair, last))
        }
        Workload::Chains => Box::new(move || {
            for _ in 0..CHAINS {
                chain(events / CHAINS, Arc::clone(&last));
            }
        }),
        Workload::Work10us => Box::new(move || {
            for _ in 0..events {
                let last = Arc::clone(&last);
                tokio::spawn(async move {
                    work_10us();
                    drop(last);
                });
            }
        }),
        Workload::Fanout => Box::new(move || {
            for i in 0..events {
                let last = Arc::clone(&last);
                tokio::spawn(async move {
                    std::hint::black_box(i);
                    drop(last);
                });
            }
        }),
        Workload::FanoutColors => Box::new(move || {
            for i in 0..events {
                let (last, unit) = (Arc::clone(&last), Arc::new(Mutex::new(0)));
                tokio::spawn(async move {
                    *unit.lock().unwrap() = i;
                    drop(last);
                });
            }
        }),
        Workload::Sharing(sharing) => {
            let (rounds, exact) = sharing_rounds(sharing, events);
            events = exact;
            Box::new(move || super::sharing::tokio_locks::start(sharing, rounds, last))
        }
        Workload::Keyed => {
            let (rounds, exact) = keyed_rounds(events);
            events = exact;
            let counters: Arc<Vec<Mutex<u64>>> =
                Arc::new((0..KEYS).map(|_| Mutex::new(0)).collect());
            Box::new(move || {
                for g in 0..GENERATORS {
                    let (counters, last) = (Arc::clone(&counters), Arc::clone(&last));
                    generate(rounds, Keys::of(g), counters, last);
                }
            })
        }
    };
    Some(time(events, || {
        rt.spawn(async move { first() });
        gate.wait();
    }))
}

// `last` is only passed on: the run ends when its last clone is dropped.
#[allow(clippy::only_used_in_recursion)]
fn chain(left: u64, last: Arc<OpensWhenDropped>) {
    if left > 0 {
        tokio::spawn(async move { chain(left - 1, last) });
    }
}

// `last` is only passed on: the run ends when its last clone is dropped.
#[allow(clippy::only_used_in_recursion)]
fn hop(left: u64, pair: Arc<[Mutex<u64>; 2]>, last: Arc<OpensWhenDropped>) {
    *pair[left as usize % 2].lock().unwrap() += 1;
    if left > 0 {
        tokio::spawn(async move { hop(left - 1, pair, last) });
    }
}

fn generate(
    left: usize,
    mut keys: Keys,
    counters: Arc<Vec<Mutex<u64>>>,
    last: Arc<OpensWhenDropped>,
) {
    tokio::spawn(async move {
        for _ in 0..BURST {
            let (counters, key) = (Arc::clone(&counters), keys.draw());
            let last = Arc::clone(&last);
            tokio::spawn(async move {
                *counters[key].lock().unwrap() += 1;
                drop(last);
            });
        }
        if left > 1 {
            generate(left - 1, keys, counters, last);
        }
    });
}

//! The limit: one thread with one `VecDeque` of boxed closures, and no synchronization at all.
//! Workloads that split into independent parts also run on several such threads, each pinned to a
//! core.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::{BURST, CHAINS, GENERATORS, KEYS, Keys, Workload, keyed_rounds, work_10us};
use crate::measure::{Took, time};

type Callback = Box<dyn FnOnce(&mut Loop)>;

#[derive(Default)]
struct Loop {
    queue: VecDeque<Callback>,
}

impl Loop {
    fn post(&mut self, f: impl FnOnce(&mut Loop) + 'static) {
        self.queue.push_back(Box::new(f));
    }

    fn run(&mut self) {
        while let Some(f) = self.queue.pop_front() {
            f(self);
        }
    }
}

/// Runs a workload, on one thread or on bare pinned threads that share nothing. Returns `None` if
/// that is not possible.
pub fn run(workload: Workload, events: u64, workers: usize) -> Option<Took> {
    if workers == 1 {
        return run_one(workload, events);
    }
    if !matches!(workload, Workload::Chains | Workload::Work10us) {
        return None;
    }
    work_10us();
    Some(on_bare_threads(events, workers, |events| _ = run_one(workload, events)))
}

/// Calls `run` on `workers` threads, each pinned to a core, with its part of the events.
pub(crate) fn on_bare_threads(events: u64, workers: usize, run: impl Fn(u64) + Sync) -> Took {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let start = std::sync::Barrier::new(workers + 1);
    std::thread::scope(|s| {
        let threads: Vec<_> = (0..workers)
            .map(|w| {
                let (start, run, core) = (&start, &run, cores.get(w).copied());
                s.spawn(move || {
                    core.map(core_affinity::set_for_current);
                    start.wait();
                    run(events / workers as u64);
                })
            })
            .collect();
        time(events, || {
            start.wait();
            threads.into_iter().for_each(|t| t.join().expect("it does not panic"));
        })
    })
}

fn run_one(workload: Workload, events: u64) -> Option<Took> {
    let mut l = Loop::default();
    let mut events = events;
    match workload {
        Workload::Sharing(_) => return None,
        Workload::Chain | Workload::Pingpong => l.post(move |l| chain(events - 1, l)),
        Workload::Chains => l.post(move |l| {
            for _ in 0..CHAINS {
                l.post(move |l| chain(events / CHAINS - 1, l));
            }
        }),
        Workload::Work10us => l.post(move |l| {
            for _ in 0..events {
                l.post(|_| work_10us());
            }
        }),
        Workload::Keyed => {
            let (rounds, exact) = keyed_rounds(events);
            events = exact;
            let counters: Rc<Vec<Cell<u64>>> = Rc::new((0..KEYS).map(|_| Cell::new(0)).collect());
            for g in 0..GENERATORS {
                let counters = Rc::clone(&counters);
                l.post(move |l| generate(rounds, Keys::of(g), counters, l));
            }
        }
        Workload::Fanout | Workload::FanoutColors => l.post(move |l| {
            for i in 0..events {
                l.post(move |_| {
                    std::hint::black_box(i);
                });
            }
        }),
    }
    Some(time(events, || l.run()))
}

fn chain(left: u64, l: &mut Loop) {
    if left > 0 {
        l.post(move |l| chain(left - 1, l));
    }
}

fn generate(left: usize, mut keys: Keys, counters: Rc<Vec<Cell<u64>>>, l: &mut Loop) {
    for _ in 0..BURST {
        let (counters, key) = (Rc::clone(&counters), keys.draw());
        l.post(move |_| counters[key].set(counters[key].get() + 1));
    }
    if left > 1 {
        l.post(move |l| generate(left - 1, keys, counters, l));
    }
}

//! The workloads on dapple.

use dapple::{Colored, Cx, Handle, Runtime, StealPolicy};

use super::{
    BURST, CHAINS, GENERATORS, KEYS, Keys, Workload, keyed_rounds, sharing_rounds, work_10us,
};
use crate::measure::{Took, time};

/// A closure that posts the first events of a run.
type Start = Box<dyn FnOnce(&Handle)>;

/// Runs a workload with a steal policy.
///
/// # Panics
///
/// Panics if the runtime cannot be built.
pub fn run(workload: Workload, events: u64, workers: usize, policy: StealPolicy) -> Took {
    let rt = Runtime::builder().workers(workers).steal_policy(policy).build().expect("a runtime");
    let h = rt.handle();
    // The run starts warm: every worker's thread has started.
    rt.wait_idle();
    let (start, events): (Start, u64) = match workload {
        Workload::Chain => {
            (Box::new(move |h| h.post(&h.new_color(), move |cx| chain(events - 1, cx))), events)
        }
        Workload::Keyed => {
            let (rounds, events) = keyed_rounds(events);
            let counters: Vec<_> = (0..KEYS).map(|_| Colored::new(&h.new_color(), 0)).collect();
            let counters = std::sync::Arc::new(counters);
            let generators: Vec<_> = (0..GENERATORS)
                .map(|g| Generator { left: rounds, keys: Keys::of(g), counters: counters.clone() })
                .collect();
            let start = move |h: &Handle| {
                for generator in generators {
                    let generator = Box::new(generator);
                    h.post(&h.new_color(), move |cx| generate(generator, cx));
                }
            };
            (Box::new(start), events)
        }
        Workload::Fanout => (
            Box::new(move |h| {
                h.post(&h.new_color(), move |cx| {
                    for i in 0..events {
                        cx.post_uncolored(move |_| {
                            std::hint::black_box(i);
                        });
                    }
                });
            }),
            events,
        ),
        Workload::FanoutColors => (
            Box::new(move |h| {
                h.post(&h.new_color(), move |cx| {
                    for i in 0..events {
                        let color = cx.new_color();
                        cx.post(&color, move |_| {
                            std::hint::black_box(i);
                        });
                    }
                });
            }),
            events,
        ),
        Workload::Chains => (
            Box::new(move |h| {
                h.post(&h.new_color(), move |cx| {
                    for _ in 0..CHAINS {
                        let color = cx.new_color();
                        cx.post(&color, move |cx| chain(events / CHAINS - 1, cx));
                    }
                });
            }),
            events / CHAINS * CHAINS,
        ),
        Workload::Work10us => (
            Box::new(move |h| {
                h.post(&h.new_color(), move |cx| {
                    for _ in 0..events {
                        cx.post_uncolored(|_| work_10us());
                    }
                });
            }),
            events,
        ),
        Workload::Sharing(sharing) => {
            let (rounds, events) = sharing_rounds(sharing, events);
            (Box::new(move |h| super::sharing::dapple::start(h, sharing, rounds)), events)
        }
        Workload::Pingpong => (
            Box::new(move |h| {
                let a = Colored::new(&h.new_color(), Player { left: events / 2, other: None });
                let b = Colored::new(&h.new_color(), Player { left: events / 2, other: None });
                let also_a = a.clone();
                b.post(move |b, _| b.other = Some(also_a));
                a.post(move |a, cx| {
                    a.other = Some(b);
                    volley(a, cx);
                });
            }),
            events,
        ),
    };
    let took = time(events, || {
        start(&h);
        rt.wait_idle();
    });
    assert!(rt.metrics().events() >= events, "every event has run");
    took
}

fn chain(left: u64, cx: &mut Cx) {
    if left > 0 {
        cx.post_here(move |cx| chain(left - 1, cx));
    }
}

struct Generator {
    left: usize,
    keys: Keys,
    counters: std::sync::Arc<Vec<Colored<u64>>>,
}

fn generate(mut generator: Box<Generator>, cx: &mut Cx) {
    for _ in 0..BURST {
        generator.counters[generator.keys.draw()].post(|n, _| *n += 1);
    }
    generator.left -= 1;
    if generator.left > 0 {
        cx.post_here(move |cx| generate(generator, cx));
    }
}

struct Player {
    left: u64,
    other: Option<Colored<Player>>,
}

fn volley(me: &mut Player, _: &mut Cx) {
    me.left = me.left.saturating_sub(1);
    if me.left == 0 {
        me.other = None;
    } else if let Some(other) = &me.other {
        other.post(volley);
    }
}

//! One state that many events read and few events write: in a domain, and shared in other ways.
//!
//! A generator, which is itself an event, posts 64 events and then itself, until all events are
//! posted. If 256 events of a domain have not committed, it waits for room. Each event reads or
//! changes the state, and computes for some time while it holds the state. The systems differ in
//! what else they promise: a domain runs effects in the order of its posts, and reads see the state
//! in that order. The others promise neither.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use dapple::{Cx, Domain, Mode, Runtime};

use crate::measure::{Took, time};
use crate::openloop::service::{Speed, spin};
use crate::random::SplitMix64;
use crate::workloads::plain::on_bare_threads;
use crate::workloads::{Gate, OpensWhenDropped, tokio_actor};

/// The number of events that the generator posts at a time.
const BURST: u64 = 64;

/// The number of uncommitted events of a domain at which the generator waits for room.
const LIMIT: usize = 256;

/// The state, which is small so that a copy costs little.
#[derive(Clone, Debug)]
pub struct State([u64; 8]);

impl State {
    fn new() -> Self {
        State([0; 8])
    }

    fn change(&mut self, i: u64) {
        self.0[(i % 8) as usize] += i;
    }

    fn look(&self, i: u64) {
        black_box(self.0[(i % 8) as usize]);
    }
}

/// A way to share the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// One thread with a `VecDeque` of boxed closures.
    PlainLoop,
    /// Uncolored events that reach no state: the cost of an event by itself.
    Post,
    /// Events of a domain in the context none, which do not touch the state.
    None,
    /// A domain in snapshot mode, with reads in anon and writes in global.
    Snapshot,
    /// A domain in read_write mode, with reads in anon and writes in global.
    ReadWrite,
    /// Uncolored events, and a `parking_lot::RwLock`.
    ParkingLot,
    /// Uncolored events, and `arc_swap`: a write copies the state under a mutex.
    ArcSwap,
    /// Tasks on tokio, and its `RwLock`.
    Tokio,
}

impl System {
    /// All systems.
    pub const ALL: [System; 8] = [
        System::PlainLoop,
        System::Post,
        System::None,
        System::Snapshot,
        System::ReadWrite,
        System::ParkingLot,
        System::ArcSwap,
        System::Tokio,
    ];

    /// Returns the name of the system on the command line.
    pub fn name(self) -> &'static str {
        match self {
            System::PlainLoop => "plain-loop",
            System::Post => "post",
            System::None => "none",
            System::Snapshot => "snapshot",
            System::ReadWrite => "read_write",
            System::ParkingLot => "parking_lot",
            System::ArcSwap => "arc-swap",
            System::Tokio => "tokio-rwlock",
        }
    }

    /// Returns `true` if the events of this system read and write a state.
    pub fn has_state(self) -> bool {
        !matches!(self, System::Post | System::None)
    }
}

/// The work of a run.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The number of events.
    pub events: u64,
    /// The number of events in 100 that write.
    pub writes: u64,
    /// The work of each event, in steps of [`spin`].
    pub steps: u64,
}

impl Load {
    /// Creates a load of `events` events that work for `nanos` nanoseconds each.
    pub fn new(events: u64, writes: u64, nanos: u64, speed: Speed) -> Load {
        Load { events, writes, steps: if nanos == 0 { 0 } else { speed.steps(nanos) } }
    }
}

/// The draws that decide what each event does.
struct Draw {
    load: Load,
    random: SplitMix64,
    next: u64,
}

impl Draw {
    fn new(load: Load) -> Self {
        Draw { load, random: SplitMix64::new(1), next: 0 }
    }

    /// Posts the next events. Returns `false` if the last event was among them.
    fn burst(&mut self, mut post: impl FnMut(u64, bool)) -> bool {
        let end = (self.next + BURST).min(self.load.events);
        for i in self.next..end {
            post(i, self.random.draw() % 100 < self.load.writes);
        }
        self.next = end;
        end < self.load.events
    }
}

/// Runs a load. Returns `None` if the system does not support this number of workers.
pub fn run(system: System, load: Load, workers: usize) -> Option<Took> {
    let steps = load.steps;
    match system {
        System::PlainLoop => (workers == 1).then(|| plain_loop(load)),
        System::Post => Some(on_dapple(load, workers, move |_| {
            let post = move |i, _, cx: &mut Cx| {
                cx.post_uncolored(move |_| {
                    black_box(i);
                    spin(steps);
                });
            };
            (post, None)
        })),
        System::None => Some(on_dapple(load, workers, move |rt| {
            let d = domain(rt, Mode::Snapshot);
            let also = d.clone();
            let post = move |i, _, _: &mut Cx| {
                d.none(move |_| {
                    black_box(i);
                    spin(steps);
                });
            };
            (post, Some(also))
        })),
        System::Snapshot => {
            Some(on_dapple(load, workers, move |rt| in_domain(domain(rt, Mode::Snapshot), steps)))
        }
        System::ReadWrite => {
            Some(on_dapple(load, workers, move |rt| in_domain(domain(rt, Mode::ReadWrite), steps)))
        }
        System::ParkingLot => Some(on_dapple(load, workers, move |_| {
            let state = Arc::new(parking_lot::RwLock::new(State::new()));
            let post = move |i, writes, cx: &mut Cx| {
                let state = Arc::clone(&state);
                cx.post_uncolored(move |_| match writes {
                    true => {
                        let mut state = state.write();
                        state.change(i);
                        spin(steps);
                    }
                    false => {
                        let state = state.read();
                        state.look(i);
                        spin(steps);
                    }
                });
            };
            (post, None)
        })),
        System::ArcSwap => Some(on_dapple(load, workers, move |_| {
            let state = Arc::new((ArcSwap::from_pointee(State::new()), Mutex::new(())));
            let post = move |i, writes, cx: &mut Cx| {
                let state = Arc::clone(&state);
                cx.post_uncolored(move |_| match writes {
                    true => {
                        let _one = state.1.lock().expect("nobody panics");
                        let mut copy = State::clone(&state.0.load());
                        copy.change(i);
                        spin(steps);
                        state.0.store(Arc::new(copy));
                    }
                    false => {
                        let state = state.0.load();
                        state.look(i);
                        spin(steps);
                    }
                });
            };
            (post, None)
        })),
        System::Tokio => Some(on_tokio(load, workers)),
    }
}

fn in_domain(d: Domain<State>, steps: u64) -> Posting<impl FnMut(u64, bool, &mut Cx) + Send> {
    let also = d.clone();
    let post = move |i, writes, _: &mut Cx| match writes {
        true => d.global(move |g| {
            g.state_mut().change(i);
            spin(steps);
        }),
        false => d.anon(move |a| {
            a.state().look(i);
            spin(steps);
        }),
    };
    (post, Some(also))
}

/// A closure that posts an event, and the domain whose limit it observes, if there is one.
type Posting<P> = (P, Option<Domain<State>>);

/// Runs a load on dapple. `make` creates the closure that posts an event.
fn on_dapple<P>(load: Load, workers: usize, make: impl FnOnce(&Runtime) -> Posting<P>) -> Took
where
    P: FnMut(u64, bool, &mut Cx) + Send + 'static,
{
    struct Generator<P> {
        draw: Draw,
        post: P,
        domain: Option<Domain<State>>,
    }
    fn generate<P>(mut g: Box<Generator<P>>, cx: &mut Cx)
    where
        P: FnMut(u64, bool, &mut Cx) + Send + 'static,
    {
        let post = &mut g.post;
        if !g.draw.burst(|i, writes| post(i, writes, cx)) {
            return;
        }
        match g.domain.clone() {
            Some(domain) if domain.is_full() => {
                let color = cx.color().expect("the generator has one");
                domain.when_room(&color, move |cx| generate(g, cx));
            }
            _ => cx.post_here(move |cx| generate(g, cx)),
        }
    }
    let rt = Runtime::builder().workers(workers).build().expect("a runtime");
    let (post, domain) = make(&rt);
    // The run starts warm: every worker's thread has started.
    rt.wait_idle();
    let generator = Box::new(Generator { draw: Draw::new(load), post, domain });
    let color = rt.handle().new_color();
    time(load.events, || {
        rt.handle().post(&color, move |cx| generate(generator, cx));
        rt.wait_idle();
    })
}

/// Creates a domain in this mode, with a limit, so that waiting events do not pile up.
fn domain(rt: &Runtime, mode: Mode) -> Domain<State> {
    let builder = Domain::builder().max_uncommitted(LIMIT);
    match mode {
        Mode::Snapshot => builder.snapshot(&rt.handle(), State::new()),
        Mode::ReadWrite => builder.read_write(&rt.handle(), State::new()),
    }
}

fn on_tokio(load: Load, workers: usize) -> Took {
    let rt = tokio_actor::runtime(workers);
    let gate = Arc::new(Gate::default());
    let last = Arc::new(OpensWhenDropped(Arc::clone(&gate)));
    let state = Arc::new(tokio::sync::RwLock::new(State::new()));
    let (mut draw, steps) = (Draw::new(load), load.steps);
    time(load.events, || {
        rt.spawn(async move {
            loop {
                let more = draw.burst(|i, writes| {
                    let (state, last) = (Arc::clone(&state), Arc::clone(&last));
                    tokio::spawn(async move {
                        match writes {
                            true => {
                                let mut state = state.write().await;
                                state.change(i);
                                spin(steps);
                            }
                            false => {
                                let state = state.read().await;
                                state.look(i);
                                spin(steps);
                            }
                        }
                        drop(last);
                    });
                });
                if !more {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(last);
        });
        gate.wait();
    })
}

fn plain_loop(load: Load) -> Took {
    type Callback = Box<dyn FnOnce(&mut VecDeque<Job>)>;
    struct Job(Callback);
    fn generate(mut draw: Draw, state: Rc<RefCell<State>>, queue: &mut VecDeque<Job>) {
        let steps = draw.load.steps;
        let more = draw.burst(|i, writes| {
            let state = Rc::clone(&state);
            queue.push_back(Job(Box::new(move |_| {
                match writes {
                    true => state.borrow_mut().change(i),
                    false => state.borrow().look(i),
                }
                spin(steps);
            })));
        });
        if more {
            queue.push_back(Job(Box::new(move |queue| generate(draw, state, queue))));
        }
    }
    let (draw, state) = (Draw::new(load), Rc::new(RefCell::new(State::new())));
    time(load.events, || {
        let mut queue = VecDeque::new();
        generate(draw, state, &mut queue);
        while let Some(job) = queue.pop_front() {
            (job.0)(&mut queue);
        }
    })
}

/// Runs events that take `steps.0` steps in global, downgrade, and take `steps.1` steps in anon.
///
/// Returns `None` for systems without a downgrade, except the plain loop, which only runs the
/// steps.
pub fn downgrade(system: System, events: u64, steps: (u64, u64), workers: usize) -> Option<Took> {
    let (global, anon) = steps;
    let load = Load { events, writes: 100, steps: anon };
    let events = move |d: Domain<State>| {
        let also = d.clone();
        let post = move |i, _, _: &mut Cx| {
            d.global_then(move |mut g| {
                g.state_mut().change(i);
                spin(global);
                g.downgrade_then(move |a| {
                    a.state().look(i);
                    spin(anon);
                    a.commit()
                })
            });
        };
        (post, Some(also))
    };
    match system {
        System::PlainLoop => Some(on_bare_threads(load.events, workers, |events| {
            for i in 0..events {
                black_box(i);
                spin(global + anon);
            }
        })),
        System::Snapshot => {
            Some(on_dapple(load, workers, move |rt| events(domain(rt, Mode::Snapshot))))
        }
        System::ReadWrite => {
            Some(on_dapple(load, workers, move |rt| events(domain(rt, Mode::ReadWrite))))
        }
        _ => None,
    }
}

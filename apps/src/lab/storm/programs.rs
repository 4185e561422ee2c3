//! Random programs, whose actions depend on the seed and not on the schedule.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use dapple::sim::{self, Rule, Sim};
use dapple::{
    Color, Cx, Domain, Done, Handle, MayGlobal, NoneCx, Palette, Priority, Runtime, StealPolicy,
};

use super::super::draw::Draw;

/// A kind of program, by the acts of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// Events of colors, exclusive and shared, and uncolored events.
    Posts,
    /// Events of several colors, of all classes.
    Sets,
    /// Tasks that sleep, and tasks that wait for blocking work.
    Tasks,
    /// Timers, some of which are cancelled.
    Timers,
    /// Events that take up to 50 ms, and events that wait behind them.
    Blocked,
    /// Many events that are worth stealing, and many that are not.
    Busy,
    /// Events of domains, with one step or several.
    Domains,
    /// Bounded colors, and colors of keys, which come and go.
    Bounds,
    /// Events that panic, some of them in domains.
    Panics,
    /// All acts but chains and panics.
    Mixed,
    /// All acts but chains and panics, and a shutdown before the events are over.
    Shutdown,
}

impl Program {
    pub(super) const ALL: [Program; 11] = [
        Program::Posts,
        Program::Sets,
        Program::Tasks,
        Program::Timers,
        Program::Blocked,
        Program::Busy,
        Program::Domains,
        Program::Bounds,
        Program::Panics,
        Program::Mixed,
        Program::Shutdown,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Program::Posts => "posts",
            Program::Sets => "sets",
            Program::Tasks => "tasks",
            Program::Timers => "timers",
            Program::Blocked => "blocked",
            Program::Busy => "busy",
            Program::Domains => "domains",
            Program::Bounds => "bounds",
            Program::Panics => "panics",
            Program::Mixed => "mixed",
            Program::Shutdown => "shutdown",
        }
    }

    /// Returns the acts of the program's events; an act that is listed twice is twice as frequent.
    fn acts(self) -> &'static [Act] {
        use Act::*;
        match self {
            Program::Posts => &[Post, Post, Here, Shared, Uncolored, Work, Many],
            Program::Sets => &[Set, Set, Set, Post, Shared, Here],
            Program::Tasks => &[Task, Task, Offload, Post, Here],
            Program::Timers => &[Timer, Timer, Cancelled, Post, Work],
            Program::Blocked => &[Block, Post, Post, Shared, Set, Timer, Uncolored, Many],
            Program::Busy => &[Busy, Many, Post, Set, Uncolored],
            Program::Domains => &[Global, Anon, NoneOnly, Steps, Steps, Alone, Post],
            Program::Bounds => &[TryPost, TryPost, Keyed, Keyed, Post, Set, Work],
            Program::Panics => &[Panic, PanicInside, Post, Shared, Set, Task, Global, Anon, Steps],
            Program::Mixed | Program::Shutdown => &[
                Post, Here, Shared, Uncolored, Work, Many, Set, Task, Offload, Timer, Cancelled,
                Block, Global, Anon, NoneOnly, Steps, Alone, TryPost, Keyed,
            ],
        }
    }
}

/// Something that an event does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Post,
    Here,
    Shared,
    Uncolored,
    /// Computes for 1 us to 256 us.
    Work,
    /// Computes for 5 ms to 50 ms, so that other workers help.
    Block,
    /// Posts up to 200 events, more than a turn runs, to the event's own color or to another one.
    Many,
    /// Posts eight chains of events. The events of a chain are all worth stealing, or none is.
    Busy,
    Set,
    Task,
    Offload,
    Timer,
    /// Starts a timer that another event cancels, perhaps in time.
    Cancelled,
    Global,
    Anon,
    NoneOnly,
    /// Posts an event of a domain in several steps.
    Steps,
    /// Posts an event of a domain that waits to be alone.
    Alone,
    /// Posts to a color that may be full.
    TryPost,
    /// Posts to the color of a key.
    Keyed,
    /// Posts an event that panics.
    Panic,
    /// Posts an event that panics in a domain, and one that repairs the domain.
    PanicInside,
}

/// The state that the events of one run share.
struct World {
    program: Program,
    handle: Handle,
    colors: Vec<Color>,
    domains: Vec<Domain<u64>>,
    bounded: Vec<Color>,
    keys: Palette<u64>,
    /// The number of events that have panicked on purpose.
    panics: AtomicU64,
    /// The number of posted events that must run; `ran` counts those that have run.
    planned: AtomicU64,
    ran: AtomicU64,
}

impl World {
    /// Panics on purpose, without a call of the panic hook.
    fn panic(&self) {
        self.panics.fetch_add(1, SeqCst);
        std::panic::resume_unwind(Box::new("on purpose"));
    }
}

/// An event that has not been posted.
#[derive(Clone)]
struct Node {
    world: Arc<World>,
    draw: Draw,
    /// The number of generations of events that may follow.
    depth: u32,
}

impl Node {
    /// Makes an event for later, and counts it as planned.
    fn child(&self, draw: &mut Draw) -> Node {
        self.world.planned.fetch_add(1, SeqCst);
        let depth = self.depth.saturating_sub(1);
        Node { world: Arc::clone(&self.world), draw: draw.child(), depth }
    }

    /// Runs the event.
    fn run(self, cx: &mut Cx) {
        self.world.ran.fetch_add(1, SeqCst);
        let mut draw = self.draw;
        if self.depth == 0 {
            return;
        }
        for _ in 0..1 + draw.below(3) {
            let act = *draw.one(self.world.program.acts());
            self.act(act, &mut draw, cx);
        }
    }

    fn color(&self, draw: &mut Draw) -> &Color {
        draw.one(&self.world.colors)
    }

    fn domain(&self, draw: &mut Draw) -> &Domain<u64> {
        draw.one(&self.world.domains)
    }

    fn act(&self, act: Act, draw: &mut Draw, cx: &mut Cx) {
        match act {
            Act::Post | Act::Here | Act::Shared | Act::Uncolored => self.post(act, draw, cx),
            Act::Work => sim::work(Duration::from_micros(1 << draw.below(9))),
            Act::Block => sim::work(Duration::from_millis(5 + draw.below(45))),
            Act::Many => {
                let own = cx.color().filter(|_| draw.below(2) == 0);
                let color = own.unwrap_or_else(|| self.color(draw).clone());
                for _ in 0..draw.below(200) {
                    let next = Node { depth: 0, ..self.child(draw) };
                    color.post(move |cx| next.run(cx));
                }
            }
            Act::Busy => {
                let nanos = *draw.one(&[100, 1_000, 20_000]);
                for _ in 0..8 {
                    let (color, next) = (self.color(draw).clone(), self.child(draw));
                    color.post(move |cx| next.go_on(nanos, 100, cx));
                }
            }
            Act::Set => self.post_set(draw, cx),
            Act::Task => self.spawn(draw),
            Act::Offload => {
                let (color, next) = (self.color(draw), self.child(draw));
                let micros = draw.below(2_000);
                let work = move || sim::work(Duration::from_micros(micros));
                cx.offload_then(color, work, move |done, cx| {
                    if done.is_ok() {
                        next.run(cx);
                    }
                });
            }
            Act::Timer | Act::Cancelled => self.arm(act, draw, cx),
            Act::Global | Act::Anon | Act::NoneOnly | Act::Steps | Act::Alone => {
                self.enter(act, draw);
            }
            Act::TryPost | Act::Keyed => self.post_elsewhere(act, draw, cx),
            Act::Panic => self.post_panic(draw, cx),
            Act::PanicInside => self.panic_inside(draw),
        }
    }

    /// Posts an event of a domain that panics in one of four places, and one that repairs the
    /// domain.
    fn panic_inside(&self, draw: &mut Draw) {
        let (domain, world, next) = (self.domain(draw), Arc::clone(&self.world), self.child(draw));
        match draw.below(4) {
            0 => domain.global(move |cx| {
                *cx.state_mut() += 1;
                sim::wrote("state", cx.state());
                sim::read("state", cx.state());
                cx.defer(move |cx| next.run(cx));
                world.panic();
            }),
            1 => domain.anon(move |cx| {
                sim::read("state", cx.state());
                cx.defer(move |cx| next.run(cx));
                world.panic();
            }),
            // The actions that were deferred in global still run.
            2 => domain.global_then(move |mut cx| {
                *cx.state_mut() += 1;
                sim::wrote("state", cx.state());
                cx.defer(move |cx| next.run(cx));
                cx.downgrade_then(move |cx| {
                    sim::read("state", cx.state());
                    world.panic();
                    cx.commit()
                })
            }),
            // The panic is in a sub-event.
            _ => domain.global_then(move |mut cx| {
                cx.defer(move |cx| next.run(cx));
                cx.commit_then(move |cx| {
                    cx.upgrade_global_then(move |cx| {
                        sim::read("state", cx.state());
                        world.panic();
                        cx.commit()
                    })
                })
            }),
        }
        let (world, panics) = (Arc::clone(&self.world), draw.below(8) == 0);
        domain.clear_poison(move |cx| {
            sim::read("state", cx.state());
            *cx.state_mut() += 1;
            sim::wrote("state", cx.state());
            if panics {
                world.panic();
            }
        });
    }

    /// Posts to a color that may be full, or to the color of a key.
    fn post_elsewhere(&self, act: Act, draw: &mut Draw, cx: &mut Cx) {
        let (color, next) = (draw.one(&self.world.bounded), self.child(draw));
        if let Act::Keyed = act {
            let key = draw.below(5);
            return self.world.keys.color(&key).post(move |cx| next.run(cx));
        }
        if cx.try_post(color, move |cx| next.run(cx)).is_err() {
            self.world.planned.fetch_sub(1, SeqCst);
        }
    }

    /// Posts an event that runs, and then panics.
    fn post_panic(&self, draw: &mut Draw, cx: &mut Cx) {
        let (next, world) = (self.child(draw), Arc::clone(&self.world));
        let (color, other) = (self.color(draw), self.color(draw));
        let panics = move |cx: &mut Cx| {
            next.run(cx);
            world.panic();
        };
        match draw.below(3) {
            0 => cx.post(color, panics),
            1 => cx.post_shared(color, panics),
            _ => cx.post_set(&[color.exclusive(), other.shared()], panics),
        }
    }

    fn post(&self, act: Act, draw: &mut Draw, cx: &mut Cx) {
        let (color, next) = (self.color(draw), self.child(draw));
        match act {
            Act::Here if cx.color().is_some() => cx.post_here(move |cx| next.run(cx)),
            Act::Here => cx.post_default(move |cx| next.run(cx)),
            Act::Shared => cx.post_shared(color, move |cx| next.run(cx)),
            Act::Uncolored => cx.post_uncolored(move |cx| next.run(cx)),
            _ => cx.post(color, move |cx| next.run(cx)),
        }
    }

    fn post_set(&self, draw: &mut Draw, cx: &mut Cx) {
        let n = 2 + draw.below(3);
        let colors: Vec<&Color> = (0..n).map(|_| self.color(draw)).collect();
        let mut named = Vec::new();
        for color in colors {
            named.push(match draw.below(3) {
                0 => color.shared(),
                _ => color.exclusive(),
            });
        }
        let next = self.child(draw);
        cx.post_set(&named, move |cx| next.run(cx));
    }

    fn arm(&self, act: Act, draw: &mut Draw, cx: &mut Cx) {
        let (color, other) = (self.color(draw), self.color(draw));
        let (next, after) = (self.child(draw), Duration::from_micros(draw.below(3_000)));
        let timer = cx.post_after(after, color, move |cx| next.run(cx));
        if let Act::Cancelled = act {
            let (cancels, world) = (self.child(draw), Arc::clone(&self.world));
            cx.post(other, move |cx| {
                if timer.cancel() {
                    world.planned.fetch_sub(1, SeqCst);
                }
                cancels.run(cx);
            });
        }
    }

    /// Runs one event of a chain, which takes `nanos`, and posts the next.
    fn go_on(self, nanos: u64, left: u32, cx: &mut Cx) {
        sim::work(Duration::from_nanos(nanos));
        match left {
            0 => self.run(cx),
            _ => cx.post_here(move |cx| self.go_on(nanos, left - 1, cx)),
        }
    }

    fn spawn(&self, draw: &mut Draw) {
        let (color, handle, next) = (self.color(draw), self.world.handle.clone(), self.child(draw));
        let (micros, aborts) = (draw.below(2_000), draw.below(4) == 0);
        let (world, offloads) = (Arc::clone(&self.world), draw.below(2) == 0);
        let then = color.clone();
        let task = handle.clone().spawn(color, async move {
            handle.sleep(Duration::from_micros(micros)).await;
            if offloads {
                let _ = handle.offload(move || sim::work(Duration::from_micros(micros / 4))).await;
            }
            then.post(move |cx| next.run(cx));
        });
        if aborts {
            task.abort();
            // Whether the abort came in time is known when the task is over.
            let handle = self.world.handle.clone();
            drop(handle.clone().spawn(&handle.default_color(), async move {
                if task.await.is_err() {
                    world.planned.fetch_sub(1, SeqCst);
                }
            }));
        }
    }

    /// Posts an event of a domain.
    fn enter(&self, act: Act, draw: &mut Draw) {
        let (domain, next) = (self.domain(draw), self.child(draw));
        let (adds, micros, deferred) = (draw.below(100), draw.below(200), self.child(draw));
        let mut later = draw.child();
        match act {
            Act::Global => domain.global(move |cx| {
                sim::read("state", cx.state());
                sim::work(Duration::from_micros(micros));
                *cx.state_mut() += adds;
                sim::wrote("state", cx.state());
                cx.defer(move |cx| next.run(cx));
                cx.defer(move |cx| deferred.run(cx));
            }),
            Act::Anon => domain.anon(move |cx| {
                sim::read("state", cx.state());
                sim::work(Duration::from_micros(micros));
                sim::read("state", cx.state());
                cx.defer(move |cx| next.run(cx));
                cx.defer(move |cx| deferred.run(cx));
            }),
            Act::NoneOnly => domain.none(move |cx| {
                sim::work(Duration::from_micros(micros));
                cx.defer(move |cx| next.run(cx));
                cx.defer(move |cx| deferred.run(cx));
            }),
            Act::Alone => domain.event(move |cx| {
                cx.upgrade_global_then(move |mut cx| {
                    *cx.state_mut() += adds;
                    sim::wrote("state", cx.state());
                    cx.defer(move |cx| next.run(cx));
                    cx.exclusive_then(move |mut cx| {
                        sim::read("state", cx.state());
                        *cx.state_mut() += 1;
                        sim::wrote("state", cx.state());
                        cx.defer(move |cx| deferred.run(cx));
                        cx.commit()
                    })
                })
            }),
            _ => domain.event(move |mut cx| {
                cx.defer(move |cx| next.run(cx));
                cx.then(move |cx| steps(cx, adds, micros, later.below(5), deferred))
            }),
        }
    }
}

/// Runs an event of several steps, in the way that `how` selects.
fn steps(cx: NoneCx<u64, MayGlobal>, adds: u64, micros: u64, how: u64, deferred: Node) -> Done {
    let works = move || sim::work(Duration::from_micros(micros));
    match how {
        0 => cx.renounce().then(move |mut cx| {
            works();
            cx.defer(move |cx| deferred.run(cx));
            cx.commit()
        }),
        1 => cx.renounce_global().upgrade_anon_then(move |mut cx| {
            sim::read("state", cx.state());
            works();
            cx.defer(move |cx| deferred.run(cx));
            cx.commit()
        }),
        2 => cx.upgrade_global_then(move |mut cx| {
            *cx.state_mut() += adds;
            sim::wrote("state", cx.state());
            cx.downgrade_then(move |mut cx| {
                sim::read("state", cx.state());
                works();
                sim::read("state", cx.state());
                cx.defer(move |cx| deferred.run(cx));
                cx.commit()
            })
        }),
        3 => cx.upgrade_global_then(move |mut cx| {
            *cx.state_mut() += adds;
            sim::wrote("state", cx.state());
            // A sub-event, which takes a ticket of its own.
            cx.commit_then(move |cx| steps(cx, adds, micros, 2, deferred))
        }),
        _ => cx.upgrade_global_then(move |mut cx| {
            works();
            sim::read("state", cx.state());
            cx.defer(move |cx| deferred.run(cx));
            cx.then(move |mut cx| {
                *cx.state_mut() += adds;
                sim::wrote("state", cx.state());
                cx.commit()
            })
        }),
    }
}

/// Starts a runtime with what a program needs.
fn start(program: Program, draw: &mut Draw) -> (Runtime, Arc<World>) {
    let policy = *draw.one(&[StealPolicy::CostAware, StealPolicy::CostAware, StealPolicy::Eager]);
    let workers = 1 + draw.below(4) as usize;
    // Long events, and tickets that wait for them, are intended.
    let quiet = Runtime::builder().on_stall(|_| ()).on_ticket_stall(|_| ());
    // The schedule may pause a worker for a long time in one event, again and again.
    let quiet = quiet.stuck_after(Duration::from_secs(1_000));
    let rt = quiet.workers(workers).steal_policy(policy).build().expect("fibers");
    let handle = rt.handle();
    let with_classes = program == Program::Sets || draw.below(4) == 0;
    let mut color = |n: u64| {
        let class = match draw.below(4) {
            0 if with_classes => Priority::High,
            1 if with_classes => Priority::Low,
            _ => Priority::Normal,
        };
        handle.color_builder().label(&format!("color {n}")).priority(class).build()
    };
    let colors = (0..6).map(&mut color).collect();
    let domains = vec![
        Domain::snapshot(&handle, 0),
        Domain::read_write(&handle, 0),
        Domain::builder().transactional().snapshot(&handle, 0),
    ];
    let bounded = (1..=2).map(|n| handle.color_builder().capacity(n * 2).build()).collect();
    let world = World {
        program,
        handle: handle.clone(),
        colors,
        domains,
        bounded,
        keys: Palette::new(&handle),
        panics: AtomicU64::new(0),
        planned: AtomicU64::new(0),
        ran: AtomicU64::new(0),
    };
    (rt, Arc::new(world))
}

/// Runs a program with the seed of `sim`, and checks it.
pub(super) fn run(program: Program, sim: &Sim) {
    let history = sim.history();
    let mut draw = Draw(sim.seed());
    let (rt, world) = start(program, &mut draw);
    let root = Node { world: Arc::clone(&world), draw, depth: 4 };
    for _ in 0..2 + draw.below(4) {
        let (color, next) = (root.color(&mut draw), root.child(&mut draw));
        color.post(move |cx| next.run(cx));
    }
    drop(root);
    if program == Program::Shutdown {
        sim.advance(Duration::from_micros(draw.below(4_000)));
        let limit = Duration::from_micros(draw.below(2_000));
        let report = rt.shutdown(limit);
        assert!(report.stuck_workers.is_empty(), "{report:?}");
        history.check_ended();
        return;
    }
    // `wait_idle` does not wait for timers and sleeping tasks.
    for _ in 0..100 {
        rt.wait_idle();
        if world.planned.load(SeqCst) == world.ran.load(SeqCst) {
            break;
        }
        sim.advance(Duration::from_millis(10));
    }
    rt.wait_idle();
    history.check_at_rest();
    let (planned, ran) = (world.planned.load(SeqCst), world.ran.load(SeqCst));
    // Actions deferred by an event of a poisoned domain may not run.
    let is_right = if program == Program::Panics { ran <= planned } else { ran == planned };
    assert!(is_right, "{ran} events ran, but {planned} were planned");
    let (panics, counted) = (world.panics.load(SeqCst), rt.metrics().panics());
    assert_eq!(counted, panics, "the number of panics counted differs from the number intended");
    let drained = rt.shutdown(Duration::from_secs(1));
    let none_dropped = drained.dropped_events == 0 || program == Program::Panics;
    assert!(drained.drained && none_dropped, "{drained:?}");
    for rule in [Rule::E11, Rule::C1, Rule::I7] {
        history.check_rule(rule).unwrap_or_else(|broken| panic!("{broken}"));
    }
}

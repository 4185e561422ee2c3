//! C1, C2, C5, C6: random programs of posts run on the executor and record what happens. A checker
//! that knows only the rules checks the record.
//!
//! Events are exclusive, shared, or sets of both. Several threads and other events post them. They
//! take different times, and some panic. Colors have classes. All policies run, on one to four
//! workers; the eager policy steals whatever it can. The checker compares every two events that
//! share a color. It needs neither queues nor step functions.
mod seeded;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::thread;

use dapple::{Color, Cx, Handle, Priority, Request, Runtime, StealPolicy};
use proptest::prelude::*;
use seeded::seeded;

/// A color and whether it is shared.
type Want = (usize, bool);

#[derive(Clone, Debug)]
struct Event {
    wants: Vec<Want>,
    /// Whether the event is posted as a set even if it wants one color only.
    as_set: bool,
    spins: u32,
    panics: bool,
    /// The events that this one posts.
    posts: Vec<Event>,
}

#[derive(Clone, Debug)]
struct Program {
    /// The events that threads outside the runtime post.
    threads: Vec<Vec<Event>>,
    workers: usize,
    policy: StealPolicy,
    classes: Vec<Priority>,
}

const COLORS: usize = 4;

fn event() -> impl Strategy<Value = Event> {
    let plain = (0..COLORS, prop::bool::weighted(0.4)).prop_map(|want| (vec![want], false));
    let set = prop::collection::vec((0..COLORS, any::<bool>()), 1..=COLORS + 2)
        .prop_map(|wants| (wants, true));
    let what = prop_oneof![3 => plain, 2 => set];
    let spins = prop_oneof![4 => Just(0u32), 2 => 1..200u32, 1 => 200..5_000u32];
    let leaf = (what, spins, prop::bool::weighted(0.1)).prop_map(|(wants, spins, panics)| Event {
        wants: wants.0,
        as_set: wants.1,
        spins,
        panics,
        posts: Vec::new(),
    });
    leaf.prop_recursive(3, 24, 4, |inner| {
        (inner.clone(), prop::collection::vec(inner, 0..4))
            .prop_map(|(event, posts)| Event { posts, ..event })
    })
}

fn program() -> impl Strategy<Value = Program> {
    let threads = prop::collection::vec(prop::collection::vec(event(), 1..10), 1..4);
    let policy = prop_oneof![
        2 => Just(StealPolicy::Eager),
        1 => Just(StealPolicy::CostAware),
        1 => Just(StealPolicy::Off),
    ];
    let class = prop_oneof![
        1 => Just(Priority::High),
        2 => Just(Priority::Normal),
        1 => Just(Priority::Low),
    ];
    let classes =
        prop_oneof![Just(vec![Priority::Normal; COLORS]), prop::collection::vec(class, COLORS),];
    (threads, 1..5usize, policy, classes).prop_map(|(threads, workers, policy, classes)| Program {
        threads,
        workers,
        policy,
        classes,
    })
}

/// The record of a posted event: moments of one clock that all threads read.
#[derive(Debug, Default)]
struct Record {
    wants: Vec<Want>,
    /// Before the post was called.
    posting: u64,
    /// After the post had returned.
    posted: AtomicU64,
    began: AtomicU64,
    ended: AtomicU64,
    runs: AtomicU32,
}

struct World {
    handle: Handle,
    colors: Vec<Color>,
    clock: AtomicU64,
    records: std::sync::Mutex<Vec<Arc<Record>>>,
    /// One count per color. Exclusive events change it by a load and a store, so an overlap or a
    /// stale view loses a count.
    counts: Vec<AtomicU64>,
    wrong_views: AtomicU32,
}

impl World {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, SeqCst) + 1
    }

    fn post(self: &Arc<Self>, event: Event, cx: Option<&mut Cx>) {
        let record = Arc::new(Record {
            wants: merged(&event.wants),
            posting: self.tick(),
            ..Record::default()
        });
        self.records.lock().unwrap().push(Arc::clone(&record));
        let (world, mine) = (Arc::clone(self), Arc::clone(&record));
        let (wants, as_set) = (event.wants.clone(), event.as_set);
        let run = move |cx: &mut Cx| world.run(event, &mine, cx);
        let color = &self.colors[wants[0].0];
        match (as_set, wants[0].1, cx) {
            (false, false, None) => self.handle.post(color, run),
            (false, true, None) => self.handle.post_shared(color, run),
            (false, false, Some(cx)) => cx.post(color, run),
            (false, true, Some(cx)) => cx.post_shared(color, run),
            (true, _, cx) => {
                let request = |w: &Want| match w.1 {
                    true => self.colors[w.0].shared(),
                    false => self.colors[w.0].exclusive(),
                };
                let requests: Vec<Request<'_>> = wants.iter().map(request).collect();
                match cx {
                    None => self.handle.post_set(&requests, run),
                    Some(cx) => cx.post_set(&requests, run),
                }
            }
        }
        record.posted.store(self.tick(), SeqCst);
    }

    fn run(self: &Arc<Self>, event: Event, record: &Record, cx: &mut Cx) {
        record.began.store(self.tick(), SeqCst);
        record.runs.fetch_add(1, SeqCst);
        let counts = || record.wants.iter().filter(|w| !w.1).map(|w| &self.counts[w.0]);
        let seen: Vec<u64> = self.counts.iter().map(|c| c.load(Relaxed)).collect();
        for (color, shared) in &record.wants {
            let alone = cx.is_alone_on(&self.colors[*color]);
            let right = cx.is_on(&self.colors[*color]) && alone != *shared;
            self.wrong_views.fetch_add(u32::from(!right), Relaxed);
        }
        for post in event.posts {
            self.post(post, Some(cx));
        }
        (0..event.spins).for_each(|_| std::hint::spin_loop());
        for &(color, _) in &record.wants {
            let changed = self.counts[color].load(Relaxed) != seen[color];
            self.wrong_views.fetch_add(u32::from(changed), Relaxed);
        }
        counts().for_each(|count| count.store(count.load(Relaxed) + 1, Relaxed));
        record.ended.store(self.tick(), SeqCst);
        if event.panics {
            std::panic::resume_unwind(Box::new("a panic that the program asked for"));
        }
    }
}

/// Returns each wanted color once, with its stronger access.
fn merged(wants: &[Want]) -> Vec<Want> {
    let strongest = |color: usize| {
        let mut all = wants.iter().filter(|w| w.0 == color).peekable();
        all.peek().is_some().then_some(()).map(|()| (color, all.all(|w| w.1)))
    };
    (0..COLORS).filter_map(strongest).collect()
}

fn run(program: &Program) -> Arc<World> {
    let rt =
        Runtime::builder().workers(program.workers).steal_policy(program.policy).build().unwrap();
    let handle = rt.handle();
    let world = Arc::new(World {
        colors: program
            .classes
            .iter()
            .map(|class| handle.color_builder().priority(*class).build())
            .collect(),
        handle,
        clock: AtomicU64::new(0),
        records: Default::default(),
        counts: (0..COLORS).map(|_| AtomicU64::new(0)).collect(),
        wrong_views: AtomicU32::new(0),
    });
    thread::scope(|s| {
        for posts in &program.threads {
            let world = &world;
            s.spawn(move || posts.iter().for_each(|event| world.post(event.clone(), None)));
        }
    });
    rt.wait_idle();
    world
}

/// Returns whether the event shares the color, or `None` if it does not want the color.
fn wants(record: &Record, color: usize) -> Option<bool> {
    record.wants.iter().find(|w| w.0 == color).map(|w| w.1)
}

fn check(world: &World) -> Result<(), TestCaseError> {
    let records = world.records.lock().unwrap();
    let at = |moment: &AtomicU64| moment.load(SeqCst);
    for record in records.iter() {
        prop_assert_eq!(record.runs.load(SeqCst), 1, "each event runs once: {:?}", record);
    }
    for a in records.iter() {
        for b in records.iter().filter(|b| !Arc::ptr_eq(a, b)) {
            for color in 0..COLORS {
                let (Some(a_shares), Some(b_shares)) = (wants(a, color), wants(b, color)) else {
                    continue;
                };
                if a_shares && b_shares {
                    continue;
                }
                let apart = at(&a.ended) < at(&b.began) || at(&b.ended) < at(&a.began);
                prop_assert!(apart, "C1, C5: overlap on color {}: {:?} and {:?}", color, a, b);
                if at(&a.posted) < b.posting {
                    let in_order = at(&a.ended) < at(&b.began);
                    prop_assert!(in_order, "C2: order on color {}: {:?} and {:?}", color, a, b);
                }
            }
        }
    }
    for (color, count) in world.counts.iter().enumerate() {
        let exclusive = records.iter().filter(|r| wants(r, color) == Some(false)).count();
        prop_assert_eq!(count.load(SeqCst), exclusive as u64, "C1: a count was lost");
    }
    prop_assert_eq!(world.wrong_views.load(SeqCst), 0, "an event saw its colors change");
    Ok(())
}

proptest! {
    #![proptest_config(seeded(300))]

    #[test]
    fn c1_c2_c5_c6_random_programs(program in program()) {
        let world = run(&program);
        check(&world)?;
    }
}

/// The checker can fail.
#[test]
fn records_that_break_a_rule_are_caught() {
    let program = Program {
        threads: vec![Vec::new()],
        workers: 1,
        policy: StealPolicy::CostAware,
        classes: vec![Priority::Normal; COLORS],
    };
    let verdict = |moments: [[u64; 4]; 2], shared: [bool; 2]| {
        let world = run(&program);
        for ([posting, posted, began, ended], shared) in moments.into_iter().zip(shared) {
            world.records.lock().unwrap().push(Arc::new(Record {
                wants: vec![(0, shared)],
                posting,
                posted: posted.into(),
                began: began.into(),
                ended: ended.into(),
                runs: 1.into(),
            }));
            world.counts[0].fetch_add(u64::from(!shared), SeqCst);
        }
        check(&world).err().map(|e| e.to_string())
    };
    let says = |verdict: Option<String>, rule: &str| verdict.is_some_and(|v| v.contains(rule));
    assert_eq!(verdict([[1, 2, 5, 6], [3, 4, 7, 8]], [false, false]), None);
    assert_eq!(verdict([[1, 2, 5, 7], [3, 4, 6, 8]], [true, true]), None);
    assert!(says(verdict([[1, 2, 5, 7], [3, 4, 6, 8]], [false, false]), "C1"));
    assert!(says(verdict([[1, 2, 5, 7], [3, 4, 6, 8]], [false, true]), "C1"));
    assert!(says(verdict([[1, 2, 7, 8], [3, 4, 5, 6]], [false, true]), "C2"));
}

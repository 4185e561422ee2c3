//! I13: whatever runs in parallel, state, reads and effects are those of the (sub-)events run one by one by ticket.
//!
//! Random programs run on the executor, in both modes, transactional or not, with 1 to 8 workers; and, beside, in
//! a serial interpreter that knows nothing of contexts but what they allow and what a panic costs (I12).
//! The interpreter shares no code with the step functions.
mod seeded;

use std::collections::{BTreeMap, VecDeque};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};

use dapple::{
    AnonCx, Context, Cx, Domain, Done, DynCx, GlobalCx, Handle, InAnon, InGlobal, InNone,
    JoinHandle, MayAnon, NoneCx, NoneOnly, Runtime,
};
use proptest::prelude::*;
use seeded::seeded;

/// What a step does, in order.
#[derive(Clone, Debug)]
enum Act {
    /// Changes both halves of the state. In global only.
    Write(u8),
    /// Sees both halves of the state. In global and anon.
    Read,
    /// Defers an effect.
    Defer(u8),
    /// Defers a post.
    Post(Box<Event>),
    Panic,
}

/// The steps of an event, context by context.
#[derive(Clone, Debug)]
struct Event {
    /// How it is written: as a whole event (if it is one), by typed tokens, by dynamic ones, or as an async task.
    form: u8,
    repairs: bool,
    none: Vec<Vec<Act>>,
    renounces: bool,
    global: Vec<Vec<Act>>,
    /// Each preceded by a wait to be alone, and beginning with an effect at once.
    alone: Vec<Vec<Act>>,
    anon: Vec<Vec<Act>>,
    then: Option<Box<Event>>,
}

impl Event {
    fn highest(&self) -> Context {
        match (self.global.is_empty(), self.anon.is_empty()) {
            (false, _) => Context::Global,
            (true, false) => Context::Anon,
            (true, true) => Context::None,
        }
    }

    /// Has it, and each of its sub-events, at most one part in which it is alone?
    fn is_for_tasks(&self) -> bool {
        self.alone.len() < 2 && self.then.as_ref().is_none_or(|then| then.is_for_tasks())
    }

    /// Has it one step only, and no sub-event?
    fn is_whole(&self) -> bool {
        let steps = [&self.none, &self.global, &self.alone, &self.anon];
        let lone = self.none.len() == 1 || self.none.is_empty();
        lone && steps.iter().map(|s| s.len()).sum::<usize>() == 1
            && self.alone.is_empty()
            && self.then.is_none()
    }
}

fn acts(writes: bool, reads: bool, inner: BoxedStrategy<Event>) -> BoxedStrategy<Vec<Act>> {
    let mut kinds = vec![
        (4, any::<u8>().prop_map(Act::Defer).boxed()),
        (2, inner.prop_map(|e| Act::Post(Box::new(e))).boxed()),
        (1, Just(Act::Panic).boxed()),
    ];
    if reads {
        kinds.push((4, Just(Act::Read).boxed()));
    }
    if writes {
        kinds.push((6, any::<u8>().prop_map(Act::Write).boxed()));
    }
    prop::collection::vec(prop::strategy::Union::new_weighted(kinds), 0..4).boxed()
}

fn event(depth: u32) -> BoxedStrategy<Event> {
    let inner = if depth == 0 { Just(empty()).boxed() } else { event(depth - 1) };
    let steps =
        |writes, reads, most| prop::collection::vec(acts(writes, reads, inner.clone()), 0..=most);
    // A sub-event cannot be posted to repair.
    let then = inner.clone().prop_map(|e| Box::new(Event { repairs: false, ..e }));
    let then = prop::option::weighted(0.3, then);
    let parts = (
        (any::<u8>(), prop::bool::weighted(0.1), any::<bool>()),
        steps(false, false, 2),
        steps(true, true, 2),
        prop::option::weighted(0.3, steps(true, true, 2)),
        steps(false, true, 2),
        then,
    );
    parts
        .prop_map(|((form, repairs, renounces), none, global, alone, anon, then)| {
            let alone = if global.is_empty() { vec![] } else { alone.unwrap_or_default() };
            Event { form, repairs, none, renounces, global, alone, anon, then }
        })
        .prop_map(|mut e| {
            if e.repairs {
                // Posted as a whole event in global.
                let global = e.global.into_iter().next().unwrap_or_default();
                (e.none, e.alone, e.anon, e.then) = (vec![], vec![], vec![], None);
                e.global = vec![global];
            }
            e
        })
        .boxed()
}

fn empty() -> Event {
    Event {
        form: 0,
        repairs: false,
        none: vec![vec![]],
        renounces: false,
        global: vec![],
        alone: vec![],
        anon: vec![],
        then: None,
    }
}

type State = (u64, u64);

fn write(state: &mut State, k: u8) {
    state.0 = state.0.wrapping_mul(31).wrapping_add(u64::from(k));
    std::thread::yield_now();
    state.1 = state.1.wrapping_mul(37).wrapping_add(u64::from(k));
}

fn read(state: &State) -> State {
    let first = state.0;
    std::thread::yield_now();
    (first, state.1)
}

/// What a run leaves: effects in order, reads by ticket, the last state.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    effects: Vec<(u64, u16)>,
    reads: BTreeMap<u64, Vec<State>>,
    state: State,
}

/// An effect that is not deferred.
const AT_ONCE: u16 = 1_000;

mod serial {
    use super::*;

    struct Stopped;

    struct World {
        outcome: Outcome,
        queue: VecDeque<Event>,
        poisoned: bool,
    }

    struct Running {
        ticket: u64,
        deferred: Vec<Act>,
    }

    impl World {
        fn step(&mut self, run: &mut Running, acts: &[Act]) -> Result<(), Stopped> {
            for act in acts {
                match act {
                    Act::Write(k) => write(&mut self.outcome.state, *k),
                    Act::Read => {
                        let seen = self.outcome.state;
                        self.outcome.reads.entry(run.ticket).or_default().push(seen);
                    }
                    Act::Panic => return Err(Stopped),
                    deferred => run.deferred.push(deferred.clone()),
                }
            }
            Ok(())
        }

        fn commit(&mut self, run: &mut Running) {
            for act in run.deferred.drain(..) {
                match act {
                    Act::Defer(k) => self.outcome.effects.push((run.ticket, u16::from(k))),
                    Act::Post(event) => self.queue.push_back(*event),
                    _ => unreachable!("only these are deferred"),
                }
            }
        }

        fn event(&mut self, ticket: u64, e: &Event, transactional: bool) {
            if self.poisoned && !e.repairs {
                return;
            }
            let mut run = Running { ticket, deferred: vec![] };
            let before = self.outcome.state;
            for acts in &e.none {
                if self.step(&mut run, acts).is_err() {
                    return;
                }
            }
            for acts in &e.global {
                if self.step(&mut run, acts).is_err() {
                    match transactional {
                        true => self.outcome.state = before,
                        false => self.poisoned = true,
                    }
                    return;
                }
            }
            for acts in &e.alone {
                self.commit(&mut run);
                self.outcome.effects.push((ticket, AT_ONCE));
                if self.step(&mut run, acts).is_err() {
                    self.poisoned = true;
                    return;
                }
            }
            self.poisoned &= !e.repairs;
            let kept = if e.global.is_empty() { 0 } else { run.deferred.len() };
            for acts in &e.anon {
                if self.step(&mut run, acts).is_err() {
                    run.deferred.truncate(kept);
                    return self.commit(&mut run);
                }
            }
            self.commit(&mut run);
            if let Some(then) = &e.then {
                self.queue.push_back((**then).clone());
            }
        }
    }

    pub fn run(program: &[Event], transactional: bool) -> Outcome {
        let queue = program.iter().cloned().collect();
        let mut world = World { outcome: Outcome::default(), queue, poisoned: false };
        let mut ticket = 0;
        while let Some(event) = world.queue.pop_front() {
            // The first event of all posts the program.
            ticket += 1;
            world.event(ticket + 1, &event, transactional);
        }
        world.outcome
    }
}

/// What the events of a run share.
#[derive(Clone)]
struct Shared {
    domain: Domain<State>,
    log: Arc<Mutex<Outcome>>,
}

impl Shared {
    fn see(&self, ticket: u64, seen: State) {
        self.log.lock().unwrap().reads.entry(ticket).or_default().push(seen);
    }

    fn effect(&self, ticket: u64, k: u16) {
        self.log.lock().unwrap().effects.push((ticket, k));
    }

    fn action(&self, ticket: u64, act: &Act) -> impl FnOnce(&mut Cx) + Send + 'static {
        let (shared, act) = (self.clone(), act.clone());
        move |_| match act {
            Act::Defer(k) => shared.effect(ticket, u16::from(k)),
            Act::Post(event) => shared.post(*event),
            _ => unreachable!("only these are deferred"),
        }
    }
}

/// What a step's acts need of its token.
trait Token {
    fn number(&self) -> u64;
    fn keep(&mut self, action: impl FnOnce(&mut Cx) + Send + 'static);
    fn read(&self) -> State {
        unreachable!("in none nothing is read")
    }
    fn write(&mut self, _: u8) {
        unreachable!("only in global the state is written")
    }
}

macro_rules! token {
    ($token:ty $(, $r:ident)? { $($more:tt)* }) => {
        impl $(<$r: dapple::Rights>)? Token for $token {
            fn number(&self) -> u64 {
                self.ticket().number()
            }
            #[track_caller]
            fn keep(&mut self, action: impl FnOnce(&mut Cx) + Send + 'static) {
                self.defer(action);
            }
            $($more)*
        }
    };
}

macro_rules! reads {
    () => {
        fn read(&self) -> State {
            read(self.state())
        }
    };
}

macro_rules! writes {
    () => {
        fn write(&mut self, k: u8) {
            write(self.state_mut(), k);
        }
    };
}

token!(InNone<State> {});
token!(InAnon<State> { reads!(); });
token!(InGlobal<State> { reads!(); writes!(); });
token!(NoneCx<State, R>, R {});
token!(AnonCx<State> { reads!(); });
token!(GlobalCx<State> { reads!(); writes!(); });
token!(DynCx<State> {
    fn read(&self) -> State {
        read(self.state().unwrap())
    }
    fn write(&mut self, k: u8) {
        write(self.state_mut().unwrap(), k);
    }
});

impl Shared {
    fn acts(&self, token: &mut impl Token, acts: &[Act]) {
        let ticket = token.number();
        for act in acts {
            match act {
                Act::Write(k) => token.write(*k),
                Act::Read => self.see(ticket, token.read()),
                Act::Panic => resume_unwind(Box::new("a panic of the program")),
                deferred => token.keep(self.action(ticket, deferred)),
            }
        }
    }
}

impl Shared {
    fn post(&self, e: Event) {
        let (s, d) = (self.clone(), &self.domain);
        if e.repairs {
            return d.clear_poison(move |g| {
                s.acts(g, &e.global[0]);
            });
        }
        match (e.form % 4, e.highest()) {
            (0, Context::Global) if e.is_whole() => d.global(move |g| {
                s.acts(g, &e.global[0]);
            }),
            (0, Context::Anon) if e.is_whole() => d.anon(move |a| {
                s.acts(a, &e.anon[0]);
            }),
            (0, Context::None) if e.is_whole() => d.none(move |n| {
                s.acts(n, &e.none[0]);
            }),
            (1, Context::Global) => d.event(move |n| s.typed_none(n, e, 0)),
            (1, _) => d.event_anon(move |n| s.typed_anon_at_most(n, e, 0)),
            (3, _) if e.is_for_tasks() => {
                let me = Me::default();
                let mine = me.clone();
                let task = d.spawn(move |n| s.in_task(n, e, mine));
                *me.0.lock().unwrap() = Some(task);
            }
            (_, highest) => d.event_dyn(highest, move |t| s.dynamic(t, e, Place::None(0))),
        }
    }

    /// The event as an async task.
    async fn in_task(
        self,
        mut n: NoneCx<State>,
        mut e: Event,
        me: Me,
    ) -> Result<(), dapple::JoinError> {
        loop {
            let Event { none, global, alone, anon, then, form, renounces, .. } = e;
            for acts in &none {
                self.acts_in_task(&mut n, acts, form, &me).await;
            }
            let in_global = self.clone();
            let mut a = match (global.is_empty(), alone.into_iter().next()) {
                (false, None) => {
                    let section = move |g: &mut InGlobal<State>| {
                        global.iter().for_each(|acts| in_global.acts(g, acts));
                    };
                    n.global(section).await?.1
                }
                (false, Some(alone)) => {
                    let at_once = self.clone();
                    let before = move |g: &mut InGlobal<State>| {
                        global.iter().for_each(|acts| in_global.acts(g, acts));
                    };
                    let alone = move |g: &mut InGlobal<State>, ()| {
                        at_once.effect(g.ticket().number(), AT_ONCE);
                        at_once.acts(g, &alone);
                    };
                    n.global_exclusive(before, alone).await?.1
                }
                (true, _) if !anon.is_empty() && renounces => n.renounce_global().anon().await?,
                (true, _) if !anon.is_empty() => n.anon().await?,
                (true, _) => match then {
                    None => return n.commit().await,
                    Some(then) => {
                        (n, e) = (n.commit_next().await?, *then);
                        continue;
                    }
                },
            };
            for acts in &anon {
                self.acts_in_task(&mut a, acts, form, &me).await;
            }
            match then {
                None => return a.commit().await,
                Some(then) => (n, e) = (a.commit_next().await?, *then),
            }
        }
    }

    /// A panic may be a cancellation instead, which costs the same.
    async fn acts_in_task(&self, token: &mut (impl Token + Send), acts: &[Act], form: u8, me: &Me) {
        for act in acts {
            if form & 8 != 0 {
                dapple::yield_now().await;
            }
            match act {
                Act::Panic if form & 4 != 0 => {
                    me.clone().cancel(&self.domain.runtime());
                    std::future::pending::<()>().await;
                }
                act => self.acts(token, std::slice::from_ref(act)),
            }
        }
    }

    fn typed_none(self, mut n: NoneCx<State>, e: Event, step: usize) -> Done {
        let Some(acts) = e.none.get(step) else {
            return n.upgrade_global_then(move |g| self.typed_global(g, e, 0));
        };
        self.acts(&mut n, acts);
        n.then(move |n| self.typed_none(n, e, step + 1))
    }

    fn typed_anon_at_most(self, mut n: NoneCx<State, MayAnon>, e: Event, step: usize) -> Done {
        let Some(acts) = e.none.get(step) else {
            return match e.anon.is_empty() {
                true if e.renounces => {
                    let n: NoneCx<State, NoneOnly> = n.renounce();
                    n.then(move |n| match e.then.clone() {
                        None => n.commit(),
                        Some(then) => n.commit_then(move |n| self.sub_event(n, *then)),
                    })
                }
                true => match e.then.clone() {
                    None => n.commit(),
                    Some(then) => n.commit_then(move |n| self.sub_event(n, *then)),
                },
                false => n.upgrade_anon_then(move |a| self.typed_anon(a, e, 0)),
            };
        };
        self.acts(&mut n, acts);
        n.then(move |n| self.typed_anon_at_most(n, e, step + 1))
    }

    fn typed_global(self, mut g: GlobalCx<State>, e: Event, step: usize) -> Done {
        if let Some(acts) = e.global.get(step) {
            self.acts(&mut g, acts);
            return g.then(move |g| self.typed_global(g, e, step + 1));
        }
        self.typed_alone(g, e, 0)
    }

    fn typed_alone(self, g: GlobalCx<State>, e: Event, step: usize) -> Done {
        if step < e.alone.len() {
            return g.exclusive_then(move |mut g| {
                self.effect(g.ticket().number(), AT_ONCE);
                self.acts(&mut g, &e.alone[step]);
                self.typed_alone(g, e, step + 1)
            });
        }
        match (e.anon.is_empty(), e.then.clone()) {
            (false, _) => g.downgrade_then(move |a| self.typed_anon(a, e, 0)),
            (true, None) => g.commit(),
            (true, Some(then)) => g.commit_then(move |n| self.sub_event(n, *then)),
        }
    }

    fn typed_anon(self, mut a: AnonCx<State>, e: Event, step: usize) -> Done {
        if let Some(acts) = e.anon.get(step) {
            self.acts(&mut a, acts);
            return a.then(move |a| self.typed_anon(a, e, step + 1));
        }
        match e.then.clone() {
            None => a.commit(),
            Some(then) => a.commit_then(move |n| self.sub_event(n, *then)),
        }
    }

    /// A sub-event has declared that it may go up to global.
    fn sub_event(self, mut n: NoneCx<State>, e: Event) -> Done {
        if e.highest() == Context::Global {
            return self.typed_none(n, e, 0);
        }
        if e.renounces {
            let n = n.renounce_global();
            return self.typed_anon_at_most(n, e, 0);
        }
        for acts in &e.none {
            self.acts(&mut n, acts);
        }
        match (e.anon.is_empty(), e.then.clone()) {
            (false, _) => n.upgrade_anon_then(move |a| self.typed_anon(a, e, 0)),
            (true, None) => n.commit(),
            (true, Some(then)) => n.commit_then(move |n| self.sub_event(n, *then)),
        }
    }

    fn dynamic(self, mut t: DynCx<State>, e: Event, place: Place) -> Done {
        let acts = match place {
            Place::None(i) => e.none.get(i),
            Place::Global(i) => e.global.get(i),
            Place::Alone(i) => e.alone.get(i),
            Place::Anon(i) => e.anon.get(i),
        };
        if let (Place::Alone(_), Some(_)) = (place, acts) {
            self.effect(t.ticket().number(), AT_ONCE);
        }
        if let Some(acts) = acts {
            self.acts(&mut t, acts);
        }
        let Some(next) = place.next(&e) else {
            return match e.then.clone() {
                None => t.commit(),
                Some(then) => {
                    t.commit_then(then.highest(), move |t| self.dynamic(t, *then, Place::None(0)))
                }
            };
        };
        match next {
            Place::None(_) => t.enter_then(Context::None, move |t| self.dynamic(t, e, next)),
            Place::Global(_) => t.enter_then(Context::Global, move |t| self.dynamic(t, e, next)),
            Place::Alone(_) => t.exclusive_then(move |t| self.dynamic(t, e, next)),
            Place::Anon(_) => t.enter_then(Context::Anon, move |t| self.dynamic(t, e, next)),
        }
        .unwrap()
    }
}

/// The handle of an event that is an async task; it may not be there yet.
#[derive(Clone, Default)]
struct Me(Arc<Mutex<Option<Task>>>);

type Task = JoinHandle<Result<(), dapple::JoinError>>;

impl Me {
    fn cancel(self, h: &Handle) {
        h.post_uncolored(move |cx| {
            let task = self.0.lock().unwrap().take();
            match task {
                Some(task) => task.abort(),
                None => self.cancel(&cx.handle()),
            }
        });
    }
}

/// Where an event of the dynamic form is.
#[derive(Clone, Copy)]
enum Place {
    None(usize),
    Global(usize),
    Alone(usize),
    Anon(usize),
}

impl Place {
    fn next(self, e: &Event) -> Option<Place> {
        let mut place = match self {
            Place::None(i) => Place::None(i + 1),
            Place::Global(i) => Place::Global(i + 1),
            Place::Alone(i) => Place::Alone(i + 1),
            Place::Anon(i) => Place::Anon(i + 1),
        };
        loop {
            place = match place {
                Place::None(i) if i >= e.none.len() => Place::Global(0),
                Place::Global(i) if i >= e.global.len() => Place::Alone(0),
                Place::Alone(i) if i >= e.alone.len() => Place::Anon(0),
                Place::Anon(i) if i >= e.anon.len() => return None,
                place => return Some(place),
            }
        }
    }
}

fn on_the_executor(
    program: &[Event],
    workers: usize,
    snapshot: bool,
    transactional: bool,
) -> Outcome {
    let rt = Runtime::builder().workers(workers).pin_cores(false).build().unwrap();
    let (h, state) = (rt.handle(), State::default());
    let domain = match (snapshot, transactional) {
        (true, false) => Domain::snapshot(&h, state),
        (false, false) => Domain::read_write(&h, state),
        (true, true) => Domain::builder().transactional().snapshot(&h, state),
        (false, true) => Domain::builder().transactional().read_write(&h, state),
    };
    let shared = Shared { domain: domain.clone(), log: Arc::default() };
    // Posted at one commit, so that all are there before the first one runs.
    let (all, program) = (shared.clone(), program.to_vec());
    domain.none(move |n| n.defer(move |_| program.into_iter().for_each(|e| all.post(e))));
    rt.wait_idle();
    assert_eq!(domain.uncommitted(), 0, "the order has stopped");
    let log = Arc::clone(&shared.log);
    domain.clear_poison(move |g| log.lock().unwrap().state = *g.state());
    rt.wait_idle();
    std::mem::take(&mut *shared.log.lock().unwrap())
}

proptest! {
    #![proptest_config(seeded(500))]

    #[test]
    fn i13_a_parallel_run_is_the_serial_one(
        program in prop::collection::vec(event(2), 1..12),
        workers in 1..=8usize,
        transactional: bool,
    ) {
        let expected = serial::run(&program, transactional);
        for (snapshot, workers) in [(true, workers), (false, workers), (true, 2), (false, 2)] {
            let found = on_the_executor(&program, workers, snapshot, transactional);
            prop_assert_eq!(
                &found, &expected,
                "workers: {}, snapshot: {}, transactional: {}", workers, snapshot, transactional
            );
        }
    }
}

//! Every interleaving of small programs of plain, shared and set events over several colors,
//! checked for C1, C2, C5, C6 and events that never run.
//!
//! A program is a list of posters, each with a list of posts, and a number of workers that share
//! one run queue. Every lock, place, link and unlock, and everything that a worker does to a color,
//! is a separate step. The search visits every reachable state once. The checks do not rely on the
//! step functions: the order of the places, and which events run, are recorded separately.
use std::collections::{HashSet, VecDeque};

use dapple_colors::Access::{self, Exclusive, Shared};
use dapple_colors::{
    Arrived, Excluded, Finished, Gathering, Left, Mailbox, Posted, Readers, Reserved, set::arrange,
};

type Post = Vec<(usize, Access)>;

struct Program {
    posters: Vec<Vec<Post>>,
    colors: usize,
    workers: usize,
    /// Posters are workers: they proceed at once with the colors of a set that were idle.
    on_workers: bool,
    fault: Fault,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Posters of sets take no locks.
    NoLocks,
    /// Posters of sets lock one color at a time, only while they take its place.
    OneLockAtATime,
    /// An exclusive event does not wait for readers.
    IgnoresReaders,
    /// A shared request of a set is let through and not counted as a reader.
    CountsNoRequest,
    /// A poster counts an exclusive request of an idle color as arrived although the color has
    /// readers.
    ReachesPastReaders,
}

/// The number of an event: 16 times its poster plus its index in the poster's list.
type Event = usize;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Poster {
    Next,
    /// Has taken this many locks.
    Locks(usize),
    /// Has places in this many queues. The last place is not linked yet if it is given here.
    Places(usize, Option<Reserved>),
    Unlocks(usize),
    /// Has queued this many of the colors that its posts made runnable.
    Queues(usize),
    /// Has proceeded with this many of the colors that it made runnable, and counted this many
    /// arrivals.
    Reaches(usize, usize),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Worker {
    Free,
    /// Has taken this color out of the run queue.
    Holds(usize),
    /// Holds this color, whose front is this event.
    Front(usize, Event),
    /// Runs an exclusive event of one color.
    Runs(usize, Event),
    /// Runs an event that stands in no queue: a shared one, or the event of a set.
    RunsFree(Event),
    /// Releases the colors of an event that has ended, from this index on.
    GivesBack(Event, usize),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Color {
    mailbox: Mailbox<Event>,
    readers: Readers,
    locked: bool,
    /// The events in the order of their places.
    placed: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    colors: Vec<Color>,
    /// The colors in the run queue.
    queued: Vec<usize>,
    /// The events in the run queue that stand in no color's queue.
    free: Vec<Event>,
    posters: Vec<(Poster, usize, Vec<usize>)>,
    workers: Vec<Worker>,
    gathering: Vec<(Event, Gathering)>,
    running: Vec<Event>,
    ended: Vec<Event>,
}

impl Program {
    /// Returns what an event wants, in order, each color once.
    fn wants(&self, event: Event) -> &Post {
        &self.posters[event / 16][event % 16]
    }

    fn access(&self, event: Event, color: usize) -> Access {
        let wants = self.wants(event);
        wants.iter().find(|w| w.0 == color).expect("it stands in this queue").1
    }

    fn events(&self) -> usize {
        self.posters.iter().map(Vec::len).sum()
    }
}

impl World {
    fn new(program: &Program) -> Self {
        let color = Color {
            mailbox: Mailbox::new(),
            readers: Readers::default(),
            locked: false,
            placed: Vec::new(),
        };
        World {
            colors: vec![color; program.colors],
            queued: Vec::new(),
            free: Vec::new(),
            posters: vec![(Poster::Next, 0, Vec::new()); program.posters.len()],
            workers: vec![Worker::Free; program.workers],
            gathering: Vec::new(),
            running: Vec::new(),
            ended: Vec::new(),
        }
    }

    fn queue(&mut self, color: usize) {
        self.queued.push(color);
        self.queued.sort_unstable();
    }

    fn poster_step(&self, p: usize, program: &Program) -> Option<World> {
        let mut w = self.clone();
        let (state, done, runnable) = &mut w.posters[p];
        let event = p * 16 + *done;
        program.posters[p].get(*done)?;
        let wants = program.wants(event);
        let all = wants.len();
        let locks = all > 1 && program.fault != Fault::NoLocks;
        let one_lock = program.fault == Fault::OneLockAtATime;
        if *state == Poster::Next {
            if all > 1 {
                w.gathering.push((event, Gathering::new(all)));
                w.gathering.sort_unstable_by_key(|g| g.0);
            }
            *state = match locks && !one_lock {
                true => Poster::Locks(0),
                false => Poster::Places(0, None),
            };
        }
        if *state == Poster::Places(all, None) {
            *state = match (locks && !one_lock, program.on_workers && all > 1) {
                (true, _) => Poster::Unlocks(0),
                (false, true) => Poster::Reaches(0, 0),
                (false, false) => Poster::Queues(0),
            };
        }
        match *state {
            Poster::Next => unreachable!("gone on from above"),
            Poster::Locks(n) => {
                let color = &mut w.colors[wants[n].0];
                if color.locked {
                    return None;
                }
                color.locked = true;
                *state = if n + 1 == all { Poster::Places(0, None) } else { Poster::Locks(n + 1) };
            }
            Poster::Places(n, Some(place)) => {
                w.colors[wants[n - 1].0].mailbox.link(place, event);
                *state = Poster::Places(n, None);
            }
            Poster::Places(n, None) => {
                let color = &mut w.colors[wants[n].0];
                if color.locked && locks && one_lock {
                    return None;
                }
                let (place, posted) = color.mailbox.take_place(event);
                color.placed.push(event);
                let open = match posted {
                    Posted::BecameRunnable => {
                        runnable.push(wants[n].0);
                        None
                    }
                    Posted::Behind => Some(place),
                };
                *state = Poster::Places(n + 1, open);
            }
            Poster::Unlocks(n) => {
                w.colors[wants[n].0].locked = false;
                *state = match (n + 1 == all, program.on_workers) {
                    (false, _) => Poster::Unlocks(n + 1),
                    (true, true) => Poster::Reaches(0, 0),
                    (true, false) => Poster::Queues(0),
                };
            }
            Poster::Reaches(n, arrived) => match runnable.get(n).copied() {
                Some(color) => {
                    let arrives = w.reach(color, event, program);
                    w.posters[p].0 = Poster::Reaches(n + 1, arrived + usize::from(arrives));
                }
                None => {
                    (*state, *done, *runnable) = (Poster::Next, *done + 1, Vec::new());
                    w.arrive_at_once(event, arrived);
                }
            },
            Poster::Queues(n) => match runnable.get(n).copied() {
                Some(color) => {
                    *state = Poster::Queues(n + 1);
                    w.queue(color);
                }
                None => (*state, *done, *runnable) = (Poster::Next, *done + 1, Vec::new()),
            },
        }
        Some(w)
    }

    /// Returns the worlds after the next step of worker `i`: one for each entry that it may take
    /// out of the run queue, or one for any other step.
    fn worker_steps(&self, i: usize, program: &Program) -> Vec<World> {
        if self.workers[i] == Worker::Free {
            let color = |at: usize| {
                let mut w = self.clone();
                w.workers[i] = Worker::Holds(w.queued.remove(at));
                w
            };
            let free = |at: usize| {
                let mut w = self.clone();
                let event = w.free.remove(at);
                w.starts(event, program);
                w.workers[i] = Worker::RunsFree(event);
                w
            };
            let colors = (0..self.queued.len()).map(color);
            return colors.chain((0..self.free.len()).map(free)).collect();
        }
        let mut w = self.clone();
        match self.workers[i].clone() {
            Worker::Free => unreachable!("done above"),
            Worker::Holds(color) => {
                let found = w.colors[color].mailbox.begin();
                w.follow(i, color, found);
            }
            Worker::Front(color, event) => w.front(i, color, event, program),
            Worker::Runs(color, event) => {
                w.ends(event);
                let found = w.colors[color].mailbox.finish();
                w.follow(i, color, found);
            }
            Worker::RunsFree(event) => {
                w.ends(event);
                w.workers[i] = Worker::GivesBack(event, 0);
            }
            Worker::GivesBack(event, n) => w.give_back(i, event, n, program),
        }
        vec![w]
    }

    fn front(&mut self, i: usize, color: usize, event: Event, program: &Program) {
        let is_set = program.wants(event).len() > 1;
        match program.access(event, color) {
            Shared => {
                if !(is_set && program.fault == Fault::CountsNoRequest) {
                    self.colors[color].readers.enter();
                }
                let found = self.colors[color].mailbox.finish();
                self.follow(i, color, found);
                match is_set {
                    true => self.arrive(event),
                    false => self.let_go(event),
                }
            }
            Exclusive => {
                let ignores = program.fault == Fault::IgnoresReaders;
                if !ignores && self.colors[color].readers.exclude() == Excluded::Waits {
                    self.workers[i] = Worker::Free;
                } else if is_set {
                    self.arrive(event);
                    self.workers[i] = Worker::Free;
                } else {
                    self.starts(event, program);
                    self.workers[i] = Worker::Runs(color, event);
                }
            }
        }
    }

    fn let_go(&mut self, event: Event) {
        self.free.push(event);
        self.free.sort_unstable();
    }

    fn arrive(&mut self, event: Event) {
        self.arrive_at_once(event, 1);
    }

    fn arrive_at_once(&mut self, event: Event, n: usize) {
        let (_, gathering) = self.gathering.iter_mut().find(|g| g.0 == event).expect("a set");
        if gathering.arrive_at_once(n) == Arrived::Complete {
            self.let_go(event);
        }
    }

    /// Proceeds, as a poster, with a color that was idle and whose front is the poster's request.
    /// Returns `true` if the request has arrived.
    fn reach(&mut self, color: usize, event: Event, program: &Program) -> bool {
        let target = &mut self.colors[color];
        assert_eq!(target.mailbox.begin(), Finished::Next(event), "the color was idle");
        if program.access(event, color) == Exclusive {
            let ignores = program.fault == Fault::ReachesPastReaders;
            return target.readers.exclude() == Excluded::Alone || ignores;
        }
        target.readers.enter();
        match target.mailbox.finish() {
            Finished::Idle => {}
            Finished::Gap => self.queue(color),
            Finished::Next(_) => {
                target.mailbox.yield_turn();
                self.queue(color);
            }
        }
        true
    }

    fn give_back(&mut self, i: usize, event: Event, n: usize, program: &Program) {
        let wants = program.wants(event);
        let (color, access) = wants[n];
        self.workers[i] = match n + 1 == wants.len() {
            true => Worker::Free,
            false => Worker::GivesBack(event, n + 1),
        };
        let uncounted = wants.len() > 1 && program.fault == Fault::CountsNoRequest;
        let target = &mut self.colors[color];
        match access {
            Shared if uncounted => {}
            Shared => {
                if target.readers.leave() == Left::Holds {
                    // The front has not run yet; the next turn looks at it again.
                    target.mailbox.yield_turn();
                    self.queue(color);
                }
            }
            Exclusive => match target.mailbox.finish() {
                Finished::Next(_) => {
                    target.mailbox.yield_turn();
                    self.queue(color);
                }
                Finished::Gap => self.queue(color),
                Finished::Idle => {}
            },
        }
    }

    fn follow(&mut self, i: usize, color: usize, found: Finished<Event>) {
        self.workers[i] = match found {
            Finished::Next(event) => Worker::Front(color, event),
            Finished::Idle => Worker::Free,
            Finished::Gap => {
                self.queue(color);
                Worker::Free
            }
        };
    }

    fn starts(&mut self, event: Event, program: &Program) {
        for &other in &self.running {
            for &(color, access) in program.wants(event) {
                let meets = program
                    .wants(other)
                    .iter()
                    .any(|w| w.0 == color && (w.1 == Exclusive || access == Exclusive));
                assert!(!meets, "C1, C5: {event} and {other} overlap on {color}");
            }
        }
        for &(color, access) in program.wants(event) {
            for &before in self.colors[color].placed.iter().take_while(|e| **e != event) {
                let both_shared = access == Shared && program.access(before, color) == Shared;
                let done = self.ended.contains(&before);
                assert!(both_shared || done, "C2: {event} starts before {before} has ended");
            }
        }
        self.running.push(event);
        self.running.sort_unstable();
    }

    fn ends(&mut self, event: Event) {
        self.running.retain(|e| *e != event);
        self.ended.push(event);
        self.ended.sort_unstable();
    }
}

struct Found {
    states: usize,
    /// The maximum number of events that ran at the same time.
    at_once: usize,
}

fn explore(program: &Program) -> Found {
    let start = World::new(program);
    let mut seen = HashSet::from([start.clone()]);
    let mut todo = VecDeque::from([start]);
    let mut at_once = 0;
    while let Some(world) = todo.pop_front() {
        at_once = at_once.max(world.running.len());
        let posters = (0..program.posters.len()).filter_map(|p| world.poster_step(p, program));
        let workers = (0..program.workers).flat_map(|i| world.worker_steps(i, program));
        let mut stuck = true;
        for next in posters.chain(workers) {
            stuck = false;
            if seen.insert(next.clone()) {
                todo.push_back(next);
            }
        }
        if stuck {
            let done = world.ended.len() == program.events();
            assert!(done, "C6: events wait for ever: {world:?}");
            let idle = world.colors.iter().all(|c| c.mailbox.is_idle() && c.readers.word() == 0);
            assert!(idle, "a color is not idle at the end: {world:?}");
        }
    }
    Found { states: seen.len(), at_once }
}

fn program(colors: usize, posters: &[&[&[(usize, Access)]]]) -> Program {
    let arranged = |post: &&[(usize, Access)]| {
        let mut wants = post.to_vec();
        let colors = arrange(&mut wants);
        wants.truncate(colors);
        wants
    };
    let posters = posters.iter().map(|p| p.iter().map(arranged).collect()).collect();
    Program { posters, colors, workers: 2, on_workers: false, fault: Fault::None }
}

const A: (usize, Access) = (0, Exclusive);
const B: (usize, Access) = (1, Exclusive);
const C: (usize, Access) = (2, Exclusive);
const RA: (usize, Access) = (0, Shared);
const RB: (usize, Access) = (1, Shared);
const RC: (usize, Access) = (2, Shared);

/// Returns programs whose posters' sets and plain posts wait for each other in every way that up to
/// three posters can produce.
fn meeting() -> Vec<Program> {
    vec![
        program(2, &[&[&[A, B]], &[&[B, A]]]),
        program(2, &[&[&[A, B], &[A]], &[&[B, A], &[B]]]),
        program(2, &[&[&[A, B]], &[&[A], &[A, B]]]),
        program(2, &[&[&[A, B]], &[&[A]], &[&[A, B]]]),
        program(3, &[&[&[A, B]], &[&[B, C]], &[&[C, A]]]),
        program(2, &[&[&[RA, B]], &[&[A, RB]], &[&[RA, RB]]]),
        program(2, &[&[&[RA, B], &[RA]], &[&[A, RB]]]),
        program(3, &[&[&[RA, RB, C]], &[&[A, RB], &[RC]]]),
        program(2, &[&[&[A, RA, B]], &[&[RB, B], &[A, B]]]),
    ]
}

#[test]
fn c5_shared_events_run_at_once_and_exclusive_ones_alone() {
    for posters in [
        &[&[&[RA] as &[_], &[A], &[RA]] as &[&[_]], &[&[RA], &[A]]] as &[&[&[_]]],
        &[&[&[RA], &[RA], &[A]], &[&[A], &[RA]]],
        &[&[&[RA]], &[&[RA]], &[&[A], &[RA]]],
    ] {
        let found = explore(&program(1, posters));
        assert!(found.states > 1_000, "{} states: not a real search", found.states);
        assert_eq!(found.at_once, 2, "shared events can overlap");
    }
}

#[test]
fn c6_sets_that_meet_all_run() {
    for (n, program) in meeting().iter().enumerate() {
        let found = explore(program);
        println!("program {n}: {} states", found.states);
        assert!(found.states > 200, "program {n}: {} states: not a real search", found.states);
    }
}

#[test]
fn c6_sets_that_are_posted_on_workers_all_run() {
    for (n, program) in meeting().into_iter().enumerate() {
        let found = explore(&Program { on_workers: true, ..program });
        assert!(found.states > 200, "program {n}: {} states: not a real search", found.states);
    }
}

/// Explores a program with a fault, and returns the message of the assertion that fails.
fn verdict(program: Program) -> Option<String> {
    let explored = std::panic::catch_unwind(|| explore(&program));
    explored.err().map(|p| *p.downcast::<String>().expect("an assertion's message"))
}

fn assert_caught(fault: Fault, with: &str) {
    let small = meeting().into_iter().filter(|p| p.events() < 4);
    let on_workers = fault == Fault::ReachesPastReaders;
    let mut verdicts = small.map(|p| Program { fault, on_workers, ..p }).filter_map(verdict);
    assert!(verdicts.any(|v| v.starts_with(with)), "no program shows it");
}

#[test]
fn c6_posters_without_locks_are_caught() {
    assert_caught(Fault::NoLocks, "C6");
}

#[test]
fn c6_posters_that_hold_one_lock_at_a_time_are_caught() {
    assert_caught(Fault::OneLockAtATime, "C6");
}

#[test]
fn c5_an_exclusive_event_that_ignores_readers_is_caught() {
    assert_caught(Fault::IgnoresReaders, "C2");
}

#[test]
fn c6_a_shared_request_that_is_not_counted_is_caught() {
    assert_caught(Fault::CountsNoRequest, "C2");
}

#[test]
fn c6_a_poster_that_goes_past_readers_is_caught() {
    assert_caught(Fault::ReachesPastReaders, "C2");
}

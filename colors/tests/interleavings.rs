//! Every interleaving of small programs over the mailbox, checked for C1, C2 and lost events.
//!
//! A program is a number of posters, each with a list of posts, and a number of workers that share
//! one run queue. Events may post to their own color. Taking a place, linking it, putting the color
//! into the run queue, taking it out, running and finishing are separate steps, so a poster may
//! pause between any two of them. The search visits every reachable state once.
use std::collections::{HashSet, VecDeque};

use dapple_colors::{Finished, Mailbox, Posted, Reserved};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Poster {
    Ready,
    Placed(Reserved),
    MustQueue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Worker {
    Free,
    Holds,
    /// Runs this event, which has this many posts to its own color left.
    Runs(u8, u8),
    /// Does the same as `Runs`, and has taken this place for its next post, because another place
    /// is behind the event.
    Placed(u8, u8, Reserved),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    mailbox: Mailbox<u8>,
    run_queue: usize,
    posters: Vec<(Poster, u8)>,
    workers: Vec<Worker>,
    /// The events in the order in which they took their places.
    placed: Vec<u8>,
    /// The events in the order in which they ended.
    ended: Vec<u8>,
}

struct Program {
    posts_each: u8,
    /// Whether a worker ends its turn after every event instead of going on.
    yields: bool,
    /// The number of posts of each poster's event to its own color.
    own: u8,
}

/// The mark of an event that was posted by an event to its own color.
const OWN: u8 = 0x80;

impl Program {
    fn runs(&self, event: u8) -> Worker {
        Worker::Runs(event, if event & OWN == 0 { self.own } else { 0 })
    }
}

impl World {
    fn new(posters: usize, workers: usize) -> Self {
        World {
            mailbox: Mailbox::new(),
            run_queue: 0,
            posters: vec![(Poster::Ready, 0); posters],
            workers: vec![Worker::Free; workers],
            placed: Vec::new(),
            ended: Vec::new(),
        }
    }

    fn poster_step(&self, p: usize, program: &Program) -> Option<World> {
        let mut w = self.clone();
        let (state, done) = w.posters[p];
        let event = (p as u8) * 16 + done;
        match state {
            Poster::Ready if done == program.posts_each => return None,
            Poster::Ready => {
                let (place, posted) = w.mailbox.take_place(event);
                w.placed.push(event);
                w.posters[p].0 = match posted {
                    Posted::BecameRunnable => Poster::MustQueue,
                    Posted::Behind => Poster::Placed(place),
                };
            }
            Poster::Placed(place) => {
                w.mailbox.link(place, event);
                w.posters[p] = (Poster::Ready, done + 1);
            }
            Poster::MustQueue => {
                w.run_queue += 1;
                w.posters[p] = (Poster::Ready, done + 1);
            }
        }
        Some(w)
    }

    fn worker_step(&self, i: usize, program: &Program) -> Option<World> {
        let mut w = self.clone();
        match w.workers[i] {
            Worker::Free => {
                if w.run_queue == 0 {
                    return None;
                }
                w.run_queue -= 1;
                w.workers[i] = Worker::Holds;
            }
            Worker::Holds => {
                let found = w.mailbox.begin();
                w.follow(i, found, program);
            }
            Worker::Runs(event, left @ 1..) => {
                let own = event | OWN | (left << 5);
                w.placed.push(own);
                w.workers[i] = match w.mailbox.keep(own) {
                    true => Worker::Runs(event, left - 1),
                    false => {
                        let (place, posted) = w.mailbox.take_place(own);
                        assert_eq!(posted, Posted::Behind, "a running color is not idle");
                        Worker::Placed(event, left, place)
                    }
                };
            }
            Worker::Placed(event, left, place) => {
                w.mailbox.link(place, event | OWN | (left << 5));
                w.workers[i] = Worker::Runs(event, left - 1);
            }
            Worker::Runs(event, 0) => {
                w.ended.push(event);
                let found = w.mailbox.finish();
                if program.yields && matches!(found, Finished::Next(_)) {
                    w.mailbox.yield_turn();
                    w.run_queue += 1;
                    w.workers[i] = Worker::Free;
                } else {
                    w.follow(i, found, program);
                }
            }
        }
        Some(w)
    }

    fn follow(&mut self, i: usize, found: Finished<u8>, program: &Program) {
        self.workers[i] = match found {
            Finished::Next(e) => program.runs(e),
            Finished::Idle => Worker::Free,
            Finished::Gap => {
                self.run_queue += 1;
                Worker::Free
            }
        };
    }

    fn check(&self) {
        let running = self.workers.iter().filter(|w| **w != Worker::Free).count();
        assert!(running + self.run_queue <= 1, "C1: the color is in two places: {self:?}");
        assert!(self.placed.starts_with(&self.ended), "C2: order of places is not kept: {self:?}");
    }
}

fn explore(posters: usize, workers: usize, program: &Program) -> (usize, usize) {
    let start = World::new(posters, workers);
    let mut seen = HashSet::from([start.clone()]);
    let mut todo = VecDeque::from([start]);
    let mut ends = 0;
    while let Some(world) = todo.pop_front() {
        world.check();
        let steps = (0..posters)
            .filter_map(|p| world.poster_step(p, program))
            .chain((0..workers).filter_map(|i| world.worker_step(i, program)));
        let mut stuck = true;
        for next in steps {
            stuck = false;
            if seen.insert(next.clone()) {
                todo.push_back(next);
            }
        }
        if stuck {
            ends += 1;
            assert!(world.mailbox.is_idle() && world.mailbox.is_empty(), "lost color: {world:?}");
            let events = posters * usize::from(program.posts_each * (1 + program.own));
            assert_eq!(world.ended.len(), events, "lost event");
        }
    }
    (seen.len(), ends)
}

#[test]
fn c1_c2_two_posters_two_workers() {
    for yields in [false, true] {
        let (states, ends) = explore(2, 2, &Program { posts_each: 3, yields, own: 0 });
        assert!(states > 1_000 && ends > 1, "{states} states, {ends} ends: not a real search");
    }
}

#[test]
fn c1_c2_three_posters_two_workers() {
    for yields in [false, true] {
        let (states, _) = explore(3, 2, &Program { posts_each: 2, yields, own: 0 });
        assert!(states > 10_000, "{states} states: not a real search");
    }
}

#[test]
fn c1_c2_events_that_post_to_their_own_color() {
    for yields in [false, true] {
        let (states, ends) = explore(2, 2, &Program { posts_each: 2, yields, own: 2 });
        assert!(states > 10_000 && ends > 1, "{states} states, {ends} ends: not a real search");
    }
}

/// The search can fail: a color that every poster puts into the run queue breaks C1.
#[test]
#[should_panic(expected = "C1")]
fn a_poster_that_always_queues_is_caught() {
    let mut w = World::new(1, 1);
    let program = Program { posts_each: 2, yields: false, own: 0 };
    for _ in 0..2 {
        w = w.poster_step(0, &program).unwrap();
        w.posters[0].0 = Poster::MustQueue;
        w = w.poster_step(0, &program).unwrap();
    }
    w.check();
}

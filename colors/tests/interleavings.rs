//! Every interleaving of small programs over the mailbox, checked for C1, C2 and lost events.
//!
//! A program is a number of posters, each with a list of posts, and a number of workers that
//! share one run queue. Taking a place, linking it, putting the color into the run queue, taking it
//! out, running and finishing are steps of their own, so a poster may stand still between any two
//! of them. The search visits every reachable state once.
use std::collections::{HashSet, VecDeque};

use dapple_colors::{Finished, Mailbox, Place, Posted};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Poster {
    Ready,
    Placed(Place),
    MustQueue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Worker {
    Free,
    Holds,
    Runs(u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    mailbox: Mailbox<u8>,
    run_queue: usize,
    posters: Vec<(Poster, u8)>,
    workers: Vec<Worker>,
    /// Events in the order in which they took their places, and in which they ended.
    placed: Vec<u8>,
    ended: Vec<u8>,
}

struct Program {
    posts_each: u8,
    /// A worker ends its turn after every event instead of going on.
    yields: bool,
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
                w.follow(i, found);
            }
            Worker::Runs(event) => {
                w.ended.push(event);
                let found = w.mailbox.finish();
                if program.yields && matches!(found, Finished::Next(_)) {
                    w.mailbox.yield_turn();
                    w.run_queue += 1;
                    w.workers[i] = Worker::Free;
                } else {
                    w.follow(i, found);
                }
            }
        }
        Some(w)
    }

    fn follow(&mut self, i: usize, found: Finished<u8>) {
        self.workers[i] = match found {
            Finished::Next(e) => Worker::Runs(e),
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
            assert_eq!(world.ended.len(), posters * program.posts_each as usize, "lost event");
        }
    }
    (seen.len(), ends)
}

#[test]
fn c1_c2_two_posters_two_workers() {
    for yields in [false, true] {
        let (states, ends) = explore(2, 2, &Program { posts_each: 3, yields });
        assert!(states > 1_000 && ends > 1, "{states} states, {ends} ends: not a real search");
    }
}

#[test]
fn c1_c2_three_posters_two_workers() {
    for yields in [false, true] {
        let (states, _) = explore(3, 2, &Program { posts_each: 2, yields });
        assert!(states > 10_000, "{states} states: not a real search");
    }
}

/// The search can fail: a run queue that gets the color from every poster breaks C1.
#[test]
#[should_panic(expected = "C1")]
fn a_poster_that_always_queues_is_caught() {
    let mut w = World::new(1, 1);
    let program = Program { posts_each: 2, yields: false };
    for _ in 0..2 {
        w = w.poster_step(0, &program).unwrap();
        w.posters[0].0 = Poster::MustQueue;
        w = w.poster_step(0, &program).unwrap();
    }
    w.check();
}

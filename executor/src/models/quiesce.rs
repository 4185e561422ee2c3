//! E16: the check that a runtime is at rest.
//!
//! The model has the two steps of a post: the swap of a queue's tail, and the push to a run queue.
//! A worker posts while it sleeps or spins. Another thread posts behind it, and waits for rest. The
//! sleep protocol and the waiting are the real ones.

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::model;
use crate::runtime::quiesce::Quiesce;
use crate::worker::sleep::SleepState;

/// The parts of a color's word. `QUEUED` adds one to both counts: of the events that were ever
/// queued (upper bits), and of those that still are (lower 8 bits). `PENDING` is the mask of the
/// latter.
const QUEUED: usize = 0x101;
const PENDING: usize = 0xff;

/// Two workers and a color. Worker 0 has a run queue, which is its inbox, too, and serves it. The
/// other worker only posts.
struct World {
    sleep: SleepState,
    quiesce: Quiesce,
    /// The color: in the upper bits the number of events that were ever queued, in the lower 8 bits
    /// the number of those that are still queued.
    color: AtomicUsize,
    /// The number of times that the color stands in the run queue.
    run_queue: AtomicUsize,
    ran: AtomicUsize,
    token: Mutex<bool>,
    unparked: Condvar,
    /// Whether nobody posts any longer.
    ends: AtomicBool,
}

impl World {
    fn new(workers: usize) -> Arc<World> {
        Arc::new(World {
            sleep: SleepState::new(workers),
            quiesce: Quiesce::new(),
            color: AtomicUsize::new(0),
            run_queue: AtomicUsize::new(0),
            ran: AtomicUsize::new(0),
            token: Mutex::new(false),
            unparked: Condvar::new(),
            ends: AtomicBool::new(false),
        })
    }

    /// Does the first step of a post. Returns the index of the event in the color, and whether the
    /// color has to be queued.
    fn append(&self) -> (usize, bool) {
        let before = self.color.fetch_add(QUEUED, Ordering::AcqRel);
        (before >> 8, before & PENDING == 0)
    }

    /// Does the second step of a post of worker 0.
    fn queue(&self) {
        self.run_queue.fetch_add(1, Ordering::Release);
    }

    /// Does the second step of a post from elsewhere.
    fn inject(&self) {
        self.queue();
        fence(Ordering::SeqCst);
        if self.sleep.claim(0).is_some() {
            self.unpark();
        }
    }

    fn unpark(&self) {
        *self.token.lock().unwrap() = true;
        self.unparked.notify_one();
    }

    fn park(&self) {
        let mut token = self.token.lock().unwrap();
        while !std::mem::take(&mut *token) {
            token = self.unparked.wait(token).unwrap();
        }
    }

    /// Runs the events that are in the run queue.
    fn serve(&self) {
        while self.run_queue.load(Ordering::Acquire) > 0 {
            self.run_queue.fetch_sub(1, Ordering::AcqRel);
            loop {
                self.ran.fetch_add(1, Ordering::Relaxed);
                if self.color.fetch_sub(1, Ordering::AcqRel) & PENDING == 1 {
                    break;
                }
            }
        }
    }

    fn goes_idle(&self, worker: usize) {
        self.sleep.announce(worker);
        self.quiesce.worker_went_idle();
    }

    /// Runs the loop of worker 0, which is busy at first.
    fn work(&self) {
        loop {
            self.serve();
            self.goes_idle(0);
            if self.run_queue.load(Ordering::Acquire) == 0 {
                if self.ends.load(Ordering::Acquire) {
                    return;
                }
                self.park();
            }
            self.sleep.rise(0);
        }
    }

    /// Waits until nothing runs and nothing is queued.
    fn wait(&self) {
        let is_empty = || self.run_queue.load(Ordering::Acquire) == 0;
        self.quiesce.wait_until(|| self.quiesce.is_at_rest(&self.sleep, is_empty));
    }

    /// Notes that nobody posts any longer, and wakes worker 0.
    fn end(&self) {
        self.ends.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.sleep.claim(0).is_some() {
            self.unpark();
        }
    }
}

/// Runs a worker whose poller posts while the worker sleeps or spins, with or without rising
/// before. A second thread posts, possibly between the two steps of that post, and waits for rest.
fn idle_poster(spins: bool, rises: bool) {
    model(move || {
        let world = World::new(1);
        match spins {
            true => world.sleep.announce_spinning(0),
            false => world.goes_idle(0),
        }
        let worker = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                if rises {
                    world.sleep.rise(0);
                }
                if let (_, true) = world.append() {
                    world.queue();
                }
                if !rises {
                    world.sleep.rise(0);
                }
                world.work();
            })
        };
        world.quiesce.enter();
        let (index, is_first) = world.append();
        if is_first {
            world.inject();
        }
        world.quiesce.leave();
        world.wait();
        assert!(world.ran.load(Ordering::Relaxed) > index, "an event that was posted has not run");
        world.end();
        worker.join().unwrap();
    });
}

/// E16: an event that lands behind the post of an idle worker is seen.
#[test]
fn e16_nobody_posts_behind_a_worker_that_is_taken_to_be_idle() {
    idle_poster(false, true);
    idle_poster(true, true);
}

/// E16: the model can fail: without the rise, an event is lost.
#[test]
#[should_panic = "has not run"]
fn e16_a_sleeping_worker_that_does_not_rise_loses_an_event() {
    idle_poster(false, false);
}

#[test]
#[should_panic = "has not run"]
fn e16_a_spinning_worker_that_does_not_rise_loses_an_event() {
    idle_poster(true, false);
}

/// E16: a busy worker hands work to one that sleeps, and goes to sleep itself.
#[test]
fn e16_work_on_its_way_between_workers_is_seen() {
    model(|| {
        let world = World::new(2);
        let poster = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                if let (_, true) = world.append() {
                    world.inject();
                }
                world.goes_idle(1);
            })
        };
        let worker = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.work())
        };
        world.wait();
        assert_eq!(world.ran.load(Ordering::Relaxed), 1);
        world.end();
        poster.join().unwrap();
        worker.join().unwrap();
    });
}

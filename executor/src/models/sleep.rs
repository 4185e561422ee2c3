//! E4, E7, E18: which worker sleeps, which one is woken, which one watches.

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::model;
use crate::worker::sleep::SleepState;

/// Workers with an inbox each, reduced to what the sleep protocol needs.
struct World {
    sleep: SleepState,
    inbox: Vec<AtomicUsize>,
    unparked: Vec<loom::sync::Condvar>,
    tokens: Vec<Mutex<bool>>,
}

impl World {
    fn new(workers: usize) -> Arc<World> {
        Arc::new(World {
            sleep: SleepState::new(workers),
            inbox: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            unparked: (0..workers).map(|_| loom::sync::Condvar::new()).collect(),
            tokens: (0..workers).map(|_| Mutex::new(false)).collect(),
        })
    }

    fn unpark(&self, w: usize) {
        *self.tokens[w].lock().unwrap() = true;
        self.unparked[w].notify_one();
    }

    fn park(&self, w: usize) {
        let mut token = self.tokens[w].lock().unwrap();
        while !*token {
            token = self.unparked[w].wait(token).unwrap();
        }
        *token = false;
    }

    fn inject(&self, w: usize) {
        self.inbox[w].fetch_add(1, Ordering::Relaxed);
        loom::sync::atomic::fence(Ordering::SeqCst);
        if self.sleep.claim(w).is_some() {
            self.unpark(w);
        }
    }
}

/// E7: a worker that goes to sleep while something is put into its inbox gets it. A lost wakeup is
/// a deadlock, which loom reports.
#[test]
fn e7_no_wake_up_is_lost() {
    model(|| {
        let world = World::new(1);
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.inject(0))
            })
            .collect();
        let mut got = 0;
        while got < 2 {
            got += world.inbox[0].swap(0, Ordering::Relaxed);
            if got < 2 {
                world.sleep.announce(0);
                if world.inbox[0].load(Ordering::Relaxed) == 0 {
                    world.park(0);
                }
                world.sleep.rise(0);
            }
        }
        for poster in posters {
            poster.join().unwrap();
        }
    });
}

/// E4: of a worker that finds work and a worker that goes to sleep without a limit, one sees the
/// other: the sleeper stays sentinel, or is called back.
#[test]
fn e4_a_busy_worker_is_watched() {
    model(|| {
        let world = World::new(2);
        // Worker 0 was idle, rises, finds work, and calls a sentinel if there is none.
        world.sleep.announce(0);
        let sleeper = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.sleep.announce(1);
                if world.sleep.become_sentinel(1) {
                    world.sleep.resign_as_sentinel(1);
                }
                // `true` means that it stays sentinel, `false` that it sleeps without a limit.
                world.sleep.others_busy(1) && world.sleep.become_sentinel(1)
            })
        };
        world.sleep.rise(0);
        let called = world.sleep.needs_sentinel() && world.sleep.claim_any(1).is_some();
        let watches = sleeper.join().unwrap();
        // A sleeper that announces itself after worker 0 has looked is not seen, but it looks
        // itself.
        assert!(called || watches, "nobody watches a busy worker");
    });
}

/// E4: the sentinel is woken for something else, finds nothing, and goes to sleep again. It sleeps
/// with a limit or, if it has seen nobody busy for some time, without one. Meanwhile the other
/// worker finds work. In its last sleep the sentinel watches, or is called.
#[test]
fn e4_a_sentinel_that_rises_and_sleeps_again_still_watches() {
    for is_quiet in [false, true] {
        model(move || {
            let world = World::new(2);
            world.sleep.announce(0);
            world.sleep.announce(1);
            assert!(world.sleep.become_sentinel(1));
            let sentinel = {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    world.sleep.rise(1);
                    world.sleep.announce(1);
                    if is_quiet && !world.sleep.others_busy(1) {
                        world.sleep.resign_as_sentinel(1);
                        return world.sleep.others_busy(1) && world.sleep.become_sentinel(1);
                    }
                    world.sleep.become_sentinel(1)
                })
            };
            world.sleep.rise(0);
            let called = world.sleep.needs_sentinel() && world.sleep.claim_any(1).is_some();
            let watches = sentinel.join().unwrap();
            // A worker that can be claimed now sleeps, and was not called since it went to sleep.
            let sleeps_on = world.sleep.claim(1).is_some();
            assert!(watches || !sleeps_on, "called: {called}, and nobody watches");
        });
    }
}

/// E4, E7: a thread that takes the worker to be stuck looks at the worker's poller, and may read
/// there what was to wake it.
#[test]
fn e4_a_look_at_the_poller_of_another_loses_no_wake_up() {
    model(|| {
        let world = World::new(1);
        let poster = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.inject(0))
        };
        let rescuer = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                *world.tokens[0].lock().unwrap() = false;
                if world.sleep.may_be_woken(0) {
                    world.unpark(0);
                }
            })
        };
        while world.inbox[0].swap(0, Ordering::Relaxed) == 0 {
            world.sleep.announce(0);
            if world.inbox[0].load(Ordering::Relaxed) == 0 {
                world.park(0);
            }
            world.sleep.rise(0);
        }
        poster.join().unwrap();
        rescuer.join().unwrap();
    });
}

/// E18: a thread that leaves the runtime while something is put into its inbox finds it, or is told
/// by its poller.
#[test]
fn e18_who_goes_away_misses_nothing() {
    model(|| {
        let world = World::new(1);
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.inject(0))
            })
            .collect();
        let mut got = 0;
        while got < 2 {
            got += world.inbox[0].swap(0, Ordering::Relaxed);
            if got < 2 {
                world.sleep.go_away(0);
                if world.inbox[0].load(Ordering::Relaxed) == 0 {
                    // This stands for a loop of the program's own, which waits for the poller.
                    world.park(0);
                }
                world.sleep.rise(0);
            }
        }
        for poster in posters {
            poster.join().unwrap();
        }
    });
}

/// E4, E18: a thread that looks for any sleeper, to have a busy worker watched, never gets a worker
/// that is away. Such a worker can only be claimed by its number, and the claim says that it was
/// away.
#[test]
fn e18_who_is_away_is_no_sentinel() {
    model(|| {
        let world = World::new(2);
        // Worker 0 is away, comes back, sleeps, and is away again.
        world.sleep.go_away(0);
        world.sleep.announce(1);
        let goes_and_comes = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.sleep.rise(0);
                world.sleep.announce(0);
                world.sleep.rise(0);
                world.sleep.go_away(0);
            })
        };
        let first = world.sleep.claim_any(0);
        assert!(first.is_some(), "worker 1 sleeps");
        let second = world.sleep.claim_any(0);
        goes_and_comes.join().unwrap();
        assert!(first != second, "{first:?} twice");
        if first == Some(1) && second.is_none() {
            // No thread has claimed worker 0 since it went away.
            assert_eq!(world.sleep.claim(0), Some(crate::worker::sleep::Claimed::Away));
        }
        assert_eq!(world.sleep.claim_any(0), None);
    });
}

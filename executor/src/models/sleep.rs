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
        let site = World::new(1);
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let site = Arc::clone(&site);
                thread::spawn(move || site.inject(0))
            })
            .collect();
        let mut got = 0;
        while got < 2 {
            got += site.inbox[0].swap(0, Ordering::Relaxed);
            if got < 2 {
                site.sleep.announce(0);
                if site.inbox[0].load(Ordering::Relaxed) == 0 {
                    site.park(0);
                }
                site.sleep.rise(0);
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
        let site = World::new(2);
        // Worker 0 was idle, rises, finds work, and calls a sentinel if there is none.
        site.sleep.announce(0);
        let sleeper = {
            let site = Arc::clone(&site);
            thread::spawn(move || {
                site.sleep.announce(1);
                if site.sleep.become_sentinel(1) {
                    site.sleep.resign_as_sentinel(1);
                }
                // `true` means that it stays sentinel, `false` that it sleeps without a limit.
                site.sleep.others_busy(1) && site.sleep.become_sentinel(1)
            })
        };
        site.sleep.rise(0);
        let called = site.sleep.needs_sentinel() && site.sleep.claim_any(1).is_some();
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
            let site = World::new(2);
            site.sleep.announce(0);
            site.sleep.announce(1);
            assert!(site.sleep.become_sentinel(1));
            let sentinel = {
                let site = Arc::clone(&site);
                thread::spawn(move || {
                    site.sleep.rise(1);
                    site.sleep.announce(1);
                    if is_quiet && !site.sleep.others_busy(1) {
                        site.sleep.resign_as_sentinel(1);
                        return site.sleep.others_busy(1) && site.sleep.become_sentinel(1);
                    }
                    site.sleep.become_sentinel(1)
                })
            };
            site.sleep.rise(0);
            let called = site.sleep.needs_sentinel() && site.sleep.claim_any(1).is_some();
            let watches = sentinel.join().unwrap();
            // A worker that can be claimed now sleeps, and was not called since it went to sleep.
            let sleeps_on = site.sleep.claim(1).is_some();
            assert!(watches || !sleeps_on, "called: {called}, and nobody watches");
        });
    }
}

/// E4, E7: a thread that takes the worker to be stuck looks at the worker's poller, and may read
/// there what was to wake it.
#[test]
fn e4_a_look_at_the_poller_of_another_loses_no_wake_up() {
    model(|| {
        let site = World::new(1);
        let poster = {
            let site = Arc::clone(&site);
            thread::spawn(move || site.inject(0))
        };
        let rescuer = {
            let site = Arc::clone(&site);
            thread::spawn(move || {
                *site.tokens[0].lock().unwrap() = false;
                if site.sleep.may_be_woken(0) {
                    site.unpark(0);
                }
            })
        };
        while site.inbox[0].swap(0, Ordering::Relaxed) == 0 {
            site.sleep.announce(0);
            if site.inbox[0].load(Ordering::Relaxed) == 0 {
                site.park(0);
            }
            site.sleep.rise(0);
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
        let site = World::new(1);
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let site = Arc::clone(&site);
                thread::spawn(move || site.inject(0))
            })
            .collect();
        let mut got = 0;
        while got < 2 {
            got += site.inbox[0].swap(0, Ordering::Relaxed);
            if got < 2 {
                site.sleep.go_away(0);
                if site.inbox[0].load(Ordering::Relaxed) == 0 {
                    // This stands for a loop of the program's own, which waits for the poller.
                    site.park(0);
                }
                site.sleep.rise(0);
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
        let site = World::new(2);
        // Worker 0 is away, comes back, sleeps, and is away again.
        site.sleep.go_away(0);
        site.sleep.announce(1);
        let goes_and_comes = {
            let site = Arc::clone(&site);
            thread::spawn(move || {
                site.sleep.rise(0);
                site.sleep.announce(0);
                site.sleep.rise(0);
                site.sleep.go_away(0);
            })
        };
        let first = site.sleep.claim_any(0);
        assert!(first.is_some(), "worker 1 sleeps");
        let second = site.sleep.claim_any(0);
        goes_and_comes.join().unwrap();
        assert!(first != second, "{first:?} twice");
        if first == Some(1) && second.is_none() {
            // No thread has claimed worker 0 since it went away.
            assert_eq!(site.sleep.claim(0), Some(crate::worker::sleep::Claimed::Away));
        }
        assert_eq!(site.sleep.claim_any(0), None);
    });
}

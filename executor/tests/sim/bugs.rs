//! Small programs with a fault each, which is found, told in a few pauses, and comes back.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dapple::sim::{self, Config, Failure, Sim};
use dapple::{Cx, Domain, Handle, Rendezvous};

use super::{color, start};

/// The failure of a program that has a fault: of at most a thousand seeds, told in at most ten
/// pauses, and failing again when it is replayed, also from its text.
fn found(body: impl Fn(&Sim) + Clone + 'static) -> Failure {
    let config = Config::new();
    let failure = sim::find(&config, body.clone()).expect("no seed finds it");
    println!("{failure}");
    assert!(failure.pauses <= 10, "{failure}");
    let saved: sim::Saved = failure.saved.to_string().parse().unwrap();
    assert_eq!(saved, failure.saved);
    let again = sim::replay(&config, &saved, body).failure;
    assert_eq!(again.as_ref(), Some(&failure.message));
    failure
}

#[test]
fn e13_a_check_and_an_act_in_two_events() {
    let failure = found(|_| {
        let rt = start(2);
        let balance = Arc::new(AtomicI64::new(100));
        for label in ["one", "two"] {
            let balance = Arc::clone(&balance);
            rt.handle().post(&color(&rt.handle(), label), move |cx| {
                if balance.load(SeqCst) >= 100 {
                    cx.post_here(move |_| {
                        balance.fetch_sub(100, SeqCst);
                    });
                }
            });
        }
        rt.wait_idle();
        assert_eq!(balance.load(SeqCst), 0, "overdrawn");
    });
    assert!(failure.message.contains("overdrawn"), "{failure}");
}

#[test]
fn e13_a_post_and_then_the_write_that_the_posted_event_reads() {
    let failure = found(|_| {
        let rt = start(2);
        let h = rt.handle();
        let (a, b) = (color(&h, "writer"), color(&h, "reader"));
        let value = Arc::new(AtomicU32::new(0));
        h.post(&a, move |cx| {
            let read = Arc::clone(&value);
            cx.post(&b, move |_| assert_eq!(read.load(SeqCst), 1, "not written yet"));
            value.store(1, SeqCst);
        });
        rt.wait_idle();
    });
    assert!(failure.message.contains("not written yet"), "{failure}");
    assert!(failure.story.contains("writer"), "{failure}");
}

#[test]
fn e13_a_timer_that_is_cancelled_too_late() {
    let failure = found(|_| {
        let rt = start(2);
        let h = rt.handle();
        let (timers, closes) = (color(&h, "timers"), color(&h, "closes"));
        let is_closed = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_closed);
        let timer = h.post_after(Duration::from_millis(1), &timers, move |cx| {
            cx.post_here(|_| ());
            assert!(!seen.load(SeqCst), "called after the end");
        });
        // The timer is of another color: its callback may have begun.
        let _close = h.post_after(Duration::from_millis(1), &closes, move |_| {
            timer.cancel();
            is_closed.store(true, SeqCst);
        });
        rt.block_on(h.sleep(Duration::from_millis(20)));
        rt.wait_idle();
    });
    assert!(failure.message.contains("called after the end"), "{failure}");
}

#[test]
fn e13_locks_that_are_taken_one_after_the_other() {
    /// Takes both, one after the other, and tries again when the second is taken.
    fn take(first: Arc<AtomicBool>, second: Arc<AtomicBool>, tries: u32, cx: &mut Cx) {
        assert!(tries < 200, "they wait for each other");
        if tries > 0 || !first.swap(true, SeqCst) {
            if second.swap(true, SeqCst) {
                // Somebody has it.
                return cx.post_here(move |cx| take(first, second, tries + 1, cx));
            }
            second.store(false, SeqCst);
            first.store(false, SeqCst);
        } else {
            cx.post_here(move |cx| take(first, second, tries, cx));
        }
    }
    /// As one would write it: the first lock in one event, the second in the next.
    fn eats(left: Arc<AtomicBool>, right: Arc<AtomicBool>, h: &Handle, label: &str) {
        h.post(&color(h, label), move |cx| {
            if !left.swap(true, SeqCst) {
                let first = Arc::clone(&left);
                cx.post_here(move |cx| take(first, right, 1, cx));
            }
        });
    }
    let failure = found(|_| {
        let rt = start(2);
        let h = rt.handle();
        let forks: Vec<Arc<AtomicBool>> = (0..2).map(|_| Arc::default()).collect();
        eats(Arc::clone(&forks[0]), Arc::clone(&forks[1]), &h, "ada");
        eats(Arc::clone(&forks[1]), Arc::clone(&forks[0]), &h, "bob");
        rt.wait_idle();
    });
    assert!(failure.message.contains("they wait for each other"), "{failure}");
}

#[test]
fn e13_an_accepted_post_that_a_shutdown_drops() {
    let failure = found(|_| {
        let rt = start(2);
        let h = rt.handle();
        let written = Arc::new(AtomicBool::new(false));
        let writes = Arc::clone(&written);
        let (asks, file) = (color(&h, "asks"), color(&h, "file"));
        h.post(&asks, move |cx| {
            cx.post(&file, move |_| writes.store(true, SeqCst));
        });
        rt.shutdown(Duration::from_micros(20));
        assert!(written.load(SeqCst), "lost");
    });
    assert!(failure.message.contains("lost"), "{failure}");
}

#[test]
fn e13_an_effect_before_its_commit() {
    let failure = found(|_| {
        let rt = start(2);
        let domain = Domain::snapshot(&rt.handle(), ());
        let effects = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..3 {
            let effects = Arc::clone(&effects);
            domain.anon(move |cx| {
                // Instead of `cx.defer`, which keeps the order of the tickets.
                effects.lock().unwrap().push(cx.ticket().number());
            });
        }
        rt.wait_idle();
        let effects = effects.lock().unwrap().clone();
        assert!(effects.is_sorted(), "out of order: {effects:?}");
    });
    assert!(failure.message.contains("out of order"), "{failure}");
}

#[test]
fn e13_a_request_that_is_sent_again_and_is_not_known_again() {
    let failure = found(|_| {
        let rt = start(2);
        let h = rt.handle();
        let (client, server) = (color(&h, "client"), color(&h, "server"));
        let (done, paid) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (again, counted) = (h.clone(), Arc::clone(&paid));
        let (asks, acks, answers) = (server.clone(), client.clone(), Arc::clone(&done));
        // The server does it, and says so to the client.
        let serve = move |cx: &mut Cx| {
            counted.fetch_add(1, SeqCst);
            let answers = Arc::clone(&answers);
            cx.post(&acks, move |_| answers.store(true, SeqCst));
        };
        let retry = serve.clone();
        h.post(&asks, serve);
        let _timer = h.post_after(Duration::from_millis(1), &client, move |_| {
            if !done.load(SeqCst) {
                again.post(&server, retry);
            }
        });
        rt.block_on(h.sleep(Duration::from_millis(50)));
        rt.wait_idle();
        assert_eq!(paid.load(SeqCst), 1, "paid twice");
    });
    assert!(failure.message.contains("paid twice"), "{failure}");
}

#[test]
fn e13_a_promise_that_is_dropped() {
    let failure = found(|_| {
        let rt = start(2);
        let h = rt.handle();
        let (asks, closes) = (color(&h, "asks"), color(&h, "closes"));
        let answers = Rendezvous::new(&asks);
        let is_closed = Arc::new(AtomicBool::new(false));
        let (trigger, closed) = (answers.trigger("the answer"), Arc::clone(&is_closed));
        h.post(&asks, move |cx| {
            cx.post_here(move |_| {
                // Whoever has asked is told nothing when it is closed meanwhile.
                if !closed.load(SeqCst) {
                    let _ = trigger.fire(7);
                }
            });
        });
        answers.all(|arrived, _| assert_eq!(arrived[0].1, Ok(7), "no answer"));
        h.post_uncolored(move |cx| cx.post(&closes, move |_| is_closed.store(true, SeqCst)));
        rt.wait_idle();
    });
    assert!(failure.message.contains("no answer"), "{failure}");
}

/// The programs, with and without a color of a thousand events above everything else.
fn edited(is_edited: bool, inside: bool) -> impl Fn(&Sim) + Clone + 'static {
    move |_| {
        let rt = start(2);
        let h = rt.handle();
        let noise = |h: &Handle| {
            let noise = color(h, "noise");
            (0..1_000).for_each(|_| h.post(&noise, |_| ()));
        };
        if is_edited && !inside {
            noise(&h);
        }
        let (a, b) = (color(&h, "writer"), color(&h, "reader"));
        let value = Arc::new(AtomicU32::new(0));
        h.post(&a, move |cx| {
            if is_edited && inside {
                noise(&cx.handle());
            }
            let read = Arc::clone(&value);
            cx.post(&b, move |_| assert_eq!(read.load(SeqCst), 1, "not written yet"));
            value.store(1, SeqCst);
        });
        rt.wait_idle();
    }
}

#[test]
fn e13_a_saved_failure_survives_an_edit_of_the_program() {
    let config = Config::new();
    let (mut saved, mut seed) = (Vec::new(), 0);
    while saved.len() < 10 {
        let seeds = Config::new().seeds(seed..100_000);
        let failure = sim::find(&seeds, edited(false, false)).unwrap();
        seed = failure.seed + 1;
        saved.push(failure.saved);
    }
    for inside in [false, true] {
        let fails = |one: &&sim::Saved| sim::replay(&config, one, edited(true, inside)).failure;
        let still = saved.iter().filter(|one| fails(one).is_some()).count();
        assert!(still >= 9, "{still} of 10 (inside of an event: {inside})");
    }
}

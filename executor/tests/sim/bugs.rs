//! Small programs with a fault each, which is found, told in a few pauses, and comes back.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use dapple::sim::{self, Config, Failure, Sim};
use dapple::{Color, Cx, Domain, Handle, Priority, Rendezvous};

use super::{color, start};

/// The failure of a program that has a fault: of at most a thousand seeds, told in at most ten
/// pauses, and failing again when it is replayed, also from its text.
fn found(body: impl Fn(&Sim) + Clone + 'static) -> Failure {
    let config = Config::new();
    let failure = sim::find(&config, body.clone()).expect("no seed finds it");
    println!("{failure}");
    assert!(failure.deviations <= 10, "{failure}");
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

/// An answer that somebody waits for.
#[derive(Default)]
struct Answer {
    asker: Mutex<Option<Waker>>,
    is_there: AtomicBool,
}

impl Answer {
    /// Asks on one color, is answered on another one, and waits.
    async fn ask(self: Arc<Self>, asks: Color, answers: Color) {
        let mut asked = false;
        poll_fn(move |cx| {
            if self.is_there.load(SeqCst) {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut asked, true) {
                let (answer, answers) = (Arc::clone(&self), answers.clone());
                asks.post(move |cx| cx.post(&answers, move |_| answer.arrives()));
            }
            // Too late: the answer may have been there, and has found nobody.
            *self.asker.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn arrives(&self) {
        let asker = self.asker.lock().unwrap().take();
        if let Some(asker) = asker {
            self.is_there.store(true, SeqCst);
            asker.wake();
        }
    }
}

#[test]
fn e13_a_reader_that_keeps_a_version_for_ever() {
    let failure = found(|_| {
        let rt = start(2);
        let h = rt.handle();
        let (asks, answers) = (color(&h, "asks"), color(&h, "answers"));
        let domain = Domain::snapshot(&h, 7);
        let answer = Arc::<Answer>::default();
        drop(domain.spawn_anon(|none| async move {
            let reads = none.anon().await.unwrap();
            answer.ask(asks, answers).await;
            reads.commit().await.unwrap();
        }));
        rt.wait_idle();
        assert_eq!(domain.uncommitted(), 0, "it is kept for ever");
    });
    assert!(failure.message.contains("kept for ever"), "{failure}");
}

#[test]
fn e13_a_priority_inversion_through_a_set() {
    let failure = found(|sim| {
        let rt = start(2);
        let h = rt.handle();
        let urgent = h.color_builder().label("urgent").priority(Priority::High).build();
        let slow = h.color_builder().label("slow").priority(Priority::Low).build();
        let (millis, works) = (Duration::from_millis, slow.clone());
        // It has both before the slow work begins, as a rule.
        let (one, two, reports) = (urgent.clone(), slow.clone(), color(&h, "reports"));
        let _report = h.post_after(millis(1), &reports, move |cx| {
            cx.post_set(&[one.exclusive(), two.exclusive()], |_| ());
        });
        let _work = h.post_after(millis(4), &works, move |_| sim::work(millis(30)));
        let _beat = h.every(millis(5), &color(&h, "clock"), move |cx| {
            let asked = cx.handle().now();
            cx.post(&urgent, move |cx| {
                assert!(cx.handle().now() - asked < millis(20), "the heart stands still");
            });
        });
        sim.advance(millis(60));
    });
    assert!(failure.message.contains("the heart stands still"), "{failure}");
}

#[test]
fn e13_a_timer_that_is_taken_for_the_end_of_something_else() {
    // Found by a fault: without one, timers fire in the order of their deadlines.
    let failure = found(|sim| {
        let rt = start(1);
        let h = rt.handle();
        let (flush, close) = (color(&h, "flush"), color(&h, "close"));
        let flushed = Arc::new(AtomicBool::new(false));
        let flushes = Arc::clone(&flushed);
        let millis = Duration::from_millis;
        let _flush = h.post_after(millis(1), &flush, move |_| flushes.store(true, SeqCst));
        let _close = h.post_after(millis(2), &close, move |_| {
            assert!(flushed.load(SeqCst), "closed before it is flushed");
        });
        sim.advance(millis(30));
    });
    assert!(failure.story.contains("a timer of the test is made late"), "{failure}");
    assert!(failure.saved.to_string().contains("late-timer 0 for "), "{failure}");
}

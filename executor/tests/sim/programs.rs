//! Small programs with one fault each.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use dapple::sim::{self, Sim};
use dapple::{Color, Cx, Domain, Handle, Priority, Rendezvous};

use super::{color, edit, start};

/// All programs of this file.
pub(super) const ALL: [fn(&Sim); 11] = [
    a_check_and_an_act_in_two_events,
    a_post_and_then_the_write_that_the_posted_event_reads,
    a_timer_that_is_cancelled_too_late,
    locks_that_are_taken_one_after_the_other,
    an_accepted_post_that_a_shutdown_drops,
    an_effect_before_its_commit,
    a_request_that_is_sent_again_and_is_not_known_again,
    a_promise_that_is_dropped,
    a_reader_that_keeps_a_version_for_ever,
    a_priority_inversion_through_a_set,
    a_timer_that_is_taken_for_the_end_of_something_else,
];

pub(super) fn a_check_and_an_act_in_two_events(_: &Sim) {
    let rt = start(2);
    let balance = Arc::new(AtomicI64::new(100));
    for label in ["one", "two"] {
        let balance = Arc::clone(&balance);
        rt.handle().post(&color(&rt.handle(), label), move |cx| {
            edit(&cx.handle());
            if balance.load(SeqCst) >= 100 {
                cx.post_here(move |_| {
                    balance.fetch_sub(100, SeqCst);
                });
            }
        });
    }
    rt.wait_idle();
    assert_eq!(balance.load(SeqCst), 0, "overdrawn");
}

pub(super) fn a_post_and_then_the_write_that_the_posted_event_reads(_: &Sim) {
    let rt = start(2);
    let h = rt.handle();
    let (a, b) = (color(&h, "writer"), color(&h, "reader"));
    let value = Arc::new(AtomicU32::new(0));
    h.post(&a, move |cx| {
        edit(&cx.handle());
        let read = Arc::clone(&value);
        cx.post(&b, move |_| assert_eq!(read.load(SeqCst), 1, "not written yet"));
        value.store(1, SeqCst);
    });
    rt.wait_idle();
}

pub(super) fn a_timer_that_is_cancelled_too_late(_: &Sim) {
    let rt = start(2);
    let h = rt.handle();
    let (timers, closes) = (color(&h, "timers"), color(&h, "closes"));
    let is_closed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_closed);
    let timer = h.post_after(Duration::from_millis(1), &timers, move |cx| {
        cx.post_here(|_| ());
        assert!(!seen.load(SeqCst), "called after the end");
    });
    // The timer belongs to another color, so its callback may have begun.
    let _close = h.post_after(Duration::from_millis(1), &closes, move |cx| {
        edit(&cx.handle());
        timer.cancel();
        is_closed.store(true, SeqCst);
    });
    rt.block_on(h.sleep(Duration::from_millis(20)));
    rt.wait_idle();
}

pub(super) fn locks_that_are_taken_one_after_the_other(_: &Sim) {
    /// Takes both locks, one after the other, and tries again while the second one is taken.
    fn take(first: Arc<AtomicBool>, second: Arc<AtomicBool>, tries: u32, cx: &mut Cx) {
        assert!(tries < 200, "they wait for each other");
        if tries > 0 || !first.swap(true, SeqCst) {
            if second.swap(true, SeqCst) {
                // The other event has the lock.
                return cx.post_here(move |cx| take(first, second, tries + 1, cx));
            }
            second.store(false, SeqCst);
            first.store(false, SeqCst);
        } else {
            cx.post_here(move |cx| take(first, second, tries, cx));
        }
    }
    /// Takes the first lock in one event and the second in the next, as a naive program does.
    fn eats(left: Arc<AtomicBool>, right: Arc<AtomicBool>, h: &Handle, label: &str) {
        h.post(&color(h, label), move |cx| {
            edit(&cx.handle());
            if !left.swap(true, SeqCst) {
                let first = Arc::clone(&left);
                cx.post_here(move |cx| take(first, right, 1, cx));
            }
        });
    }
    let rt = start(2);
    let h = rt.handle();
    let forks: Vec<Arc<AtomicBool>> = (0..2).map(|_| Arc::default()).collect();
    eats(Arc::clone(&forks[0]), Arc::clone(&forks[1]), &h, "ada");
    eats(Arc::clone(&forks[1]), Arc::clone(&forks[0]), &h, "bob");
    rt.wait_idle();
}

pub(super) fn an_accepted_post_that_a_shutdown_drops(_: &Sim) {
    let rt = start(2);
    let h = rt.handle();
    let written = Arc::new(AtomicBool::new(false));
    let writes = Arc::clone(&written);
    let (asks, file) = (color(&h, "asks"), color(&h, "file"));
    h.post(&asks, move |cx| {
        edit(&cx.handle());
        cx.post(&file, move |_| writes.store(true, SeqCst));
    });
    rt.shutdown(Duration::from_micros(20));
    assert!(written.load(SeqCst), "lost");
}

pub(super) fn an_effect_before_its_commit(_: &Sim) {
    let rt = start(2);
    let domain = Domain::snapshot(&rt.handle(), ());
    let effects = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..3 {
        let effects = Arc::clone(&effects);
        domain.anon(move |cx| {
            edit(&cx.domain().runtime());
            // The fault: `cx.defer` would keep the order of the tickets.
            effects.lock().unwrap().push(cx.ticket().number());
        });
    }
    rt.wait_idle();
    let effects = effects.lock().unwrap().clone();
    assert!(effects.is_sorted(), "out of order: {effects:?}");
}

pub(super) fn a_request_that_is_sent_again_and_is_not_known_again(_: &Sim) {
    let rt = start(2);
    let h = rt.handle();
    let (client, server) = (color(&h, "client"), color(&h, "server"));
    let (done, paid) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let (again, counted) = (h.clone(), Arc::clone(&paid));
    let (asks, acks, answers) = (server.clone(), client.clone(), Arc::clone(&done));
    // The server pays, and tells the client.
    let serve = move |cx: &mut Cx| {
        edit(&cx.handle());
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
}

pub(super) fn a_promise_that_is_dropped(_: &Sim) {
    let rt = start(2);
    let h = rt.handle();
    let (asks, closes) = (color(&h, "asks"), color(&h, "closes"));
    let answers = Rendezvous::new(&asks);
    let is_closed = Arc::new(AtomicBool::new(false));
    let (trigger, closed) = (answers.trigger("the answer"), Arc::clone(&is_closed));
    h.post(&asks, move |cx| {
        edit(&cx.handle());
        cx.post_here(move |_| {
            // The fault: if the color is closed meanwhile, the asker gets no answer.
            if !closed.load(SeqCst) {
                let _ = trigger.fire(7);
            }
        });
    });
    answers.all(|arrived, _| assert_eq!(arrived[0].1, Ok(7), "no answer"));
    h.post_uncolored(move |cx| cx.post(&closes, move |_| is_closed.store(true, SeqCst)));
    rt.wait_idle();
}

/// An answer that a task waits for.
#[derive(Default)]
struct Answer {
    asker: Mutex<Option<Waker>>,
    is_there: AtomicBool,
}

impl Answer {
    /// Asks on one color, gets the answer from another one, and waits.
    async fn ask(self: Arc<Self>, asks: Color, answers: Color) {
        let mut asked = false;
        poll_fn(move |cx| {
            if self.is_there.load(SeqCst) {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut asked, true) {
                let (answer, answers) = (Arc::clone(&self), answers.clone());
                asks.post(move |cx| {
                    edit(&cx.handle());
                    cx.post(&answers, move |_| answer.arrives());
                });
            }
            // The fault, too late: the answer may have arrived already, and found no waker.
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

pub(super) fn a_reader_that_keeps_a_version_for_ever(_: &Sim) {
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
}

pub(super) fn a_priority_inversion_through_a_set(sim: &Sim) {
    let rt = start(2);
    let h = rt.handle();
    let urgent = h.color_builder().label("urgent").priority(Priority::High).build();
    let slow = h.color_builder().label("slow").priority(Priority::Low).build();
    let (millis, works) = (Duration::from_millis, slow.clone());
    // The set usually has both colors before the slow work begins.
    let (one, two, reports) = (urgent.clone(), slow.clone(), color(&h, "reports"));
    let _report = h.post_after(millis(1), &reports, move |cx| {
        edit(&cx.handle());
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
}

/// Without a late timer there is no failure, because timers fire in the order of their deadlines.
pub(super) fn a_timer_that_is_taken_for_the_end_of_something_else(sim: &Sim) {
    let rt = start(1);
    let h = rt.handle();
    let (flush, close) = (color(&h, "flush"), color(&h, "close"));
    let flushed = Arc::new(AtomicBool::new(false));
    let flushes = Arc::clone(&flushed);
    let millis = Duration::from_millis;
    let _flush = h.post_after(millis(1), &flush, move |cx| {
        edit(&cx.handle());
        flushes.store(true, SeqCst);
    });
    let _close = h.post_after(millis(2), &close, move |_| {
        assert!(flushed.load(SeqCst), "closed before it is flushed");
    });
    sim.advance(millis(30));
}

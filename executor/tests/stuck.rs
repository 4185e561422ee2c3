//! E4, E5, E12: what happens to work behind an event that blocks, and which worker reports the
//! stall.
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use dapple::{Colored, Domain, Handle, Runtime, StealPolicy};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

#[test]
fn e4_colors_and_uncolored_events_behind_a_blocked_one_run_elsewhere() {
    let rt = runtime(2);
    let h = rt.handle();
    for _ in 0..5 {
        let (tx, rx) = mpsc::channel();
        h.post(&h.new_color(), move |cx| {
            for i in 0..100 {
                let (one, two) = (tx.clone(), tx.clone());
                let color = cx.new_color();
                cx.post(&color, move |_| one.send(i).unwrap());
                cx.post_uncolored(move |_| two.send(i).unwrap());
            }
            drop(tx);
            for _ in 0..200 {
                rx.recv_timeout(LONG).expect("they run while this event blocks its worker");
            }
        });
        rt.wait_idle();
    }
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn e4_what_is_posted_from_outside_to_a_blocked_worker_runs_elsewhere() {
    let rt = runtime(2);
    let h = rt.handle();
    let (go, wait) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    h.post(&h.new_color(), move |_| {
        begun.send(()).unwrap();
        wait.recv_timeout(LONG).expect("the others run meanwhile");
    });
    has_begun.recv().unwrap();
    let (tx, rx) = mpsc::channel();
    for i in 0..100 {
        let tx = tx.clone();
        h.post(&h.new_color(), move |_| tx.send(i).unwrap());
    }
    drop(tx);
    assert_eq!(rx.iter().count(), 100);
    go.send(()).unwrap();
    rt.wait_idle();
}

#[test]
fn e5_timers_of_a_blocked_worker_fire_elsewhere() {
    let rt = runtime(2);
    let h = rt.handle();
    let (tx, rx) = mpsc::channel();
    h.post(&h.new_color(), move |cx| {
        let me = cx.worker();
        for i in 1..10 {
            let (tx, color) = (tx.clone(), cx.new_color());
            cx.post_after(MS * i, &color, move |cx| tx.send(cx.worker()).unwrap());
        }
        for _ in 1..10 {
            let worker = rx.recv_timeout(LONG).expect("armed here, fired while this event blocks");
            assert_ne!(worker, me);
        }
    });
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn e4_busy_workers_watch_each_other() {
    // No worker is idle: a chain keeps one worker busy, and the other one blocks.
    let rt = runtime(2);
    let h = rt.handle();
    let stop = Arc::new(AtomicUsize::new(0));
    fn chain(stop: Arc<AtomicUsize>, cx: &mut dapple::Cx) {
        if stop.load(Relaxed) == 0 {
            cx.post_here(move |cx| chain(stop, cx));
        }
    }
    for _ in 0..8 {
        let stop = Arc::clone(&stop);
        h.post(&h.new_color(), move |cx| chain(stop, cx));
    }
    thread::sleep(10 * MS);
    let (tx, rx) = mpsc::channel();
    let (done, ended) = mpsc::channel();
    h.post(&h.new_color(), move |cx| {
        let color = cx.new_color();
        cx.post(&color, move |_| tx.send(()).unwrap());
        rx.recv_timeout(LONG).expect("a busy worker takes it");
        done.send(()).unwrap();
    });
    ended.recv_timeout(LONG).unwrap();
    stop.store(1, Relaxed);
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn c1_holds_while_colors_are_taken_from_blocked_workers() {
    let rt = Runtime::builder().workers(3).steal_delay(Duration::from_micros(50)).build().unwrap();
    let h = rt.handle();
    let values: Vec<_> = (0..6).map(|_| Colored::new(&h.new_color(), (0u64, 0u64))).collect();
    for round in 0..2_000u64 {
        let value = &values[round as usize % 6];
        value.post(move |v, cx| {
            let entered = v.1;
            v.0 += 1;
            if round % 16 == 0 {
                thread::sleep(Duration::from_micros(300));
            }
            cx.post_uncolored(|_| ());
            assert_eq!(v.1, entered, "C1");
            v.1 += 1;
        });
    }
    for value in &values {
        value.post(|v, _| assert_eq!(v.0, v.1));
    }
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
    assert_eq!(rt.metrics().dropped(), 0);
}

type Said = (usize, u32, Option<String>, bool);

/// Returns a runtime with a stall threshold of this many milliseconds, and the list of its reports.
fn reporting(
    workers: usize,
    policy: StealPolicy,
    threshold: u32,
) -> (Runtime, Arc<Mutex<Vec<Said>>>) {
    let said: Arc<Mutex<Vec<Said>>> = Arc::default();
    let also = Arc::clone(&said);
    let rt = Runtime::builder()
        .workers(workers)
        .steal_policy(policy)
        .stall_after(threshold * MS)
        .on_stall(move |stall| {
            assert!(stall.running >= threshold * MS);
            assert!(stall.site.file().ends_with("stuck.rs"));
            let label = stall.label.map(str::to_owned);
            also.lock().unwrap().push((stall.worker, stall.site.line(), label, stall.ended));
        })
        .build()
        .unwrap();
    (rt, said)
}

#[test]
fn e12_a_stall_is_reported_once_while_it_lasts() {
    let (rt, said) = reporting(2, StealPolicy::CostAware, 20);
    let h = rt.handle();
    let color = h.color_builder().label("slow").build();
    let line = line!() + 1;
    h.post(&color, |_| thread::sleep(100 * MS));
    rt.wait_idle();
    let said = said.lock().unwrap().clone();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].1, line);
    assert_eq!(said[0].2.as_deref(), Some("slow"));
    assert!(!said[0].3, "by the other worker, before the end");
    assert_eq!(rt.metrics().stalls(), 1);
}

#[test]
fn e12_a_single_worker_reports_its_own_stall_afterwards() {
    for (workers, policy) in [(1, StealPolicy::CostAware), (2, StealPolicy::Off)] {
        let (rt, said) = reporting(workers, policy, 20);
        let line = line!() + 1;
        rt.handle().post_uncolored(|_| thread::sleep(60 * MS));
        rt.handle().post_uncolored(|_| ());
        // The worker looks around at the next event, or before it sleeps.
        rt.wait_idle();
        rt.handle().post_uncolored(|_| ());
        rt.wait_idle();
        let said = said.lock().unwrap().clone();
        assert_eq!(said.len(), 1, "{policy:?}: {said:?}");
        assert_eq!((said[0].1, said[0].3), (line, true));
    }
}

/// Returns what a single worker reports about its stalls: the line, the number of events and the
/// text.
fn told_of(f: impl FnOnce(&Handle)) -> Vec<(u32, Option<u64>, String)> {
    let said: Arc<Mutex<Vec<_>>> = Arc::default();
    let also = Arc::clone(&said);
    let on_stall = move |stall: &dapple::StallReport<'_>| {
        also.lock().unwrap().push((stall.site.line(), stall.events, stall.to_string()));
    };
    let rt = Runtime::builder().workers(1).stall_after(20 * MS).on_stall(on_stall).build().unwrap();
    f(&rt.handle());
    rt.wait_idle();
    // The worker looks around at the next event.
    rt.handle().post_uncolored(|_| ());
    rt.wait_idle();
    said.lock().unwrap().clone()
}

/// A value whose drop takes this long.
struct Slow(Duration);

impl Drop for Slow {
    fn drop(&mut self) {
        thread::sleep(self.0);
    }
}

#[test]
fn e12_what_is_dropped_behind_a_long_callback_does_not_take_its_place() {
    let mut line = 0;
    let said = told_of(|h| {
        let color = h.color_builder().label("slow").build();
        let value = Colored::new(&color, ());
        line = line!() + 2;
        h.post_uncolored(move |_| {
            value.post(|(), _| thread::sleep(60 * MS));
            // The drop of the value stands behind the callback, in the same turn.
            drop(value);
        });
    });
    let [(at, events, text)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((*at, *events), (line, Some(2)), "{text}");
    assert!(text.contains("event (label: slow) and 1 more that ran with it took"), "{text}");
}

#[test]
fn e12_the_drop_of_a_value_is_named_by_where_the_value_was_made() {
    let mut line = 0;
    let said = told_of(|h| {
        line = line!() + 1;
        let value = Colored::new(&h.new_color(), Slow(60 * MS));
        drop(value);
    });
    let [(at, events, text)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((*at, *events), (line, Some(1)), "{text}");
}

#[test]
fn e12_a_long_drop_behind_a_callback_is_one_of_two_that_may_have_taken_long() {
    let said = told_of(|h| {
        let value = Colored::new(&h.new_color(), Slow(60 * MS));
        // Posted from an event, so that both are queued when the color's turn comes.
        h.post_uncolored(move |_| {
            value.post(|_, _| ());
            drop(value);
        });
    });
    let [(_, events, text)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(*events, Some(2), "{text}");
}

#[test]
fn e12_a_drop_that_lasts_is_told_as_itself() {
    let (rt, said) = reporting(2, StealPolicy::CostAware, 20);
    let color = rt.handle().color_builder().label("slow").build();
    let line = line!() + 1;
    let value = Colored::new(&color, Slow(200 * MS));
    rt.handle().post_uncolored(move |_| {
        value.post(|_, _| ());
        drop(value);
    });
    rt.wait_idle();
    let said = said.lock().unwrap().clone();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!((said[0].1, said[0].2.as_deref(), said[0].3), (line, Some("slow"), false));
}

#[test]
fn e12_a_deferred_action_is_one_of_two_that_may_have_taken_long() {
    let said = told_of(|h| {
        let domain = Domain::snapshot(h, ());
        domain.anon(|cx| {
            cx.defer(|_| ());
            thread::sleep(60 * MS);
        });
    });
    let [(_, Some(events), text)] = &said[..] else { panic!("{said:?}") };
    assert!(*events >= 2, "{text}");
}

#[test]
fn e12_a_stall_that_one_of_several_callbacks_has_made_says_so() {
    let mut line = 0;
    let said = told_of(|h| {
        let color = h.new_color();
        line = line!() + 3;
        h.post_uncolored(move |_| {
            for n in 0..3 {
                color.post(move |_| thread::sleep(if n == 0 { 60 * MS } else { Duration::ZERO }));
            }
        });
    });
    let [(at, events, text)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((*at, *events), (line, Some(3)), "{text}");
    assert!(text.contains("an event (label: none) and 2 more that ran with it took"), "{text}");
}

#[test]
fn e12_a_short_event_after_a_long_silence_is_no_stall() {
    // Long enough for a machine that is busy with other programs.
    let (rt, said) = reporting(2, StealPolicy::CostAware, 400);
    let h = rt.handle();
    for _ in 0..3 {
        for _ in 0..20 {
            h.post(&h.new_color(), |_| thread::sleep(MS / 10));
        }
        rt.wait_idle();
        // All workers sleep, the sentinel too, for longer than the threshold.
        thread::sleep(500 * MS);
        h.post(&h.new_color(), |_| thread::sleep(5 * MS));
        rt.wait_idle();
    }
    assert!(said.lock().unwrap().is_empty(), "{said:?}");
    assert_eq!(rt.metrics().stalls(), 0);
}

#[test]
fn e12_a_spinning_worker_is_not_stuck() {
    let said: Arc<Mutex<Vec<Said>>> = Arc::default();
    let also = Arc::clone(&said);
    let rt = Runtime::builder()
        .workers(2)
        .spin(Duration::from_secs(2))
        .stall_after(400 * MS)
        .on_stall(move |stall| {
            also.lock().unwrap().push((stall.worker, stall.site.line(), None, stall.ended));
        })
        .build()
        .unwrap();
    for _ in 0..20 {
        rt.handle().post_uncolored(|_| ());
        thread::sleep(50 * MS);
    }
    assert!(said.lock().unwrap().is_empty(), "{said:?}");
}

/// Posters, sleepers and blocked events at the same time: a lost wakeup would hang this test.
#[test]
fn e5_a_storm_of_blocked_workers_and_wake_ups() {
    let rt = Runtime::builder().workers(4).steal_delay(Duration::from_micros(50)).build().unwrap();
    let h = rt.handle();
    let ran = Arc::new(AtomicUsize::new(0));
    for round in 0..300 {
        for i in 0..4 {
            let ran = Arc::clone(&ran);
            h.post(&h.new_color(), move |cx| {
                if i == 0 {
                    thread::sleep(Duration::from_micros(100 + round));
                }
                cx.post_uncolored(move |_| drop(ran.fetch_add(1, Relaxed).to_string()));
            });
        }
        if round % 3 == 0 {
            rt.wait_idle();
        }
    }
    rt.wait_idle();
    assert_eq!(ran.load(Relaxed), 1_200);
}

/// The delay until a stuck worker is noticed is paid once, not for every event that arrives while
/// it is stuck.
#[test]
fn e4_the_delay_is_paid_once_while_a_worker_is_stuck() {
    let delay = 100 * MS;
    for uses_classes in [false, true] {
        let rt = Runtime::builder().workers(2).steal_delay(delay).build().unwrap();
        let h = rt.handle();
        if uses_classes {
            h.color_builder().priority(dapple::Priority::High).build();
        }
        let (go, wait) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        // Made first, so that its home is, most likely, the worker that the event blocks.
        let old = h.new_color();
        old.call(|_| ()).join().unwrap();
        h.post(&h.new_color(), move |_| {
            begun.send(()).unwrap();
            let _ = wait.recv_timeout(LONG);
        });
        has_begun.recv().unwrap();
        old.call(|_| ()).join().unwrap();
        let begin = std::time::Instant::now();
        for _ in 0..100 {
            old.call(|_| ()).join().unwrap();
            h.new_color().call(|_| ()).join().unwrap();
            let (tx, rx) = mpsc::channel();
            h.post_uncolored(move |_| tx.send(()).unwrap());
            rx.recv_timeout(LONG).unwrap();
            rt.block_on(h.spawn(&old, async { dapple::yield_now().await })).unwrap();
            let (tx, rx) = mpsc::channel();
            h.post_after(MS, &old, move |_| tx.send(()).unwrap());
            rx.recv_timeout(LONG).unwrap();
        }
        let took = begin.elapsed();
        assert!(took < 50 * delay, "500 events took {took:?}, {delay:?} each is not to be paid");
        drop(go);
        rt.wait_idle();
        // Afterwards the worker runs the events of its own colors again.
        let stolen = rt.metrics().colors_stolen();
        for _ in 0..100 {
            old.call(|_| ()).join().unwrap();
        }
        // Not all of them, because the machine may have no core for the worker.
        assert!(rt.metrics().colors_stolen() <= stolen + 50, "what is at home is run at home");
    }
}

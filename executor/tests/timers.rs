//! E8: timers.
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use dapple::{Measure, Runtime, StealPolicy};

const MS: Duration = Duration::from_millis(1);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

#[test]
fn e8_never_early() {
    let rt = runtime(2);
    let h = rt.handle();
    let (tx, rx) = mpsc::channel();
    for i in 0..50u32 {
        let (tx, start, delay) = (tx.clone(), Instant::now(), Duration::from_micros(733) * i);
        h.post_after(delay, &h.new_color(), move |_| tx.send((delay, start.elapsed())).unwrap());
    }
    drop(tx);
    let fired: Vec<_> = rx.iter().collect();
    assert_eq!(fired.len(), 50);
    assert!(fired.iter().all(|(delay, took)| took >= delay), "{fired:?}");
    rt.wait_idle();
    assert_eq!(rt.metrics().histogram(Measure::TimerLateness).unwrap().len(), 50);
}

#[test]
fn e8_timers_of_one_color_armed_on_one_worker_keep_deadline_and_creation_order() {
    let rt = runtime(1);
    let h = rt.handle();
    let order: Arc<Mutex<Vec<usize>>> = Arc::default();
    let (tx, rx) = mpsc::channel::<()>();
    let color = h.new_color();
    let also = Arc::clone(&order);
    h.post_default(move |cx| {
        let base = Instant::now() + 5 * MS;
        // Within one tick of the wheel, in mixed order. Equal deadlines fire in the order of
        // creation.
        for i in [3, 1, 2, 0, 5, 4] {
            for copy in 0..2 {
                let (order, tx) = (Arc::clone(&also), tx.clone());
                cx.post_at(base + Duration::from_nanos(i as u64), &color, move |_| {
                    order.lock().unwrap().push(2 * i + copy);
                    drop(tx);
                });
            }
        }
    });
    assert!(rx.recv().is_err(), "all senders are gone");
    assert_eq!(*order.lock().unwrap(), (0..12).collect::<Vec<_>>());
}

#[test]
fn e8_cancel_from_the_own_color_is_final_even_if_the_event_is_queued() {
    let rt = runtime(2);
    let h = rt.handle();
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..20 {
        let color = h.new_color();
        let (ran, also) = (Arc::clone(&ran), color.clone());
        h.post(&color, move |cx| {
            let bomb = cx.post_after(MS, &also, move |_| {
                ran.fetch_add(1, Relaxed);
            });
            // The timer fires on some worker while this event occupies its color.
            std::thread::sleep(4 * MS);
            assert!(bomb.cancel());
            assert!(bomb.cancel(), "again: still cancelled");
        });
    }
    rt.wait_idle();
    std::thread::sleep(5 * MS);
    rt.wait_idle();
    assert_eq!(ran.load(Relaxed), 0);
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn e8_a_cancelled_closure_is_dropped_on_its_color() {
    let rt = runtime(1);
    let h = rt.handle();
    struct Tell(mpsc::Sender<Option<usize>>, dapple::Handle);
    impl Drop for Tell {
        fn drop(&mut self) {
            let _ = self.0.send(self.1.current_worker());
        }
    }
    let (tx, rx) = mpsc::channel();
    let tell = Tell(tx, h.clone());
    let timer = h.post_after(Duration::from_secs(3600), &h.new_color(), move |_| drop(tell));
    assert!(timer.is_armed());
    assert!(timer.cancel());
    assert!(!timer.is_armed());
    assert_eq!(rx.recv().unwrap(), Some(0));
}

#[test]
fn e8_a_timer_that_has_run_cannot_be_cancelled() {
    let rt = runtime(1);
    let h = rt.handle();
    let (tx, rx) = mpsc::channel();
    let timer = h.post_after(Duration::ZERO, &h.default_color(), move |_| tx.send(()).unwrap());
    rx.recv().unwrap();
    assert!(!timer.cancel());
}

#[test]
fn e8_an_earlier_timer_wakes_a_worker_that_sleeps_for_a_later_one() {
    for policy in [StealPolicy::CostAware, StealPolicy::Off] {
        let rt = Runtime::builder().workers(1).steal_policy(policy).build().unwrap();
        let h = rt.handle();
        let color = h.new_color();
        let _late = h.post_after(Duration::from_secs(600), &color, |_| ());
        std::thread::sleep(5 * MS);
        let (tx, rx) = mpsc::channel();
        h.post_after(MS, &color, move |_| tx.send(()).unwrap());
        rx.recv_timeout(Duration::from_secs(60)).expect("fires long before the late one");
    }
}

#[test]
fn e8_every_goes_on_after_a_panic_and_ends_when_cancelled() {
    let rt = runtime(2);
    let h = rt.handle();
    let (tx, rx) = mpsc::channel();
    let mut n = 0;
    let timer = h.every(MS, &h.new_color(), move |_| {
        n += 1;
        let _ = tx.send(n);
        assert!(n != 2, "the second call panics");
    });
    assert_eq!(rx.iter().take(4).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(timer.cancel());
    // The closure is dropped, and its sender with it.
    while rx.recv().is_ok() {}
    assert_eq!(rt.metrics().panics(), 1);
}

#[test]
fn e8_every_can_be_cancelled_by_its_own_call() {
    let rt = runtime(1);
    let h = rt.handle();
    let (tx, rx) = mpsc::channel();
    let slot: Arc<Mutex<Option<dapple::Timer>>> = Arc::default();
    let also = Arc::clone(&slot);
    let mut calls = 0;
    let timer = h.every(2 * MS, &h.default_color(), move |_| {
        calls += 1;
        let _ = tx.send(calls);
        if calls == 3 {
            also.lock().unwrap().as_ref().unwrap().cancel();
        }
    });
    *slot.lock().unwrap() = Some(timer);
    assert_eq!(rx.iter().collect::<Vec<_>>(), [1, 2, 3]);
}

/// E11: a timer that a shutdown refuses is dropped and counted, whether it would fire once or again
/// and again.
#[test]
fn e11_timers_of_a_runtime_that_has_ended_are_counted_as_dropped() {
    let rt = runtime(1);
    let h = rt.handle();
    rt.shutdown(Duration::ZERO);
    let (color, before) = (h.default_color(), h.metrics().dropped());
    h.post_after(MS, &color, |_| unreachable!());
    assert_eq!(h.metrics().dropped(), before + 1);
    h.every(MS, &color, |_| unreachable!());
    assert_eq!(h.metrics().dropped(), before + 2);
}

#[test]
#[should_panic(expected = "must not be zero")]
fn every_refuses_no_period() {
    let rt = runtime(1);
    rt.handle().every(Duration::ZERO, &rt.handle().default_color(), |_| ());
}

#[test]
fn a_hundred_thousand_timers_start_and_cancel() {
    let rt = runtime(2);
    let h = rt.handle();
    let fired = Arc::new(AtomicUsize::new(0));
    let color = h.new_color();
    let timers: Vec<_> = (0..100_000u64)
        .map(|i| {
            let fired = Arc::clone(&fired);
            h.post_after(Duration::from_micros(i % 50_000), &color, move |_| {
                fired.fetch_add(1, Relaxed);
            })
        })
        .collect();
    let cancelled = timers.iter().step_by(2).filter(|t| t.cancel()).count();
    while timers.iter().any(dapple::Timer::is_armed) {
        std::thread::sleep(5 * MS);
    }
    rt.wait_idle();
    assert_eq!(fired.load(Relaxed) + cancelled, 100_000);
}

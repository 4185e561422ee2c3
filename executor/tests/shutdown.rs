//! E11, E16: the end of a runtime, and what happens afterwards.
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use dapple::{Color, Colored, Handle, Palette, Runtime, StealPolicy};

const MS: Duration = Duration::from_millis(1);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

struct Counted(Arc<AtomicUsize>);
impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn e11_a_drain_runs_everything_and_what_it_posts() {
    let rt = runtime(2);
    let h = rt.handle();
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let (ran, color) = (Arc::clone(&ran), h.new_color());
        h.post(&color, move |cx| {
            thread::sleep(MS / 10);
            cx.post_here(move |cx| {
                cx.post_uncolored(move |_| {
                    ran.fetch_add(1, Relaxed);
                });
            });
        });
    }
    let report = rt.shutdown(Duration::from_secs(60));
    assert!(report.drained, "{report:?}");
    assert_eq!((report.dropped_events, report.dropped_timers), (0, 0));
    assert!(report.stuck_workers.is_empty());
    assert_eq!(ran.load(Relaxed), 100);
}

#[test]
fn e11_posts_from_outside_are_refused_once_it_has_begun() {
    let rt = runtime(1);
    let h = rt.handle();
    let (tx, rx) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    h.post_default(move |_| {
        tx.send(()).unwrap();
        wait.recv().unwrap();
    });
    rx.recv().unwrap();
    let ender = thread::spawn(move || rt.shutdown(Duration::from_secs(60)));
    while h.is_running() {
        thread::yield_now();
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let (a, b, c) = (Counted(dropped.clone()), Counted(dropped.clone()), Counted(dropped.clone()));
    h.post_default(move |_| drop(a));
    h.post_uncolored(move |_| drop(b));
    h.post_after(MS, &h.default_color(), move |_| drop(c));
    assert_eq!(dropped.load(Relaxed), 2, "dropped at once; a timer's closure on its color");
    go.send(()).unwrap();
    let report = ender.join().unwrap();
    assert!(report.drained);
    assert_eq!(report.dropped_events, 3);
    assert_eq!(dropped.load(Relaxed), 3);
}

#[test]
fn e11_timers_are_dropped_at_its_begin() {
    let rt = runtime(2);
    let h = rt.handle();
    let dropped = Arc::new(AtomicUsize::new(0));
    for _ in 0..10 {
        let counted = Counted(dropped.clone());
        h.post_after(Duration::from_secs(3600), &h.new_color(), move |_| drop(counted));
    }
    let report = rt.shutdown(Duration::from_secs(60));
    assert_eq!(report.dropped_timers, 10);
    assert_eq!(dropped.load(Relaxed), 10);
    assert!(report.drained);
}

#[test]
fn e11_the_deadline_drops_the_rest_and_counts_it() {
    let rt = runtime(1);
    let h = rt.handle();
    let dropped = Arc::new(AtomicUsize::new(0));
    let ran = Arc::new(AtomicUsize::new(0));
    let color = h.new_color();
    for _ in 0..1_000 {
        let (counted, ran) = (Counted(dropped.clone()), Arc::clone(&ran));
        h.post(&color, move |_| {
            thread::sleep(5 * MS);
            ran.fetch_add(1, Relaxed);
            drop(counted);
        });
    }
    let report = rt.shutdown(20 * MS);
    assert!(!report.drained);
    assert_eq!(dropped.load(Relaxed), 1_000, "each closure is dropped, run or not");
    assert_eq!(report.dropped_events + ran.load(Relaxed) as u64, 1_000);
    assert!(report.dropped_events > 0);
}

#[test]
fn e11_a_stuck_worker_is_reported_and_left_behind() {
    let rt = Runtime::builder().workers(2).stuck_after(20 * MS).build().unwrap();
    let h = rt.handle();
    let (tx, rx) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let (done, ended) = mpsc::channel();
    let dropped = Arc::new(AtomicUsize::new(0));
    let color = h.new_color();
    h.post(&color, move |cx| {
        tx.send(cx.worker()).unwrap();
        wait.recv().unwrap();
        // The runtime has ended: the post is refused, and nothing breaks.
        cx.post_here(|_| unreachable!());
        cx.new_color();
        done.send(()).unwrap();
    });
    let counted = Counted(dropped.clone());
    h.post(&color, move |_| {
        let _counted = counted;
        unreachable!("the runtime stops before");
    });
    let stuck = rx.recv().unwrap();
    let report = rt.shutdown(Duration::ZERO);
    assert_eq!(report.stuck_workers, [stuck]);
    go.send(()).unwrap();
    ended.recv().unwrap();
    let start = Instant::now();
    while dropped.load(Relaxed) == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "the worker drops what is left");
        thread::sleep(MS);
    }
}

#[test]
fn e11_dropping_the_runtime_on_its_own_worker_returns() {
    let rt = runtime(2);
    let h = rt.handle();
    let (tx, rx) = mpsc::channel();
    h.post_default(move |_| {
        drop(rt);
        tx.send(()).unwrap();
    });
    rx.recv().unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    let counted = Counted(dropped.clone());
    h.post_default(move |_| drop(counted));
    assert_eq!(dropped.load(Relaxed), 1);
}

#[test]
fn everything_may_outlive_the_runtime() {
    for policy in [StealPolicy::CostAware, StealPolicy::Eager, StealPolicy::Off] {
        let rt = Runtime::builder().workers(2).steal_policy(policy).build().unwrap();
        let h = rt.handle();
        let drops = Arc::new(AtomicUsize::new(0));
        let color = h.new_color();
        let value = Colored::new(&color, Counted(drops.clone()));
        let other = Colored::new(&h.new_color(), (Counted(drops.clone()), value.clone()));
        let palette = Palette::<u32>::new(&h);
        let timer = h.post_after(Duration::from_secs(9), &color, |_| ());
        let default = h.default_color();
        drop(rt);
        value.post(|_, _| unreachable!());
        h.post(&palette.color(&1), |_| unreachable!());
        h.post(&default, |_| unreachable!());
        assert!(!timer.is_armed() || timer.cancel());
        drop(timer);
        let fresh = h.new_color();
        h.post(&fresh, |_| unreachable!());
        let late = Colored::new(&fresh, Counted(drops.clone()));
        drop(h);
        drop((late, fresh, default, palette));
        drop((value, color));
        assert_eq!(drops.load(Relaxed), 1, "the value that `other` still holds");
        drop(other);
        assert_eq!(drops.load(Relaxed), 3);
    }
}

type Kept = (Handle, Color, Colored<Counted>, Palette<u8>);

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

#[test]
fn dropped_by_a_destructor_of_a_thread_local() {
    for ended in [false, true] {
        let rt = runtime(2);
        let h = rt.handle();
        let drops = Arc::new(AtomicUsize::new(0));
        let counted = Counted(drops.clone());
        let (go, wait) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let color = h.new_color();
            let value = Colored::new(&color, counted);
            KEPT.set(Some((h.clone(), color, value, Palette::new(&h))));
            wait.recv().unwrap();
        });
        let mut rt = Some(rt);
        if ended {
            rt = None;
        }
        go.send(()).unwrap();
        thread.join().unwrap();
        if let Some(rt) = &rt {
            rt.wait_idle();
        }
        assert_eq!(drops.load(Relaxed), 1);
    }
}

#[test]
fn worker_threads_keep_colors_in_thread_locals() {
    let rt = runtime(1);
    let h = rt.handle();
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = Counted(drops.clone());
    let inner = h.clone();
    h.post_default(move |cx| {
        let color = cx.new_color();
        let value = Colored::new(&color, counted);
        KEPT.set(Some((inner.clone(), color, value, Palette::new(&inner))));
    });
    let report = rt.shutdown(Duration::from_secs(60));
    assert!(report.drained);
    assert_eq!(drops.load(Relaxed), 1, "the worker's thread-local destructor has run");
}

#[test]
fn e16_what_events_did_is_visible_after_wait_idle() {
    let rt = runtime(2);
    let h = rt.handle();
    for round in 0..200 {
        let cells: Arc<Vec<AtomicUsize>> = Arc::new((0..8).map(|_| AtomicUsize::new(0)).collect());
        for i in 0..8 {
            let cells = Arc::clone(&cells);
            h.post(&h.new_color(), move |cx| {
                cx.post_uncolored(move |_| cells[i].store(round + 1, Relaxed));
            });
        }
        rt.wait_idle();
        assert!(cells.iter().all(|c| c.load(Relaxed) == round + 1));
    }
}

#[test]
fn e16_armed_timers_do_not_keep_wait_idle() {
    let rt = runtime(2);
    let h = rt.handle();
    let _timer = h.post_after(Duration::from_secs(3600), &h.new_color(), |_| ());
    rt.wait_idle();
}

#[test]
fn e16_wait_idle_ends_when_another_thread_ends_the_runtime() {
    let rt = Arc::new(runtime(1));
    let (tx, rx) = mpsc::channel::<()>();
    rt.handle().post_default(move |_| assert!(rx.recv().is_err()));
    let waiter = thread::spawn({
        let rt = Arc::clone(&rt);
        move || rt.wait_idle()
    });
    drop(tx);
    waiter.join().unwrap();
}

#[test]
fn a_storm_of_runtimes_with_posters_leaves_nothing_behind() {
    let drops = Arc::new(AtomicUsize::new(0));
    let made = Arc::new(AtomicUsize::new(0));
    for round in 0..60 {
        let rt = runtime(1 + round % 3);
        let h = rt.handle();
        let posters: Vec<_> = (0..3)
            .map(|_| {
                let (h, drops, made) = (h.clone(), drops.clone(), made.clone());
                thread::spawn(move || {
                    let color = h.new_color();
                    while h.is_running() {
                        for _ in 0..20 {
                            made.fetch_add(3, Relaxed);
                            let (a, b, c) = (
                                Counted(drops.clone()),
                                Counted(drops.clone()),
                                Counted(drops.clone()),
                            );
                            h.post(&color, move |cx| cx.post_uncolored(move |_| drop(a)));
                            h.post(&h.new_color(), move |_| drop(b));
                            drop(Colored::new(&h.new_color(), c));
                        }
                    }
                })
            })
            .collect();
        thread::sleep(MS);
        drop(rt);
        for poster in posters {
            poster.join().unwrap();
        }
    }
    assert_eq!(drops.load(Relaxed), made.load(Relaxed));
}

#[test]
fn e11_a_shutdown_of_an_idle_runtime_has_nothing_to_report() {
    let rt = Runtime::builder().workers(2).stuck_after(Duration::MAX).build().unwrap();
    let h = rt.handle();
    let value = Colored::new(&h.new_color(), 1);
    let _timer = h.post_after(Duration::from_secs(60), value.color(), |_| ());
    drop(value);
    rt.wait_idle();
    let report = rt.shutdown(Duration::ZERO);
    assert_eq!((report.dropped_events, report.dropped_timers), (0, 1));
    assert!(report.stuck_workers.is_empty());
}

#[test]
fn c16_a_post_while_the_runtime_stops_runs_no_drop() {
    // If the post dropped the closure, the drop would wait for the lock that the event holds.
    let rt = runtime(1);
    let h = rt.handle();
    let lock = Arc::new(std::sync::Mutex::new(0));
    struct Locks(Arc<std::sync::Mutex<i32>>);
    impl Drop for Locks {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let (tx, rx) = mpsc::channel();
    let (also, inner) = (Arc::clone(&lock), h.clone());
    h.post_default(move |cx| {
        tx.send(()).unwrap();
        while inner.is_running() {
            thread::yield_now();
        }
        thread::sleep(20 * MS);
        let guard = also.lock().unwrap();
        for _ in 0..3 {
            let locks = Locks(Arc::clone(&also));
            cx.post_here(move |_| drop(locks));
        }
        drop(guard);
    });
    rx.recv().unwrap();
    drop(rt);
    assert_eq!(*lock.lock().unwrap(), 3);
}

#[test]
fn a_panic_hook_may_hold_a_handle() {
    let slot: Arc<std::sync::Mutex<Option<Handle>>> = Arc::default();
    let (also, drops) = (Arc::clone(&slot), Arc::new(AtomicUsize::new(0)));
    let counted = Counted(drops.clone());
    let rt = Runtime::builder()
        .workers(1)
        .on_panic(move |_| {
            let _ = (&also, &counted);
        })
        .build()
        .unwrap();
    *slot.lock().unwrap() = Some(rt.handle());
    drop(slot);
    drop(rt);
    assert_eq!(drops.load(Relaxed), 1);
}

//! E11, E16: the end of a runtime; and what comes after it.
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
        // The runtime has ended: this is refused, and nothing breaks.
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
    // The closure's drop would run inside the post, where its own lock is held.
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

/// What a stuck event posts all the time is no reason for a shutdown to last.
#[test]
fn e11_a_shutdown_has_a_limit_while_a_stuck_event_posts() {
    #[derive(Clone, Copy, Debug)]
    enum What {
        Uncolored,
        NewColors,
        OneColor,
        Sets,
    }
    use What::*;
    for policy in [StealPolicy::CostAware, StealPolicy::Eager, StealPolicy::Off] {
        for (workers, what) in [
            (2, Uncolored),
            (1, Uncolored),
            (2, NewColors),
            (2, OneColor),
            (1, OneColor),
            (2, Sets),
        ] {
            let rt = Runtime::builder()
                .workers(workers)
                .steal_policy(policy)
                .stuck_after(100 * MS)
                .build()
                .unwrap();
            let h = rt.handle();
            let stop = Arc::new(AtomicUsize::new(0));
            let (stopped, handle) = (Arc::clone(&stop), h.clone());
            h.post(&h.new_color(), move |cx| {
                let (one, two) = (handle.new_color(), handle.new_color());
                while stopped.load(Relaxed) == 0 {
                    match what {
                        Uncolored => cx.post_uncolored(|_| ()),
                        NewColors => {
                            let color = cx.new_color();
                            cx.post(&color, |_| ());
                        }
                        OneColor => cx.post(&one, |_| ()),
                        Sets => cx.post_set(&[one.exclusive(), two.shared()], |_| ()),
                    }
                }
            });
            let behind = h.new_color().call(|_| thread::sleep(MS));
            thread::sleep(20 * MS);
            let begin = Instant::now();
            let report = rt.shutdown(100 * MS);
            let took = begin.elapsed();
            stop.store(1, Relaxed);
            // 100 ms of draining, as much for the stuck worker, and as much again for each of those
            // that dispose.
            assert!(took < Duration::from_secs(8), "{policy:?}, {what:?}: {took:?}");
            // Another one may be kept from its core for so long.
            assert!(!report.stuck_workers.is_empty(), "{policy:?}, {what:?}: {report:?}");
            // It has run, or is dropped by the stuck worker itself in the end.
            let _ = behind.join();
        }
    }
}

#[test]
fn e11_who_is_in_no_event_is_not_stuck() {
    for _ in 0..50 {
        let rt = Runtime::builder().workers(3).stuck_after(Duration::ZERO).build().unwrap();
        rt.wait_idle();
        assert_eq!(rt.shutdown(Duration::from_secs(1)).stuck_workers, []);
    }
}

/// A worker that drops what is queued gets on, however long all of it takes.
#[test]
fn e11_who_drops_closures_one_by_one_is_not_stuck() {
    struct Slow(Arc<AtomicUsize>);
    impl Drop for Slow {
        fn drop(&mut self) {
            thread::sleep(10 * MS);
            self.0.fetch_add(1, Relaxed);
        }
    }
    let rt = Runtime::builder().workers(2).stuck_after(700 * MS).build().unwrap();
    let (h, dropped) = (rt.handle(), Arc::new(AtomicUsize::new(0)));
    let (go, wait) = mpsc::channel::<()>();
    let color = h.new_color();
    let (begun, has_begun) = mpsc::channel();
    color.post(move |_| {
        begun.send(()).unwrap();
        let _ = wait.recv();
    });
    has_begun.recv().unwrap();
    for _ in 0..150 {
        let slow = Slow(Arc::clone(&dropped));
        color.post(move |_| drop(slow));
    }
    thread::spawn(move || {
        thread::sleep(20 * MS);
        drop(go);
    });
    let report = rt.shutdown(Duration::ZERO);
    assert_eq!((report.stuck_workers.len(), report.dropped_events), (0, 150), "{report:?}");
    assert_eq!(dropped.load(Relaxed), 150);
}

/// Drops that post what is dropped in turn: a long chain is dropped to its end.
#[test]
fn e11_a_circle_of_drops_does_not_keep_a_shutdown() {
    /// What it drops makes it again, on a new color or on the same.
    struct Again(Handle, Option<Color>, Arc<AtomicUsize>);
    impl Drop for Again {
        fn drop(&mut self) {
            if self.2.fetch_add(1, Relaxed) < usize::MAX / 2 {
                let color = self.1.clone().unwrap_or_else(|| self.0.new_color());
                let again = Again(self.0.clone(), self.1.clone(), Arc::clone(&self.2));
                Colored::new(&color, again);
            }
        }
    }
    let all: Vec<_> = [false, true]
        .map(|is_same| {
            thread::spawn(move || {
                let rt = runtime(1);
                let (h, dropped) = (rt.handle(), Arc::new(AtomicUsize::new(0)));
                let color = is_same.then(|| h.new_color());
                let again = Again(h.clone(), color, Arc::clone(&dropped));
                let (go, wait) = mpsc::channel::<()>();
                h.post_default(move |_| {
                    let _ = wait.recv();
                });
                h.post_default(move |_| drop(again));
                thread::spawn(move || {
                    thread::sleep(20 * MS);
                    drop(go);
                });
                let keep = Arc::clone(&dropped);
                rt.shutdown(Duration::ZERO);
                // The circle goes no further.
                keep.store(usize::MAX / 2, Relaxed);
            })
        })
        .into_iter()
        .collect();
    let begin = Instant::now();
    all.into_iter().for_each(|one| one.join().unwrap());
    assert!(begin.elapsed() < 60_000 * MS, "{:?}", begin.elapsed());
}

#[test]
fn e11_a_chain_of_drops_is_followed_to_its_end() {
    struct Next(Handle, usize, Arc<AtomicUsize>);
    impl Drop for Next {
        fn drop(&mut self) {
            self.2.fetch_add(1, Relaxed);
            if self.1 > 0 {
                let next = Next(self.0.clone(), self.1 - 1, Arc::clone(&self.2));
                // Refused it would be dropped at once, and the stack would grow.
                Colored::new(&self.0.new_color(), next);
            }
        }
    }
    for workers in [1, 2] {
        let rt = runtime(workers);
        let (h, dropped) = (rt.handle(), Arc::new(AtomicUsize::new(0)));
        let (go, wait) = mpsc::channel::<()>();
        let color = h.new_color();
        color.post(move |_| {
            let _ = wait.recv();
        });
        let next = Next(h.clone(), 100_000, Arc::clone(&dropped));
        color.post(move |_| drop(next));
        let ender = thread::spawn(move || rt.shutdown(Duration::ZERO));
        thread::sleep(5 * MS);
        drop(go);
        ender.join().unwrap();
        assert_eq!(dropped.load(Relaxed), 100_001);
    }
}

#[test]
fn e11_a_runtime_dropped_on_a_worker_of_another_one_waits_for_its_events() {
    let (a, b) = (runtime(1), runtime(1));
    let ended = Arc::new(AtomicUsize::new(0));
    let (begun, has_begun) = mpsc::channel();
    let also = Arc::clone(&ended);
    b.handle().post_default(move |_| {
        begun.send(()).unwrap();
        thread::sleep(50 * MS);
        also.store(1, Release);
    });
    has_begun.recv().unwrap();
    let dropping = a.handle().new_color().call(move |_| {
        drop(b);
        ended.load(Acquire)
    });
    assert_eq!(dropping.join(), Ok(1), "the event had ended when the drop returned");
}

/// C11: what nobody runs is dropped on its color, also by who gives up on a stuck worker.
#[test]
fn c11_what_is_dropped_after_a_stuck_worker_reaches_its_value() {
    struct Adds(Colored<usize>, Arc<AtomicUsize>);
    impl Drop for Adds {
        fn drop(&mut self) {
            self.0.with(|n| *n += 1);
            self.1.fetch_add(1, Relaxed);
        }
    }
    for workers in [1, 2] {
        let rt = Runtime::builder().workers(workers).stuck_after(20 * MS).build().unwrap();
        let h = rt.handle();
        let value = Colored::new(&h.new_color(), 0);
        let reached = Arc::new(AtomicUsize::new(0));
        let (go, wait) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        // On one color, so that other workers cannot run it.
        value.color().post(move |_| {
            begun.send(()).unwrap();
            let _ = wait.recv();
        });
        has_begun.recv().unwrap();
        let other = Colored::new(&h.new_color(), 0);
        let also = other.clone();
        let (stay, stays) = mpsc::channel::<()>();
        if workers == 2 {
            let (begun, has_begun) = mpsc::channel();
            h.post_default(move |_| {
                begun.send(()).unwrap();
                let _ = stays.recv();
            });
            has_begun.recv().unwrap();
        } else {
            drop(stays);
        }
        for _ in 0..10 {
            let adds = Adds(also.clone(), Arc::clone(&reached));
            other.color().post(move |_| drop(adds));
        }
        let report = rt.shutdown(Duration::ZERO);
        assert_eq!(report.stuck_workers.len(), workers);
        assert_eq!(reached.load(Relaxed), 10);
        drop((go, stay));
    }
}

/// Threads that keep queueing on a closed runtime do not hold each other up.
#[test]
fn e11_who_queues_after_the_end_is_not_kept_by_others() {
    let h = runtime(1).handle();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let h = h.clone();
            thread::spawn(move || {
                let color = h.new_color();
                let mut longest = Duration::ZERO;
                for _ in 0..5_000 {
                    let begin = Instant::now();
                    // Its end is an event that nobody refuses.
                    drop(Colored::new(&color, Box::new(5)));
                    longest = longest.max(begin.elapsed());
                }
                longest
            })
        })
        .collect();
    for thread in threads {
        let longest = thread.join().unwrap();
        assert!(longest < Duration::from_secs(5), "{longest:?}");
    }
}

//! E11: how long a shutdown lasts, whatever runs, posts and drops meanwhile, and which workers
//! count as stuck.
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use dapple::{Color, Colored, Handle, Runtime, StealPolicy};

const MS: Duration = Duration::from_millis(1);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// A stuck event that posts without end does not delay a shutdown.
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
            // 100 ms to drain, 100 ms for the stuck worker, and 100 ms for each worker that drops
            // events.
            assert!(took < Duration::from_secs(8), "{policy:?}, {what:?}: {took:?}");
            // Other workers may count as stuck too, if they did not get a core in time.
            assert!(!report.stuck_workers.is_empty(), "{policy:?}, {what:?}: {report:?}");
            // The event has run, or the stuck worker drops it in the end.
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

/// A worker that drops queued closures one by one is not stuck, however long all of them take.
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

/// Drops that post what is dropped in turn, without end, are given up.
#[test]
fn e11_a_circle_of_drops_does_not_keep_a_shutdown() {
    /// A value whose drop makes another one, on a new color or on the same one.
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
                // Ends the circle.
                keep.store(usize::MAX / 2, Relaxed);
            })
        })
        .into_iter()
        .collect();
    let begin = Instant::now();
    all.into_iter().for_each(|one| one.join().unwrap());
    // Ten million links take 20 s in a debug build, and a multiple of that on a busy machine.
    assert!(begin.elapsed() < 300_000 * MS, "{:?}", begin.elapsed());
}

/// A long chain of drops, each of which posts the next, is followed to its end.
#[test]
fn e11_a_chain_of_drops_is_followed_to_its_end() {
    struct Next(Handle, usize, Arc<AtomicUsize>);
    impl Drop for Next {
        fn drop(&mut self) {
            self.2.fetch_add(1, Relaxed);
            if self.1 > 0 {
                let next = Next(self.0.clone(), self.1 - 1, Arc::clone(&self.2));
                // If this were refused, it would be dropped at once, and the stack would grow.
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

/// C11: events that nobody runs are dropped on their color, also by the thread that gives up on a
/// stuck worker.
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
        // All on one color, so that other workers cannot run it.
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

/// Threads that keep queueing on a closed runtime do not delay each other.
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
                    // The end of the value is an event that is never refused.
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

//! Colors: C1, C2, C3, C10, C14, C15, and where posts come from.
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use dapple::{Color, Cx, Handle, Runtime, StealPolicy};

const POLICIES: [StealPolicy; 3] = [StealPolicy::CostAware, StealPolicy::Eager, StealPolicy::Off];

fn runtime(workers: usize, policy: StealPolicy) -> Runtime {
    Runtime::builder().workers(workers).steal_policy(policy).build().unwrap()
}

#[test]
fn c1_events_of_one_color_never_overlap_and_see_each_other() {
    for policy in POLICIES {
        let rt = runtime(4, policy);
        let h = rt.handle();
        let colors: Vec<_> = (0..8).map(|_| h.new_color()).collect();
        let inside: Arc<Vec<AtomicBool>> =
            Arc::new((0..8).map(|_| AtomicBool::new(false)).collect());
        let counts: Arc<Vec<AtomicU64>> = Arc::new((0..8).map(|_| AtomicU64::new(0)).collect());
        thread::scope(|s| {
            for t in 0..4 {
                let (h, colors, inside, counts) = (&h, &colors, &inside, &counts);
                s.spawn(move || {
                    for i in 0..2_000 {
                        let c = (i * 7 + t) % 8;
                        let (inside, counts) = (Arc::clone(inside), Arc::clone(counts));
                        h.post(&colors[c], move |_| {
                            assert!(!inside[c].swap(true, Relaxed), "C1");
                            // The count is not a read-modify-write: only C1 makes it exact.
                            counts[c].store(counts[c].load(Relaxed) + 1, Relaxed);
                            inside[c].store(false, Relaxed);
                        });
                    }
                });
            }
        });
        rt.wait_idle();
        assert_eq!(counts.iter().map(|c| c.load(Relaxed)).sum::<u64>(), 8_000);
        assert_eq!(rt.metrics().panics(), 0);
    }
}

#[test]
fn c2_posts_of_each_thread_and_of_events_run_in_order() {
    for policy in POLICIES {
        let rt = runtime(3, policy);
        let h = rt.handle();
        let target = h.new_color();
        let log: Arc<Mutex<Vec<(usize, usize)>>> = Arc::default();
        // Some posters are threads, some are chains of events on colors of their own.
        thread::scope(|s| {
            for t in 0..3 {
                let (h, target, log) = (h.clone(), target.clone(), Arc::clone(&log));
                s.spawn(move || {
                    for i in 0..500 {
                        let log = Arc::clone(&log);
                        h.post(&target, move |_| log.lock().unwrap().push((t, i)));
                    }
                });
            }
        });
        fn chain(
            cx: &mut Cx,
            own: Color,
            target: Color,
            log: Arc<Mutex<Vec<(usize, usize)>>>,
            t: usize,
            i: usize,
        ) {
            let also = Arc::clone(&log);
            cx.post(&target, move |_| also.lock().unwrap().push((t, i)));
            if i + 1 < 500 {
                let again = own.clone();
                cx.post(&own, move |cx| chain(cx, again, target, log, t, i + 1));
            }
        }
        for t in 3..6 {
            let (own, target, log) = (h.new_color(), target.clone(), Arc::clone(&log));
            let also = own.clone();
            h.post(&own, move |cx| chain(cx, also, target, log, t, 0));
        }
        rt.wait_idle();
        let log = log.lock().unwrap();
        for t in 0..6 {
            let own: Vec<_> = log.iter().filter(|e| e.0 == t).map(|e| e.1).collect();
            assert_eq!(own, (0..500).collect::<Vec<_>>(), "poster {t}, {policy:?}");
        }
    }
}

#[test]
fn c2_happens_before_through_another_channel_counts() {
    let rt = runtime(2, StealPolicy::Eager);
    let h = rt.handle();
    let color = h.new_color();
    let (tx, rx) = mpsc::channel::<usize>();
    let order: Arc<Mutex<Vec<usize>>> = Arc::default();
    let other = thread::spawn({
        let (h, color, order) = (h.clone(), color.clone(), Arc::clone(&order));
        move || {
            for i in rx {
                let order = Arc::clone(&order);
                h.post(&color, move |_| order.lock().unwrap().push(2 * i + 1));
            }
        }
    });
    for i in 0..1_000 {
        let order = Arc::clone(&order);
        h.post(&color, move |_| order.lock().unwrap().push(2 * i));
        tx.send(i).unwrap();
    }
    drop(tx);
    other.join().unwrap();
    rt.wait_idle();
    let order = order.lock().unwrap();
    let mut seen = HashSet::new();
    for &n in order.iter() {
        assert!(n % 2 == 0 || seen.contains(&(n - 1)), "{n} ran before {}", n - 1);
        seen.insert(n);
    }
    assert_eq!(seen.len(), 2_000);
}

#[test]
fn c3_the_default_color_is_serial_and_shared_by_all_that_name_none() {
    let rt = runtime(4, StealPolicy::Eager);
    let h = rt.handle();
    let inside = Arc::new(AtomicBool::new(false));
    let ran = Arc::new(AtomicUsize::new(0));
    let body = {
        let (inside, ran) = (Arc::clone(&inside), Arc::clone(&ran));
        move || {
            assert!(!inside.swap(true, Relaxed));
            thread::yield_now();
            inside.store(false, Relaxed);
            ran.fetch_add(1, Relaxed);
        }
    };
    for _ in 0..100 {
        let (a, b, c) = (body.clone(), body.clone(), body.clone());
        h.post_default(move |cx| {
            a();
            assert!(cx.is_on(&cx.handle().default_color()));
            cx.post_default(move |_| b());
        });
        h.post(&h.default_color(), move |_| c());
    }
    rt.wait_idle();
    assert_eq!(ran.load(Relaxed), 300);
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn c3_uncolored_events_are_not_on_the_default_color() {
    let rt = runtime(1, StealPolicy::CostAware);
    let h = rt.handle();
    let ran = Arc::new(AtomicBool::new(false));
    let also = Arc::clone(&ran);
    h.post_uncolored(move |cx| {
        assert_eq!(cx.color(), None);
        assert!(!cx.is_on(&cx.handle().default_color()));
        also.store(true, Relaxed);
    });
    rt.wait_idle();
    assert!(ran.load(Relaxed));
}

#[test]
fn c14_uncolored_events_run_on_all_workers_at_once() {
    let rt = runtime(2, StealPolicy::CostAware);
    let h = rt.handle();
    let barrier = Arc::new(std::sync::Barrier::new(2));
    for _ in 0..2 {
        let barrier = Arc::clone(&barrier);
        // Each event waits for the other: on one worker this would never end.
        h.post_uncolored(move |_| {
            barrier.wait();
        });
    }
    rt.wait_idle();
}

#[test]
fn colors_run_on_all_workers_at_once() {
    for policy in POLICIES {
        let rt = runtime(2, policy);
        let h = rt.handle();
        let barrier = Arc::new(std::sync::Barrier::new(2));
        for _ in 0..2 {
            let barrier = Arc::clone(&barrier);
            h.post(&h.new_color(), move |_| {
                barrier.wait();
            });
        }
        rt.wait_idle();
    }
}

#[test]
fn e4_what_is_posted_by_a_stuck_event_is_run_by_another_worker() {
    let rt = runtime(2, StealPolicy::CostAware);
    let h = rt.handle();
    let (tx, rx) = mpsc::channel();
    let other = h.new_color();
    h.post(&h.new_color(), move |cx| {
        cx.post(&other, move |_| tx.send(()).unwrap());
        rx.recv().expect("the posted event runs while this one blocks its worker");
    });
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn c15_an_event_knows_its_color() {
    let rt = runtime(2, StealPolicy::CostAware);
    let h = rt.handle();
    let (a, b) = (h.new_color(), h.new_color());
    let (also_a, also_b) = (a.clone(), b.clone());
    h.post(&a, move |cx| {
        assert!(cx.is_on(&also_a) && !cx.is_on(&also_b));
        assert_eq!(cx.color().as_ref(), Some(&also_a));
        let (again_a, again_b) = (also_a.clone(), also_b.clone());
        cx.post(&also_b, move |cx| assert!(cx.is_on(&again_b) && !cx.is_on(&again_a)));
    });
    rt.wait_idle();
    assert_eq!(rt.metrics().events(), 2);
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn c16_a_long_chain_does_not_grow_the_stack() {
    let rt = runtime(1, StealPolicy::CostAware);
    fn next(cx: &mut Cx, h: Handle, n: u64) {
        if n > 0 {
            let color = cx.new_color();
            let again = h.clone();
            cx.post(&color, move |cx| next(cx, again, n - 1));
        }
    }
    let h = rt.handle();
    h.post_default({
        let h = h.clone();
        move |cx| next(cx, h, 300_000)
    });
    rt.wait_idle();
    assert_eq!(rt.metrics().events(), 300_001);
}

#[test]
fn c16_a_chain_of_drops_does_not_grow_the_stack() {
    // Each closure owns the only handle of the previous color, and the events are dropped, not run.
    let rt = runtime(1, StealPolicy::CostAware);
    let h = rt.handle();
    let mut last = h.new_color();
    h.post_default(|_| thread::sleep(Duration::from_millis(100)));
    for _ in 0..200_000 {
        let color = h.new_color();
        h.post(&color, move |_| drop(last));
        last = color;
    }
    drop(rt);
    drop(last);
}

#[test]
fn c10_a_color_whose_handles_go_while_it_runs_is_revived_by_its_event() {
    let rt = runtime(2, StealPolicy::Eager);
    let h = rt.handle();
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..2_000 {
        let color = h.new_color();
        let ran = Arc::clone(&ran);
        h.post(&color, move |cx| {
            // No handle is left. The event makes one, posts through it and moves it into another
            // event.
            let mine = cx.color().unwrap();
            let (ran, also) = (Arc::clone(&ran), mine.clone());
            cx.post(&mine, move |cx| {
                assert!(cx.is_on(&also));
                drop(also);
                let last = cx.color().unwrap();
                cx.post_uncolored(move |cx| {
                    cx.post(&last, move |_| {
                        ran.fetch_add(1, Relaxed);
                    });
                });
            });
        });
        drop(color);
    }
    rt.wait_idle();
    assert_eq!(ran.load(Relaxed), 2_000);
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn a_color_of_another_runtime_runs_there() {
    let (one, two) = (runtime(1, StealPolicy::CostAware), runtime(1, StealPolicy::CostAware));
    let color = two.handle().new_color();
    let home = two.handle();
    let (tx, rx) = mpsc::channel();
    one.handle().post_default(move |cx| {
        cx.post(&color, move |_| tx.send(home.current_worker()).unwrap());
    });
    assert_eq!(rx.recv().unwrap(), Some(0));
}

#[test]
fn big_and_overaligned_closures_run() {
    #[repr(align(64))]
    #[derive(Clone, Copy)]
    struct Aligned([u8; 64]);
    let rt = runtime(1, StealPolicy::CostAware);
    let h = rt.handle();
    let sum = Arc::new(AtomicU64::new(0));
    let (a, b) = (Arc::clone(&sum), Arc::clone(&sum));
    let big = [1u64; 100];
    h.post_default(move |_| {
        a.fetch_add(big.iter().sum(), Relaxed);
    });
    let aligned = Aligned([2; 64]);
    h.post_default(move |_| {
        assert_eq!((&raw const aligned).addr() % 64, 0);
        b.fetch_add(aligned.0.iter().map(|&x| u64::from(x)).sum(), Relaxed);
    });
    rt.wait_idle();
    assert_eq!(sum.load(Relaxed), 100 + 128);
}

#[test]
fn c9_a_new_color_of_long_events_does_not_hold_its_worker() {
    let rt = runtime(1, StealPolicy::CostAware);
    let h = rt.handle();
    let ran = Arc::new(AtomicUsize::new(0));
    let (tx, rx) = mpsc::channel();
    let also = Arc::clone(&ran);
    h.post_default(move |cx| {
        let (long, other) = (cx.new_color(), cx.new_color());
        for _ in 0..40 {
            let ran = Arc::clone(&also);
            cx.post(&long, move |_| {
                thread::sleep(Duration::from_millis(2));
                ran.fetch_add(1, Relaxed);
            });
        }
        cx.post(&other, move |_| tx.send(also.load(Relaxed)).unwrap());
    });
    let before = rx.recv().unwrap();
    assert!(before <= 5, "{before} long events ran before the other color had its turn");
    rt.wait_idle();
    assert_eq!(ran.load(Relaxed), 40);
}

#[test]
fn c9_a_color_that_posts_to_itself_for_ever_starves_nobody() {
    let rt = runtime(1, StealPolicy::CostAware);
    let h = rt.handle();
    let stop = Arc::new(AtomicBool::new(false));
    fn greedy(stop: Arc<AtomicBool>, cx: &mut Cx) {
        if !stop.load(Relaxed) {
            cx.post_here(move |cx| greedy(stop, cx));
        }
    }
    let also = Arc::clone(&stop);
    h.post(&h.new_color(), move |cx| greedy(also, cx));
    // Other colors, posts from outside and timers get their turns.
    let (tx, rx) = mpsc::channel();
    for i in 0..100 {
        let tx = tx.clone();
        h.post(&h.new_color(), move |_| tx.send(i).unwrap());
    }
    h.post_after(Duration::from_millis(2), &h.new_color(), move |_| tx.send(100).unwrap());
    assert_eq!(rx.iter().count(), 101);
    stop.store(true, Relaxed);
    rt.wait_idle();
}

/// C2: the posts of an event to its own color run in order, before later posts of others. This
/// holds whatever others post meanwhile, wherever the turns end, and whether or not events panic.
#[test]
fn c2_own_posts_keep_their_order() {
    fn own(seen: Arc<Mutex<Vec<(u32, u32)>>>, source: u32, left: u32, cx: &mut Cx) {
        seen.lock().unwrap().push((source, left));
        if left > 0 {
            cx.post_here(move |cx| own(seen, source, left - 1, cx));
        }
        assert!(left % 5 != 3, "on purpose");
    }
    let budget = dapple::TurnBudget { events: 3, ..Default::default() };
    let rt = Runtime::builder().workers(2).turn_budget(budget).on_panic(|_| ()).build().unwrap();
    let h = rt.handle();
    let color = h.new_color();
    let seen: Arc<Mutex<Vec<(u32, u32)>>> = Arc::default();
    thread::scope(|s| {
        for source in 0..3 {
            let (h, color, seen) = (&h, &color, &seen);
            s.spawn(move || {
                for round in 0..200 {
                    let seen = Arc::clone(seen);
                    // Two chains per post, each in its own order.
                    h.post(color, move |cx| {
                        let (a, b) = (2 * source * 1_000 + round, (2 * source + 1) * 1_000 + round);
                        for chain in [a, b] {
                            let seen = Arc::clone(&seen);
                            cx.post_here(move |cx| own(seen, chain, 10, cx));
                        }
                    });
                }
            });
        }
    });
    rt.wait_idle();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3 * 200 * 2 * 11);
    let mut last: std::collections::HashMap<u32, u32> = Default::default();
    for (chain, left) in seen.iter() {
        assert_eq!(last.insert(*chain, *left).unwrap_or(11), left + 1);
    }
    // The first steps of the two chains of a post run in the order of the posts.
    let firsts: Vec<u32> = seen.iter().filter(|e| e.1 == 10).map(|e| e.0).collect();
    for source in 0..6u32 {
        let own: Vec<u32> = firsts.iter().copied().filter(|c| c / 1_000 == source).collect();
        assert!(own.is_sorted() && own.len() == 200);
    }
    assert_eq!(rt.metrics().panics(), 3 * 200 * 2 * 2);
}

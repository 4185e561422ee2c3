//! E3, E7, C9: stealing moves what it should, wakes no worker without need, and starves no color.
//! The tests bound counts; the benchmarks measure speed.
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use dapple::{Color, Colored, Cx, Runtime, StealPolicy};

const LONG: Duration = Duration::from_secs(60);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// Posts 64 increments to random counters, then itself.
fn generate(left: u32, mut random: u64, counters: Arc<Vec<Colored<u64>>>, cx: &mut Cx) {
    for _ in 0..64 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        counters[(random >> 33) as usize % counters.len()].post(|n, _| *n += 1);
    }
    if left > 1 {
        cx.post_here(move |cx| generate(left - 1, random, counters, cx));
    }
}

#[test]
fn e3_producers_of_tiny_events_cause_few_steals_and_wake_ups() {
    for workers in [2, 4, 8] {
        let rt = runtime(workers);
        let h = rt.handle();
        let counters: Vec<_> = (0..1_000).map(|_| Colored::new(&h.new_color(), 0)).collect();
        let counters = Arc::new(counters);
        for producer in 1..=64 {
            let counters = Arc::clone(&counters);
            h.post(&h.new_color(), move |cx| generate(100, producer, counters, cx));
        }
        rt.wait_idle();
        let sum = Arc::new(AtomicU64::new(0));
        for counter in counters.iter() {
            let sum = Arc::clone(&sum);
            counter.post(move |n, _| {
                sum.fetch_add(*n, Relaxed);
            });
        }
        rt.wait_idle();
        assert_eq!(sum.load(Relaxed), 64 * 64 * 100, "{workers} workers: each event ran once");
        let m = rt.metrics();
        // A stolen batch has up to 32 entries. Each batch is part of a sentinel's look or of a
        // trial.
        let moved = m.steals() + m.wakeups();
        assert!(moved * 50 < m.events(), "{workers} workers: {moved} moves, {} events", m.events());
    }
}

#[test]
fn e3_posts_from_outside_wake_a_worker_at_most_once_per_sleep() {
    let rt = runtime(4);
    let h = rt.handle();
    let counters: Vec<_> = (0..64).map(|_| Colored::new(&h.new_color(), 0)).collect();
    thread::scope(|s| {
        for counter in &counters {
            s.spawn(move || (0..500).for_each(|_| counter.post(|n, _| *n += 1)));
        }
    });
    for counter in &counters {
        counter.post(|n, _| assert_eq!(*n, 500));
    }
    rt.wait_idle();
    let m = rt.metrics();
    assert_eq!(m.panics(), 0);
    // No thundering herd: a worker that is awake is not woken.
    assert!(m.wakeups() <= m.parks() + 4, "{} wake-ups, {} sleeps", m.wakeups(), m.parks());
}

#[test]
fn e3_chains_that_began_on_one_worker_spread() {
    fn chain(seen: Arc<[AtomicUsize; 2]>, stop: Arc<AtomicBool>, cx: &mut Cx) {
        seen[cx.worker()].fetch_add(1, Relaxed);
        if !stop.load(Relaxed) {
            cx.post_here(move |cx| chain(seen, stop, cx));
        }
    }
    let rt = runtime(2);
    let seen: Arc<[AtomicUsize; 2]> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let (also_seen, also_stop) = (Arc::clone(&seen), Arc::clone(&stop));
    rt.handle().post_uncolored(move |cx| {
        for _ in 0..128 {
            let (seen, stop, color) =
                (Arc::clone(&also_seen), Arc::clone(&also_stop), cx.new_color());
            cx.post(&color, move |cx| chain(seen, stop, cx));
        }
    });
    // On a machine that is busy with other programs, a steal may look as if it did not pay.
    let deadline = std::time::Instant::now() + LONG;
    let spread = || seen.iter().all(|n| n.load(Relaxed) > 10_000);
    while !spread() && std::time::Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    stop.store(true, Relaxed);
    rt.wait_idle();
    assert!(spread(), "{seen:?}");
}

#[test]
fn e4_a_color_that_was_rescued_goes_home() {
    // `home` is the worker on which the color was made. The chain ends when it has run elsewhere
    // and then at home again.
    fn chain(home: usize, mut been_away: bool, done: mpsc::Sender<bool>, cx: &mut Cx) {
        been_away |= cx.worker() != home;
        if been_away && cx.worker() == home {
            return done.send(true).unwrap();
        }
        cx.post_here(move |cx| chain(home, been_away, done, cx));
    }
    for _ in 0..5 {
        // A new runtime each time: a worker that has seen long events would steal the color, and
        // steals are permanent.
        let rt = runtime(2);
        let (tx, rx) = mpsc::channel();
        rt.handle().post_uncolored(move |cx| {
            let (home, color) = (cx.worker(), cx.new_color());
            cx.post(&color, move |cx| chain(home, false, tx, cx));
            thread::sleep(Duration::from_millis(30));
        });
        assert!(rx.recv_timeout(LONG).expect("it comes home"));
        rt.wait_idle();
    }
}

#[test]
fn e7_eight_workers_on_fewer_cores_are_correct_and_then_quiet() {
    for policy in [StealPolicy::CostAware, StealPolicy::Eager, StealPolicy::Off] {
        let rt = Runtime::builder().workers(8).steal_policy(policy).build().unwrap();
        let h = rt.handle();
        let values: Vec<_> =
            (0..100).map(|_| Colored::new(&h.new_color(), Vec::<u32>::new())).collect();
        for i in 0..200 {
            for value in &values {
                value.post(move |v, cx| {
                    v.push(2 * i);
                    cx.post_uncolored(|_| ());
                });
                value.post(move |v, _| v.push(2 * i + 1));
            }
        }
        for value in &values {
            value.post(|v, _| assert!(v.iter().copied().eq(0..400), "C2"));
        }
        rt.wait_idle();
        let m = rt.metrics();
        assert_eq!((m.events(), m.panics()), (100 * 200 * 3 + 100, 0), "{policy:?}");
        // The sentinel, if there is one, retires. Then no worker wakes up any longer.
        let quiet = (0..100).any(|_| {
            let before = rt.metrics().parks();
            thread::sleep(Duration::from_millis(20));
            rt.metrics().parks() == before
        });
        assert!(quiet, "{policy:?}");
    }
}

#[test]
fn e7_spinning_workers_do_not_keep_wait_idle() {
    let spin = Duration::from_secs(1);
    let rt = Runtime::builder().workers(2).spin(spin).build().unwrap();
    let h = rt.handle();
    let start = std::time::Instant::now();
    for _ in 0..1_000 {
        let color = h.new_color();
        h.post(&color, |cx| cx.post_uncolored(|_| ()));
        rt.wait_idle();
    }
    assert_eq!(rt.metrics().events(), 2_000);
    assert!(start.elapsed() < 1_000 * spin / 10, "nobody waits for the end of a spin");
}

#[test]
fn e7_a_spin_ends() {
    let rt = Runtime::builder().workers(2).spin(Duration::from_millis(20)).build().unwrap();
    rt.handle().post_uncolored(|_| ());
    rt.wait_idle();
    let sleeps = (0..1_000).any(|_| {
        thread::sleep(Duration::from_millis(10));
        rt.metrics().parks() >= 2
    });
    assert!(sleeps, "both workers sleep in the end");
}

#[test]
fn c9_a_greedy_color_leaves_a_thousand_others_their_share() {
    fn greedy(stop: Arc<AtomicBool>, cx: &mut Cx) {
        if !stop.load(Relaxed) {
            // Several chains on one color, so its queue is never empty.
            cx.post_here(move |cx| greedy(stop, cx));
        }
    }
    fn equal(counts: Arc<Vec<AtomicU64>>, stop: Arc<AtomicBool>, i: usize, cx: &mut Cx) {
        if stop.load(Relaxed) {
            return;
        }
        if counts[i].fetch_add(1, Relaxed) == 2_000 {
            stop.store(true, Relaxed);
        }
        cx.post_here(move |cx| equal(counts, stop, i, cx));
    }
    // Turns end by the number of events only, so the counts do not depend on the speed of the
    // machine.
    let budget = dapple::TurnBudget { nanos: u64::MAX, ..Default::default() };
    let rt = Runtime::builder().workers(1).turn_budget(budget).build().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let counts: Arc<Vec<AtomicU64>> = Arc::new((0..1_000).map(|_| AtomicU64::new(0)).collect());
    let (also_stop, also_counts) = (Arc::clone(&stop), Arc::clone(&counts));
    rt.handle().post_uncolored(move |cx| {
        let color = cx.new_color();
        for _ in 0..4 {
            let stop = Arc::clone(&also_stop);
            cx.post(&color, move |cx| greedy(stop, cx));
        }
        let colors: Vec<Color> = (0..1_000).map(|_| cx.new_color()).collect();
        for (i, color) in colors.iter().enumerate() {
            let (counts, stop) = (Arc::clone(&also_counts), Arc::clone(&also_stop));
            cx.post(color, move |cx| equal(counts, stop, i, cx));
        }
    });
    rt.wait_idle();
    // A turn has at most 64 events, and the run queue of colors is first in, first out.
    let least = counts.iter().map(|n| n.load(Relaxed)).min().unwrap();
    assert!(least >= 2_000 - 2 * 64, "one color had {least} events when another had 2,000");
}

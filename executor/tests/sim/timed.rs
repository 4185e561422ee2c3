//! Timed mode: the cost of each operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use dapple::sim;

use super::start;

/// Runs a program in timed mode, and returns its report.
fn timed(body: impl Fn(&sim::Sim) + 'static) -> sim::Report {
    let report = sim::run(&sim::Config::new().timed(sim::Costs::default()), 0, body);
    assert_eq!(report.failure, None);
    report
}

#[test]
fn e13_in_timed_mode_workers_work_at_the_same_time() {
    let program = |workers: usize| {
        move |_: &sim::Sim| {
            let rt = start(workers);
            let h = rt.handle();
            // Long enough that the cost of stealing does not matter.
            for _ in 0..40 {
                h.post(&h.new_color(), |_| sim::work(Duration::from_micros(500)));
            }
            rt.wait_idle();
        }
    };
    let [one, two, four] = [1, 2, 4].map(|workers| timed(program(workers)).time);
    assert!(one >= Duration::from_millis(20), "{one:?}");
    assert!(two < one * 11 / 20 && four < two * 12 / 20, "{one:?}, {two:?}, {four:?}");
    // The result is the same each time.
    assert_eq!(timed(program(4)).digest, timed(program(4)).digest);
}

#[test]
fn e13_in_timed_mode_a_wait_in_a_loop_does_not_stop_the_clock() {
    let report = timed(|sim| {
        let rt = start(2);
        let h = rt.handle();
        // Sets that share colors: their posters wait for each other's locks.
        let colors: Vec<_> = (0..3).map(|_| h.new_color()).collect();
        for n in 0..100 {
            let (one, two) = (colors[n % 3].clone(), colors[(n + 1) % 3].clone());
            h.post_uncolored(move |cx| {
                cx.post_set(&[one.exclusive(), two.exclusive()], |_| {
                    sim::work(Duration::from_micros(1));
                });
            });
        }
        let done = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&done);
        h.post(&h.new_color(), move |_| {
            sim::work(Duration::from_micros(300));
            ends.store(true, SeqCst);
        });
        while !done.load(SeqCst) {
            dapple::sync::yield_now();
        }
        rt.wait_idle();
        let before = h.now();
        sim.settled();
        assert!(h.now() - before < Duration::from_micros(1), "nobody was woken for that");
        sim.advance(Duration::from_millis(1));
    });
    assert!(report.time >= Duration::from_millis(1), "{report:?}");
    assert!(report.time < Duration::from_millis(3), "{report:?}");
}

#[test]
fn e13_in_timed_mode_a_sleeper_wakes_in_time_beside_a_busy_worker() {
    let report = timed(|sim| {
        let rt = start(1);
        let h = rt.handle();
        h.post_default(|_| sim::work(Duration::from_millis(50)));
        let before = h.now();
        sim.advance(Duration::from_millis(1));
        assert!(h.now() - before < Duration::from_millis(2));
        // A thread that polls in a loop until then does not run out of steps.
        let done = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&done);
        h.post_default(move |_| {
            sim::work(Duration::from_millis(200));
            ends.store(true, SeqCst);
        });
        while !done.load(SeqCst) {
            dapple::sync::yield_now();
        }
    });
    assert!(report.time >= Duration::from_millis(250), "{report:?}");
    assert!(report.steps < 10_000, "{report:?}");
}

#[test]
fn e13_a_sleeping_worker_that_is_woken_takes_its_time() {
    let hop = |wake: u64| {
        let mut costs = sim::Costs::default();
        costs.wake = wake;
        let config = sim::Config::new().timed(costs);
        let report = sim::run(&config, 0, |sim| {
            let rt = start(1);
            let h = rt.handle();
            sim.advance(Duration::from_secs(1));
            h.post_default(|_| ());
            rt.wait_idle();
        });
        report.time
    };
    let more = hop(50_000) - hop(10_000);
    assert!(more >= Duration::from_micros(40), "{more:?}");
}

//! The simulation of all parts of a program, and the reproducibility of runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dapple::{Colored, Domain, Palette, Priority, Runtime, StealPolicy, sim};

use super::{holds, start};

#[test]
fn e13_events_of_one_color_keep_their_order_whatever_is_paused() {
    holds(200, |sim| {
        let rt = start(1 + sim.seed() as usize % 4);
        let h = rt.handle();
        let lists: Vec<_> = (0..4).map(|_| Colored::new(&h.new_color(), Vec::new())).collect();
        for n in 0..40u32 {
            let next = lists[(n as usize * 3 + 1) % 4].clone();
            lists[n as usize % 4].post(move |list, _| {
                list.push(n);
                next.post(move |list, _| list.push(100 + n));
            });
        }
        rt.wait_idle();
        for list in &lists {
            let list = list.call(|list, _| list.clone()).join().unwrap();
            let posted: Vec<u32> = list.iter().copied().filter(|n| *n < 100).collect();
            assert!(posted.is_sorted(), "{list:?}");
        }
    });
}

#[test]
fn e13_time_is_virtual_and_jumps_to_the_next_timer() {
    holds(50, |_| {
        let rt = start(2);
        let h = rt.handle();
        let (color, before) = (h.new_color(), h.now());
        let hours = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&hours);
        let timer = h.every(Duration::from_secs(3_600), &color, move |_| {
            counted.fetch_add(1, SeqCst);
        });
        while hours.load(SeqCst) < 24 {
            dapple::sync::sleep(Duration::from_secs(60));
        }
        timer.cancel();
        let passed = h.now() - before;
        assert!(passed >= Duration::from_secs(24 * 3_600), "{passed:?}");
        assert!(passed < Duration::from_secs(25 * 3_600), "{passed:?}");
    });
}

#[test]
fn e13_what_is_settled_waits_for_nothing_but_time() {
    holds(100, |sim| {
        let rt = start(2);
        let h = rt.handle();
        let ran = Arc::new(AtomicU64::new(0));
        let (now, later) = (Arc::clone(&ran), Arc::clone(&ran));
        let color = h.new_color();
        h.post(&color, move |_| {
            now.fetch_add(1, SeqCst);
        });
        let _timer = h.post_after(Duration::from_secs(10), &color, move |_| {
            later.fetch_add(1, SeqCst);
        });
        sim.settled();
        assert_eq!(ran.load(SeqCst), 1);
        sim.advance(Duration::from_secs(11));
        sim.settled();
        assert_eq!(ran.load(SeqCst), 2);
    });
}

#[test]
fn e13_tasks_domains_sets_classes_and_blocking_work_run_under_every_seed() {
    holds(100, |sim| {
        let policy = match sim.seed() % 3 {
            0 => StealPolicy::Off,
            1 => StealPolicy::Eager,
            _ => StealPolicy::CostAware,
        };
        let rt = Runtime::builder().workers(2).steal_policy(policy).build().unwrap();
        let h = rt.handle();
        let sum = Arc::new(AtomicU64::new(0));
        let add = |n: u64| {
            let sum = Arc::clone(&sum);
            move || {
                sum.fetch_add(n, SeqCst);
            }
        };
        let palette = Palette::<u32>::new(&h);
        for key in 0..8 {
            let add = add(1);
            h.post(&palette.color(&(key % 3)), move |_| add());
        }
        let high = h.color_builder().priority(Priority::High).build();
        let (one, two) = (h.new_color(), high);
        for _ in 0..4 {
            let add = add(10);
            h.post_set(&[one.exclusive(), two.shared()], move |_| add());
        }
        let domain = Domain::snapshot(&h, 0u64);
        for _ in 0..4 {
            let add = add(100);
            domain.global(move |cx| {
                *cx.state_mut() += 1;
                add();
            });
        }
        let (task, offloaded, blocking) = (add(1_000), add(10_000), h.clone());
        let task = h.spawn(&one, async move {
            blocking.sleep(Duration::from_millis(5)).await;
            blocking.offload(offloaded).await.unwrap();
            task();
        });
        task.join().unwrap();
        rt.wait_idle();
        assert_eq!(sum.load(SeqCst), 8 + 40 + 400 + 11_000);
        let report = rt.shutdown(Duration::from_secs(1));
        assert!(report.drained && report.stuck_workers.is_empty(), "{report:?}");
    });
}

/// Returns the digest and the number of steps of one run.
fn digest_of(seed: u64) -> (u64, u64) {
    let digest = Arc::new(Mutex::new(0));
    let also = Arc::clone(&digest);
    let report = sim::run(&sim::Config::new(), seed, move |sim| {
        // The heap is different in each run.
        let junk: Vec<Vec<u8>> = (0..digest_of_the_heap() % 64).map(|n| vec![0; n * 100]).collect();
        let rt = start(3);
        let h = rt.handle();
        let colors: Vec<_> = (0..10).map(|_| h.new_color()).collect();
        for n in 0..300usize {
            let (next, other) = (colors[(n * 7 + 3) % 10].clone(), colors[(n + 4) % 10].clone());
            colors[n % 10].post(move |cx| {
                cx.handle().post_set(&[next.exclusive(), other.exclusive()], |_| ());
                cx.post(&next, |_| ());
            });
        }
        rt.wait_idle();
        drop(junk);
        *also.lock().unwrap() = sim.digest();
    });
    assert_eq!(report.failure, None);
    (*digest.lock().unwrap(), report.steps)
}

/// Returns a number that differs from run to run.
fn digest_of_the_heap() -> usize {
    Box::into_raw(Box::new(0u64)).addr() >> 6
}

#[test]
fn e13_a_run_is_the_same_each_time_and_seeds_differ() {
    let mut digests: Vec<(u64, u64)> = Vec::new();
    for seed in 0..20 {
        let first = digest_of(seed);
        for _ in 0..5 {
            assert_eq!(digest_of(seed), first, "seed {seed}");
        }
        digests.push(first);
    }
    digests.sort_unstable();
    digests.dedup();
    assert!(digests.len() > 10, "{digests:?}");
}

/// Posts itself until it is stopped.
fn again(stop: Arc<AtomicBool>, cx: &mut dapple::Cx) {
    if !stop.load(SeqCst) {
        cx.post_here(move |cx| again(stop, cx));
    }
}

#[test]
fn e13_a_worker_that_always_has_work_lets_others_go_on() {
    holds(30, |sim| {
        let rt = start(1 + sim.seed() as usize % 2);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        rt.handle().post_default(move |cx| again(stopped, cx));
        sim.advance(Duration::from_millis(2));
        stop.store(true, SeqCst);
        rt.wait_idle();
    });
    let config = sim::Config::new().seeds(0..1).most_steps(50_000);
    let failure = sim::find(&config, |_| {
        let rt = start(1);
        rt.handle().post_default(|cx| again(Arc::default(), cx));
        rt.wait_idle();
    });
    assert_eq!(failure.unwrap().message, "the run does not end");
}

#[test]
fn e13_a_loop_of_turns_lets_workers_go_on() {
    holds(20, |_| {
        let here = Runtime::builder().workers(2).build_here().unwrap();
        let ran = Arc::new(AtomicBool::new(false));
        let runs = Arc::clone(&ran);
        here.handle().post(&here.handle().new_color(), move |_| runs.store(true, SeqCst));
        while !ran.load(SeqCst) {
            here.turn(dapple::Turn::Poll, 8);
        }
    });
}

#[test]
fn e13_what_is_settled_lets_no_time_pass_by() {
    holds(300, |sim| {
        let rt = start(2);
        let h = rt.handle();
        let ran = Arc::new(AtomicU64::new(0));
        for _ in 0..3 {
            let (ran, color) = (Arc::clone(&ran), h.new_color());
            h.post(&color, move |cx| {
                cx.post_here(move |_| {
                    ran.fetch_add(1, SeqCst);
                });
            });
        }
        let before = h.now();
        sim.settled();
        let passed = h.now() - before;
        assert_eq!(ran.load(SeqCst), 3);
        // The events take some time, but a pause does not, nor does the next look of a worker.
        assert!(passed < Duration::from_micros(50), "{passed:?}");
    });
}

#[test]
fn e13_a_run_behind_one_that_failed_is_as_any_other() {
    let alone = digest_of(3);
    for fails in [0, 1] {
        let failed = sim::find(&sim::Config::new().seeds(0..1).most_steps(5_000), move |_| {
            let rt = start(2);
            match fails {
                0 => rt.block_on(std::future::pending::<()>()),
                _ => panic!("on purpose"),
            }
        });
        assert!(failed.is_some());
        assert_eq!(digest_of(3), alone);
    }
}

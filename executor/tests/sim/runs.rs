//! What is simulated, and that a run is the same each time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dapple::{Colored, Domain, Palette, Priority, Runtime, StealPolicy, sim};

use super::start;

/// Runs a body with so many seeds; none fails.
fn holds(seeds: u64, body: impl Fn(&sim::Sim) + 'static) {
    sim::check(&sim::Config::new().seeds(0..seeds), body);
}

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

/// What a program does in one run, as a number.
fn digest_of(seed: u64) -> (u64, u64) {
    let digest = Arc::new(Mutex::new(0));
    let also = Arc::clone(&digest);
    let report = sim::run(&sim::Config::new(), seed, move |sim| {
        // The heap of each run is another one.
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

/// Some number that differs from run to run.
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

#[test]
fn e13_a_body_that_waits_for_what_never_comes_fails() {
    let config = sim::Config::new().seeds(0..1);
    let failure = sim::find(&config, |_| {
        let rt = start(1);
        let never = std::future::pending::<()>();
        rt.block_on(never);
    });
    assert_eq!(failure.unwrap().message, "the test waits for what never comes");
}

#[test]
fn e13_a_program_that_never_rests_fails() {
    let config = sim::Config::new().seeds(0..1).most_steps(10_000);
    let failure = sim::find(&config, |_| {
        let rt = start(1);
        let done = AtomicBool::new(false);
        while !done.load(SeqCst) {
            dapple::sync::yield_now();
        }
        drop(rt);
    });
    assert_eq!(failure.unwrap().message, "it does not come to an end");
}

/// Posts itself for ever.
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
    assert_eq!(failure.unwrap().message, "it does not come to an end");
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
        // What runs takes some, but nobody's pause does, nor does the next look of a worker.
        assert!(passed < Duration::from_micros(50), "{passed:?}");
    });
}

#[test]
fn e13_a_body_that_asks_for_the_seed_gets_it_again() {
    let body = |sim: &sim::Sim| assert_ne!(sim.seed(), 13);
    let failure = sim::find(&sim::Config::new(), body).unwrap();
    assert_eq!(failure.seed, Some(13));
    assert!(
        sim::replay(&sim::Config::new(), failure.saved.as_ref().unwrap(), body).failure.is_some()
    );
    assert!(failure.saved.unwrap().to_string().starts_with("seed 13\n"));
}

#[test]
fn e13_a_pause_for_an_event_that_never_comes_has_an_end() {
    // The timer never rests, so there is always something else to wait for.
    let body = |_: &sim::Sim| {
        let rt = start(2);
        let h = rt.handle();
        let (a, b, wrote) = (h.new_color(), h.new_color(), Arc::new(AtomicBool::new(false)));
        let timer = h.every(Duration::from_millis(1), &h.new_color(), |_| ());
        h.post(&a, move |cx| {
            let read = Arc::clone(&wrote);
            cx.post(&b, move |_| assert!(read.load(SeqCst), "not written yet"));
            wrote.store(true, SeqCst);
        });
        rt.wait_idle();
        timer.cancel();
    };
    let config = sim::Config::new().most_steps(100_000);
    let failure = sim::find(&config, body).unwrap();
    let saved = failure.saved.unwrap().to_string();
    let (head, _) = saved.split_once(" until ").expect("it waits for the reader");
    let gone = format!("{head} until 1\n").parse().unwrap();
    let report = sim::replay(&config, &gone, body);
    assert_eq!(report.failure, Some(failure.message));
    assert!(report.steps < 100_000, "{report:?}");
}

#[test]
fn e13_a_driver_is_refused() {
    struct Never;
    impl dapple::park::Driver for Never {
        fn park(&self, _: usize) -> std::io::Result<Box<dyn dapple::park::Park>> {
            unreachable!("nobody asks")
        }
    }
    holds(1, |_| {
        let refused = Runtime::builder().driver(Arc::new(Never)).build().unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::Unsupported);
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

#[test]
fn e13_a_panic_of_an_event_fails_unless_it_is_allowed() {
    let body = |_: &sim::Sim| {
        let rt = start(1);
        rt.handle().post_default(|_| std::panic::resume_unwind(Box::new("on purpose")));
        rt.wait_idle();
    };
    let failure = sim::find(&sim::Config::new().seeds(0..1), body).unwrap();
    assert!(failure.message.contains("on purpose"), "{failure}");
    assert!(failure.message.contains(file!()), "{failure}");
    assert!(sim::find(&sim::Config::new().seeds(0..10).allow_panics(), body).is_none());
}

#[test]
fn e13_a_program_that_is_another_one_each_time_is_told_so() {
    let body = |_: &sim::Sim| {
        let rt = start(2);
        let h = rt.handle();
        let colors: Vec<_> = (0..8).map(|_| h.new_color()).collect();
        // Its order is drawn anew for each map.
        let numbers: std::collections::HashMap<usize, ()> = (0..8).map(|n| (n, ())).collect();
        for number in numbers.keys() {
            h.post(&colors[*number], |_| ());
        }
        rt.wait_idle();
    };
    assert!(sim::find(&sim::Config::new().seeds(0..20), body).is_none());
    let failure = sim::find(&sim::Config::new().seeds(0..20).run_twice(), body).unwrap();
    assert!(failure.message.starts_with("it is not the same run each time: event "), "{failure}");
    assert!(failure.message.contains(file!()), "{failure}");
    // One that is the same has nothing to be told.
    let same = |_: &sim::Sim| {
        let rt = start(2);
        rt.handle().post_default(|cx| cx.post_here(|_| ()));
        rt.wait_idle();
    };
    sim::check(&sim::Config::new().seeds(0..20).run_twice(), same);
}

#[test]
fn e13_labels_that_no_seed_reaches_are_told() {
    let body = |sim: &sim::Sim| {
        if sim.seed() == 7 {
            dapple::sim_reached!("seven");
        }
    };
    let config = sim::Config::new().seeds(0..10).has_to_reach("seven");
    assert!(sim::find(&config, body).is_none());
    let failure = sim::find(&config.has_to_reach("twelve"), body).unwrap();
    assert_eq!(failure.message, "no seed has reached: twelve");
    let explored = sim::explore(&sim::Config::new().seeds(0..10), body);
    assert_eq!((explored.seeds, explored.reached["seven"]), (10, 1));
}

#[test]
fn e13_a_wait_may_end_early() {
    use dapple::sync::{Condvar, Mutex};
    // It does not look again whether what it waits for has come.
    let body = |_: &sim::Sim| {
        let rt = start(1);
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let comes = Arc::clone(&shared);
        rt.handle().post_default(move |_| {
            *comes.0.lock().unwrap() = true;
            comes.1.notify_one();
        });
        let is_there = shared.0.lock().unwrap();
        let is_there = if *is_there { is_there } else { shared.1.wait(is_there).unwrap() };
        assert!(*is_there, "it has not come");
    };
    let failure = sim::find(&sim::Config::new(), body).expect("some wait ends early");
    let saved = failure.saved.as_ref().unwrap();
    assert!(saved.to_string().contains(" early-wake 0 for "), "{failure}");
    assert!(failure.story.contains("begins a wait that ends after"), "{failure}");
    let again = sim::replay(&sim::Config::new(), saved, body);
    assert_eq!(again.failure, Some(failure.message));
}

#[test]
fn e13_faults_break_no_promise_of_timers() {
    // Of nine seeds two may have timers that are late; none loses one, or changes their order.
    let fired = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&fired);
    let body = move |sim: &sim::Sim| {
        let rt = start(2);
        let h = rt.handle();
        let order = Colored::new(&h.new_color(), Vec::new());
        let (armed, counts) = (order.clone(), Arc::clone(&counts));
        // Armed on one worker, they have an order.
        order.post(move |_, cx| {
            for n in [3, 1, 4, 1, 5, 9, 2, 6] {
                let (armed, counts) = (armed.clone(), Arc::clone(&counts));
                let due = cx.handle().now() + Duration::from_millis(n);
                let color = armed.color().clone();
                let _timer = cx.post_at(due, &color, move |cx| {
                    assert!(cx.handle().now() >= due, "a timer is never early");
                    counts.fetch_add(1, SeqCst);
                    armed.get_mut(cx).push(due);
                });
            }
        });
        sim.advance(Duration::from_millis(100));
        rt.wait_idle();
        let order = order.call(|order, _| order.clone()).join().unwrap();
        assert!(order.is_sorted(), "{order:?}");
    };
    let explored = sim::explore(&sim::Config::new().seeds(0..300), body);
    assert!(explored.failure.is_none(), "{}", explored.failure.unwrap());
    assert!(explored.reached["timers that are late"] > 20, "{:?}", explored.reached);
    assert_eq!(fired.load(SeqCst), 300 * 8);
}

#[test]
fn e13_a_pause_until_nobody_else_can_go_on_is_saved_and_replayed() {
    let body = |_: &sim::Sim| {
        let rt = start(2);
        let h = rt.handle();
        let (a, b, wrote) = (h.new_color(), h.new_color(), Arc::new(AtomicBool::new(false)));
        h.post(&a, move |cx| {
            let read = Arc::clone(&wrote);
            cx.post(&b, move |_| assert!(read.load(SeqCst), "not written yet"));
            wrote.store(true, SeqCst);
        });
        rt.wait_idle();
    };
    let config = sim::Config::new();
    let failure = sim::find(&config, body).unwrap();
    let saved = failure.saved.unwrap().to_string();
    let (head, _) = saved.split_once(" until ").expect("it waits for the reader");
    let rests: sim::Saved = format!("{head} rest 3\n").parse().unwrap();
    assert_eq!(rests.to_string(), format!("{head} rest 3\n"));
    assert_eq!(sim::replay(&config, &rests, body).failure, Some(failure.message));
}

#[test]
fn e13_nothing_is_paused_in_the_last_part_of_a_run() {
    // A program that ends when it has gone on for a thousand events without a pause.
    let config = sim::Config::new().most_steps(40_000);
    let body = |_: &sim::Sim| {
        fn goes_on(since: std::time::Instant, left: u32, cx: &mut dapple::Cx) {
            let now = cx.handle().now();
            let is_paused = now - since > Duration::from_micros(20);
            if let Some(left) = if is_paused { Some(1_000) } else { left.checked_sub(1) } {
                cx.post_here(move |cx| goes_on(now, left, cx));
            }
        }
        let rt = start(1);
        rt.handle().post_default(|cx| goes_on(cx.handle().now(), 1_000, cx));
        rt.wait_idle();
    };
    sim::check(&config, body);
}

#[test]
fn e13_of_those_that_wait_for_all_others_the_first_in_rank_goes_on() {
    // Each event is on a worker of its own, and posts one more, without a color.
    let orders = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&orders);
    let body = move |_: &sim::Sim| {
        let rt = start(4);
        let h = rt.handle();
        let order = Arc::new(Mutex::new(Vec::new()));
        for label in ["a", "b", "c"] {
            let (color, order) = (h.color_builder().label(label).build(), Arc::clone(&order));
            h.post(&color, move |cx| {
                order.lock().unwrap().push(label);
                let also = Arc::clone(&order);
                cx.post_uncolored(move |_| also.lock().unwrap().push("then"));
            });
        }
        rt.wait_idle();
        tell.lock().unwrap().push(order.lock().unwrap().join(" "));
        assert_ne!(order.lock().unwrap()[0], "b");
    };
    // Where the two others begin is told by a run that fails.
    let failure = sim::find(&sim::Config::new(), body.clone()).unwrap();
    let saved = failure.saved.unwrap().to_string();
    let begins = saved.lines().filter_map(|line| line.split_once(" begins 0 "));
    let [one, two] = begins.map(|(who, _)| who).collect::<Vec<_>>()[..] else {
        panic!("{saved}");
    };
    let mut first = Vec::new();
    for (one_rank, two_rank) in [(1, 2), (2, 1)] {
        orders.lock().unwrap().clear();
        let rests = format!("{one} begins 0 rest {one_rank}\n{two} begins 0 rest {two_rank}\n");
        let report = sim::replay(&sim::Config::new(), &rests.parse().unwrap(), body.clone());
        assert!(report.failure.is_some(), "{report:?}");
        // What the first one has posted runs before those that rest, and so does what comes next.
        let order = orders.lock().unwrap()[0].clone();
        let order: Vec<&str> = order.split(' ').collect();
        assert_eq!([order[0], order[1], order[3]], ["b", "then", "then"], "{order:?}");
        first.push(order[2].to_owned());
    }
    first.sort_unstable();
    assert_eq!(first, ["a", "c"], "the one with the greater number is first");
}

#[test]
fn e13_notes_may_look_at_the_program() {
    // A note that posts, notes and reads the clock; told or not, the run is the same.
    let body = |_: &sim::Sim| {
        let rt = start(2);
        let h = rt.handle();
        let color = h.new_color();
        for _ in 0..3 {
            h.post(&color, |cx| {
                let handle = cx.handle();
                dapple::sim_note!("at {:?}, {}", handle.now(), {
                    dapple::sim_note!("inside");
                    handle.post_uncolored(|_| ());
                    1
                });
            });
        }
        rt.wait_idle();
        panic!("on purpose");
    };
    let config = sim::Config::new().seeds(3..4);
    let failure = sim::find(&config, body).unwrap();
    assert_eq!(failure.message, "on purpose");
    assert_eq!(failure.story.matches("notes: inside").count(), 3, "{failure}");
    let plain = sim::replay(&config, failure.saved.as_ref().unwrap(), body);
    assert_eq!(plain.failure, Some(failure.message));
}

#[test]
fn e13_a_history_begins_where_it_is_asked_for() {
    holds(10, |sim| {
        let rt = start(1);
        let h = rt.handle();
        h.post_default(|_| ());
        rt.wait_idle();
        let history = sim.history();
        h.post_default(|_| sim::wrote("x", "text"));
        rt.wait_idle();
        let ran = history.events().iter().filter(|event| event.began.is_some()).count();
        assert_eq!((ran, history.values().len()), (1, 1));
        assert_eq!(sim.history().events().len(), 0);
        history.check_at_rest();
    });
    // A run that is told has more records, of which none is of the history.
    let failure = sim::find(&sim::Config::new().seeds(0..1).run_twice(), |sim| {
        let rt = start(1);
        rt.handle().post_default(|_| ());
        rt.wait_idle();
        assert_eq!(sim.history().events().len(), 0, "nothing has happened yet");
    });
    assert!(failure.is_none(), "{failure:?}");
}

/// What a program takes in timed mode.
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
            // Long enough that what is paid for stealing does not matter.
            for _ in 0..40 {
                h.post(&h.new_color(), |_| sim::work(Duration::from_micros(500)));
            }
            rt.wait_idle();
        }
    };
    let [one, two, four] = [1, 2, 4].map(|workers| timed(program(workers)).time);
    assert!(one >= Duration::from_millis(20), "{one:?}");
    assert!(two < one * 11 / 20 && four < two * 12 / 20, "{one:?}, {two:?}, {four:?}");
    // Each time the same.
    assert_eq!(timed(program(4)).digest, timed(program(4)).digest);
}

#[test]
fn e13_in_timed_mode_whoever_waits_in_a_loop_does_not_stop_the_clock() {
    let report = timed(|sim| {
        let rt = start(2);
        let h = rt.handle();
        // Sets that meet: their posters wait for each other's locks.
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
        // Somebody who looks in a loop until then does not run out of steps.
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

/// Blocks its thread; run by the test below only, in a process of its own.
#[test]
#[ignore = "it does not end"]
fn blocks_for_ever() {
    let config = sim::Config::new().patience(Duration::from_secs(1));
    sim::check(&config, |_| {
        let rt = start(1);
        rt.handle().post_default(|_| std::thread::park());
        rt.wait_idle();
    });
}

#[test]
fn e13_a_callback_that_blocks_the_thread_is_named() {
    let me = std::env::current_exe().unwrap();
    let mut blocks = std::process::Command::new(me);
    blocks.args(["--ignored", "--exact", "runs::blocks_for_ever", "--nocapture"]);
    let output = blocks.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let place = format!("the event posted at {}:", file!());
    assert!(text.contains(&place) && text.contains("blocks the thread"), "{text}");
}

#[test]
fn e13_histories_of_a_bit_of_everything_keep_the_rules() {
    holds(150, |sim| {
        let history = sim.history();
        let rt = start(1 + sim.seed() as usize % 3);
        let h = rt.handle();
        let colors: Vec<_> = (0..3).map(|_| h.new_color()).collect();
        let domain = Domain::snapshot(&h, 0u64);
        for n in 0..8usize {
            let (next, other) = (colors[n % 3].clone(), colors[(n + 1) % 3].clone());
            let domain = domain.clone();
            colors[(n + 2) % 3].post(move |cx| {
                cx.post_shared(&other, |_| sim::work(Duration::from_millis(2)));
                cx.post_set(&[next.exclusive(), other.shared()], |_| ());
                cx.post_uncolored(|_| sim::work(Duration::from_micros(10)));
                domain.global(|cx| {
                    *cx.state_mut() += 1;
                    sim::wrote("state", cx.state());
                });
                domain.anon(move |cx| {
                    sim::read("state", cx.state());
                    cx.defer(move |cx| cx.post(&next, |_| ()));
                });
            });
        }
        rt.wait_idle();
        history.check_at_rest();
        rt.shutdown(Duration::from_secs(1));
        history.check_ended();
    });
}

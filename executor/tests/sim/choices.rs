//! The choices of a seed: pauses and faults, how long they last, and where they end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dapple::{Colored, sim};

use super::{programs, start};

#[test]
fn e13_a_pause_for_an_event_that_never_comes_has_an_end() {
    // The timer keeps firing, so there is always something else to wait for.
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
fn e13_a_wait_may_end_early() {
    use dapple::sync::{Condvar, Mutex};
    // The test waits once. It does not wait again if the wait ended early.
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
    assert!(failure.story.contains("begins a wait that ends early, after"), "{failure}");
    let again = sim::replay(&sim::Config::new(), saved, body);
    assert_eq!(again.failure, Some(failure.message));
}

#[test]
fn e13_faults_break_no_promise_of_timers() {
    // Two of nine seeds may have timers that are late. None loses a timer or changes the order of
    // timers.
    let fired = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&fired);
    let body = move |sim: &sim::Sim| {
        let rt = start(2);
        let h = rt.handle();
        let order = Colored::new(&h.new_color(), Vec::new());
        let (armed, counts) = (order.clone(), Arc::clone(&counts));
        // Timers that are armed on one worker have an order.
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
    let body = programs::a_post_and_then_the_write_that_the_posted_event_reads;
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
    // The program ends when it has run 1,000 events in a row without a pause.
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
    // Each event runs on a worker of its own, and posts one more without a color.
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
    // A run that fails shows where the two other events begin.
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
        // The post of "b" runs before the events that rest, and the post of the first of these runs
        // before the second one.
        let order = orders.lock().unwrap()[0].clone();
        let order: Vec<&str> = order.split(' ').collect();
        assert_eq!([order[0], order[1], order[3]], ["b", "then", "then"], "{order:?}");
        first.push(order[2].to_owned());
    }
    first.sort_unstable();
    assert_eq!(first, ["a", "c"], "the one with the greater number is first");
}

//! The failures of a simulation, and what they report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use dapple::{Runtime, sim};

use super::{holds, start};

#[test]
fn e13_a_body_that_waits_for_what_never_comes_fails() {
    let config = sim::Config::new().seeds(0..1);
    let failure = sim::find(&config, |_| {
        let rt = start(1);
        let never = std::future::pending::<()>();
        rt.block_on(never);
    });
    assert_eq!(failure.unwrap().message, "the test waits for something that never happens");
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
    assert_eq!(failure.unwrap().message, "the run does not end");
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
        // The iteration order is random for each map.
        let numbers: std::collections::HashMap<usize, ()> = (0..8).map(|n| (n, ())).collect();
        for number in numbers.keys() {
            h.post(&colors[*number], |_| ());
        }
        rt.wait_idle();
    };
    assert!(sim::find(&sim::Config::new().seeds(0..20), body).is_none());
    let failure = sim::find(&sim::Config::new().seeds(0..20).run_twice(), body).unwrap();
    assert!(
        failure.message.starts_with("the run differs when it is repeated: event "),
        "{failure}"
    );
    assert!(failure.message.contains(file!()), "{failure}");
    // A program that is the same each time has nothing to report.
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
fn e13_notes_may_look_at_the_program() {
    // The note posts, notes and reads the clock. The run is the same whether or not it is told.
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

/// Blocks its thread. Only the next test runs this, in a process of its own.
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
    blocks.args(["--ignored", "--exact", "failures::blocks_for_ever", "--nocapture"]);
    let output = blocks.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let place = format!("the event posted at {}:", file!());
    assert!(text.contains(&place) && text.contains("blocks the thread"), "{text}");
}

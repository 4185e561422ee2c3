//! Faults in the shipped files of the runtime itself. A small program finds each of them:
//! `RUSTFLAGS="--cfg dapple_mutants" cargo test -p dapple --features sim --test sim mutants`.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use dapple::sim::{self, Config, Failure, Sim};
use dapple::sync::mutant::{Mutant, plant};
use dapple::{Color, Domain, Runtime, StealPolicy};

use super::{color, start};

/// Returns the failure of a program when the runtime has this fault. Without the fault it must not
/// fail.
fn found(mutant: Mutant, body: impl Fn(&Sim) + Clone + 'static) -> Failure {
    plant(None);
    let config = Config::new().most_steps(200_000);
    let holds = body.clone();
    let holds = move |sim: &Sim| {
        let history = sim.history();
        holds(sim);
        history.check_at_rest();
    };
    if let Some(failure) = sim::find(&config, holds) {
        panic!("it fails without a fault: {failure}");
    }
    plant(Some(mutant));
    let failure = sim::find(&config, body).expect("no seed finds it");
    plant(None);
    println!("{mutant:?}: {failure}");
    assert!(failure.deviations <= 10, "{failure}");
    failure
}

#[test]
fn e13_a_wakeup_that_is_lost() {
    /// Posts this many hops between two colors, neither of which is stolen.
    fn hop(here: Color, there: Color, left: u32) {
        let back = here.clone();
        here.post(move |_| {
            if left > 0 {
                hop(there, back, left - 1);
            }
        });
    }
    found(Mutant::LostWakeup, |_| {
        let off = Runtime::builder().workers(2).steal_policy(StealPolicy::Off);
        let rt = off.build().unwrap();
        let h = rt.handle();
        hop(color(&h, "one"), color(&h, "two"), 20);
        rt.wait_idle();
    });
}

#[test]
fn e13_a_quiescence_that_looks_too_early() {
    found(Mutant::EarlyQuiescence, |_| {
        let rt = start(2);
        let h = rt.handle();
        let ran = Arc::new(AtomicU32::new(0));
        let (one, two, counted) = (color(&h, "one"), color(&h, "two"), Arc::clone(&ran));
        h.post(&one, move |cx| {
            let last = Arc::clone(&counted);
            cx.post(&two, move |_| {
                last.fetch_add(1, SeqCst);
            });
            counted.fetch_add(1, SeqCst);
        });
        rt.wait_idle();
        assert_eq!(ran.load(SeqCst), 2, "not all has run");
    });
}

#[test]
fn e13_a_reader_beside_a_writer() {
    found(Mutant::ReaderBesideWriter, |_| {
        let rt = start(2);
        let h = rt.handle();
        let shared = color(&h, "shared");
        let readers = Arc::new(AtomicU32::new(0));
        for _ in 0..2 {
            let (reads, writes) = (Arc::clone(&readers), Arc::clone(&readers));
            h.post_shared(&shared, move |cx| {
                reads.fetch_add(1, SeqCst);
                cx.post_uncolored(|_| ());
                reads.fetch_sub(1, SeqCst);
            });
            h.post(&shared, move |_| assert_eq!(writes.load(SeqCst), 0, "beside a reader"));
        }
        rt.wait_idle();
    });
}

#[test]
fn e13_a_set_that_deadlocks() {
    found(Mutant::UnorderedSet, |_| {
        let rt = start(2);
        let h = rt.handle();
        let (one, two) = (color(&h, "one"), color(&h, "two"));
        let (a, b) = (one.clone(), two.clone());
        h.post_uncolored(move |cx| {
            cx.handle().post_set(&[a.exclusive(), b.exclusive()], |_| ());
        });
        h.post_uncolored(move |cx| {
            cx.handle().post_set(&[two.exclusive(), one.exclusive()], |_| ());
        });
        rt.wait_idle();
    });
}

#[test]
fn e13_an_event_that_overtakes_others() {
    found(Mutant::OvertakingPost, |_| {
        let rt = start(2);
        let h = rt.handle();
        let own = color(&h, "own");
        let posted = Arc::new(AtomicU32::new(0));
        let (again, seen) = (own.clone(), Arc::clone(&posted));
        h.post(&own, move |cx| {
            // The events that the test has posted by now stand before the one that is posted here.
            let before = seen.load(SeqCst);
            cx.post(&again, move |_| assert!(seen.load(SeqCst) >= 100 * before, "it overtakes"));
        });
        let ran = Arc::clone(&posted);
        h.post(&own, move |_| {
            ran.fetch_add(99, SeqCst);
        });
        posted.fetch_add(1, SeqCst);
        rt.wait_idle();
    });
}

#[test]
fn e13_commits_that_are_torn() {
    let failure = found(Mutant::TornCommits, |_| {
        let rt = start(2);
        let domain = Domain::snapshot(&rt.handle(), ());
        let effects = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..2 {
            let effects = Arc::clone(&effects);
            domain.anon(move |cx| {
                let ticket = cx.ticket().number();
                let also = Arc::clone(&effects);
                cx.defer(move |_| effects.lock().unwrap().push(ticket));
                cx.defer(move |_| also.lock().unwrap().push(ticket));
            });
        }
        rt.wait_idle();
        let effects = effects.lock().unwrap().clone();
        assert!(effects.is_sorted(), "out of order: {effects:?}");
    });
    assert!(failure.message.contains("out of order"), "{failure}");
}

#[test]
fn e13_the_history_tells_which_rule_a_fault_breaks() {
    /// Returns the broken rule that the history reports for a program which checks nothing itself.
    fn rule(mutant: Mutant, body: impl Fn(&dapple::Handle) + Clone + 'static) -> String {
        plant(Some(mutant));
        let failure = sim::find(&Config::new().most_steps(200_000), move |sim| {
            let history = sim.history();
            let rt = start(2);
            body(&rt.handle());
            rt.wait_idle();
            history.check_at_rest();
        });
        plant(None);
        failure.expect("no seed finds it").message
    }
    let message = rule(Mutant::ReaderBesideWriter, |h| {
        let shared = color(h, "shared");
        h.post_shared(&shared, |cx| cx.post_uncolored(|_| ()));
        h.post(&shared, |_| ());
    });
    assert!(
        message.starts_with("C5 is broken") || message.starts_with("C2 is broken"),
        "{message}"
    );
    let message = rule(Mutant::EarlyQuiescence, |h| {
        let (one, two) = (color(h, "one"), color(h, "two"));
        h.post(&one, move |cx| cx.post(&two, |_| ()));
    });
    assert!(message.starts_with("E16 is broken"), "{message}");
    let message = rule(Mutant::TornCommits, |h| {
        let domain = Domain::snapshot(h, ());
        for _ in 0..2 {
            domain.anon(|cx| cx.defer(|_| ()));
        }
    });
    assert!(message.starts_with("I7 is broken"), "{message}");
    let message = rule(Mutant::OvertakingPost, |h| {
        let own = color(h, "own");
        let again = own.clone();
        h.post(&own, move |cx| {
            let other = again.clone();
            cx.post_uncolored(move |cx| cx.post(&other, |_| ()));
            cx.post(&again, |_| ());
        });
    });
    assert!(message.starts_with("C2 is broken"), "{message}");
}

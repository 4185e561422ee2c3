//! Tokens, `Done`s and handles that end up in unusual places (I16).

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};

use dapple::Domain;

use crate::common::{Log, MINUTE, in_both_modes, runtime};

#[test]
fn i16_a_dropped_token_counts_as_a_panic_and_the_order_goes_on() {
    in_both_modes(0, |rt, d| {
        let stash = Arc::new(Mutex::new(Vec::new()));
        let also = Arc::clone(&stash);
        d.event_anon(move |n| {
            n.upgrade_anon_then(move |a| {
                // The token leaves the step without a commit.
                also.lock().unwrap().push(a);
                panic!("no Done");
            })
        });
        let ran = Arc::new(AtomicBool::new(false));
        let also = Arc::clone(&ran);
        d.none(move |n| n.defer(move |_| also.store(true, SeqCst)));
        rt.wait_idle();
        assert!(!ran.load(SeqCst), "the token is held");
        stash.lock().unwrap().clear();
        rt.wait_idle();
        assert!(ran.load(SeqCst));
        assert_eq!(d.uncommitted(), 0);
    });
}

#[test]
fn i16_a_done_that_is_dropped_or_returned_elsewhere_still_counts() {
    in_both_modes(0, |rt, d| {
        let (other, log) = (d.clone(), Log::default());
        let swapped = Arc::new(Mutex::new(None));
        let also = Arc::clone(&swapped);
        d.event(move |n| {
            *also.lock().unwrap() = Some(n.commit());
            panic!("its Done is kept elsewhere");
        });
        let also = log.clone();
        other.global(move |g| {
            *g.state_mut() += 1;
            g.defer(move |_| also.add(1));
        });
        rt.wait_idle();
        assert_eq!(log.read(), []);
        drop(swapped.lock().unwrap().take());
        rt.wait_idle();
        assert_eq!(log.read(), [1]);
    });
}

#[test]
fn i16_a_ticket_makes_a_handle_of_a_domain_that_has_none() {
    for round in 0..200 {
        let rt = runtime(1 + round % 2);
        let d = Domain::snapshot(&rt.handle(), vec![1]);
        let ((go, wait), (tx, rx)) = (mpsc::channel::<()>(), mpsc::channel());
        d.anon(move |a| {
            wait.recv_timeout(MINUTE).unwrap();
            tx.send(a.domain()).unwrap();
        });
        drop(d);
        go.send(()).unwrap();
        rt.wait_idle();
        let d = rx.recv().unwrap();
        d.global(|g| g.state_mut().push(2));
        d.anon(|a| assert_eq!(a.state(), &[1, 2]));
        rt.wait_idle();
        assert_eq!((d.uncommitted(), rt.metrics().panics()), (0, 0));
    }
}

#[test]
fn i16_tokens_and_dones_of_two_runtimes_may_meet() {
    let (one, two) = (runtime(1), runtime(1));
    let (a, b) = (Domain::snapshot(&one.handle(), 1), Domain::snapshot(&two.handle(), 2));
    let log = Log::default();
    for _ in 0..100 {
        let (tx, rx) = mpsc::channel();
        let also = log.clone();
        a.event(move |mut n| {
            n.defer(move |_| also.add("a"));
            tx.send(n.commit()).unwrap();
            std::panic::resume_unwind(Box::new("its Done is returned elsewhere"))
        });
        let also = log.clone();
        b.event(move |mut n| {
            n.defer(move |_| also.add("b"));
            drop(n.commit());
            rx.recv_timeout(MINUTE).unwrap()
        });
        one.wait_idle();
        two.wait_idle();
        one.wait_idle();
        let (tx, rx) = mpsc::channel();
        a.anon_then(move |a| {
            tx.send(a).unwrap();
            std::panic::resume_unwind(Box::new("its token is dropped elsewhere"))
        });
        b.none(move |_| drop(rx.recv_timeout(MINUTE).unwrap()));
        two.wait_idle();
        one.wait_idle();
        assert_eq!((a.uncommitted(), b.uncommitted()), (0, 0));
    }
    assert_eq!(log.read().len(), 200);
}

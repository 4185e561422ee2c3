//! Limits, stalls, and shutdowns (I15, E7, E11, E12).

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use dapple::{Context, Domain, Mode, Runtime, TryPostError};

use crate::common::{Log, MINUTE, runtime};

#[test]
fn i15_the_limit_holds_for_try_forms_and_room_is_told() {
    let rt = runtime(2);
    let d = Domain::builder().max_uncommitted(2).snapshot(&rt.handle(), 0);
    assert_eq!(d.mode(), Mode::Snapshot);
    let (go, wait) = mpsc::channel::<()>();
    d.none(move |_| wait.recv_timeout(MINUTE).unwrap());
    d.try_global(|g| *g.state_mut() += 1).unwrap();
    let refused = d.try_anon(|_| ()).unwrap_err();
    assert!(refused.is_full());
    let TryPostError::Full(_f) = refused else { panic!("the closure comes back") };
    assert!(d.try_event(|n| n.commit()).unwrap_err().is_full());
    let (told, hear) = mpsc::channel();
    d.when_room(&rt.handle().new_color(), move |_| told.send(()).unwrap());
    assert!(hear.recv_timeout(Duration::from_millis(20)).is_err());
    d.global(|g| *g.state_mut() += 1);
    assert_eq!((d.uncommitted(), rt.metrics().over_limit()), (3, 1));
    go.send(()).unwrap();
    hear.recv_timeout(MINUTE).unwrap();
    rt.wait_idle();
    d.try_anon(|a| assert_eq!(*a.state(), 2)).unwrap();
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn e11_a_shutdown_leaves_a_prefix_of_the_effects_and_drops_each_closure_once() {
    for round in 0..60u64 {
        let rt = runtime(1 + round as usize % 3);
        let d = match round % 2 {
            0 => Domain::snapshot(&rt.handle(), 0u64),
            _ => Domain::read_write(&rt.handle(), 0u64),
        };
        let log = Log::default();
        let held = Arc::new(());
        for i in 0..2_000u64 {
            let (log, held, more) = (log.clone(), Arc::clone(&held), d.clone());
            let also = Arc::clone(&held);
            let act = move |_: &mut dapple::Cx| {
                let _held = also;
                log.add(i);
                more.none(|_| ());
            };
            match i % 4 {
                0 => d.global(move |g| {
                    let _held = held;
                    *g.state_mut() += 1;
                    g.defer(act);
                }),
                1 => d.anon(move |a| {
                    let _held = held;
                    a.defer(act);
                }),
                2 => d.none(move |n| {
                    let _held = held;
                    n.defer(act);
                }),
                _ => d.event(move |mut n| {
                    n.defer(act);
                    n.commit_then(move |n| {
                        let _held = held;
                        n.upgrade_global_then(|g| g.commit())
                    })
                }),
            }
        }
        if round % 3 == 0 {
            std::thread::sleep(Duration::from_micros(round * 20));
        }
        rt.shutdown(Duration::ZERO);
        let log = log.read();
        assert_eq!(log, (0..log.len() as u64).collect::<Vec<_>>());
        drop(d);
        assert_eq!(Arc::strong_count(&held), 1, "round {round}: a closure was not dropped");
    }
}

#[test]
fn e11_posts_from_outside_are_refused_after_a_shutdown() {
    let rt = runtime(1);
    let d = Domain::snapshot(&rt.handle(), 0);
    assert!(rt.shutdown(MINUTE).drained);
    let held = Arc::new(());
    let also = Arc::clone(&held);
    d.global(move |_| drop(also));
    assert_eq!(Arc::strong_count(&held), 1);
    assert!(d.try_none(|_| ()).unwrap_err().is_closed());
}

#[test]
fn i15_e12_the_oldest_uncommitted_ticket_is_named_once() {
    let (tx, stalls) = mpsc::channel();
    let rt = Runtime::builder()
        .workers(2)
        .stall_after(Duration::from_millis(20))
        .on_ticket_stall(move |stall| {
            let label = stall.label.map(str::to_owned);
            tx.send((
                stall.ticket.number(),
                label,
                stall.site.line(),
                stall.doing,
                stall.uncommitted,
            ))
            .unwrap();
        })
        .build()
        .unwrap();
    let d = Domain::builder().label("index").snapshot(&rt.handle(), ());
    let kept = Arc::new(Mutex::new(None));
    let also = Arc::clone(&kept);
    d.none(|_| ());
    let line = line!() + 1;
    d.anon_then(move |a| {
        *also.lock().unwrap() = Some(a);
        std::panic::resume_unwind(Box::new("no Done"));
    });
    d.none(|_| ());
    let stall = stalls.recv_timeout(MINUTE).unwrap();
    let doing = dapple::Doing::In(Context::Anon);
    assert_eq!(stall, (2, Some("index".to_owned()), line, doing, 2));
    assert!(stalls.recv_timeout(Duration::from_millis(100)).is_err(), "once");
    drop(kept.lock().unwrap().take());
    rt.wait_idle();
    assert_eq!((d.uncommitted(), rt.metrics().ticket_stalls()), (0, 1));
    assert_eq!(rt.metrics().panics(), 2, "a token dropped without a commit counts as a panic");
    // While no ticket is open, no worker wakes up to look.
    let quiet = (0..100).any(|_| {
        let parks = rt.metrics().parks();
        std::thread::sleep(Duration::from_millis(50));
        rt.metrics().parks() == parks
    });
    assert!(quiet, "some worker wakes up again and again");
}

#[test]
fn e11_nothing_that_cannot_be_deferred_happens_after_an_effect_was_dropped() {
    for round in 0..40 {
        let rt = runtime(1 + round % 3);
        let d = Domain::snapshot(&rt.handle(), ());
        let log = Log::default();
        let (begun, wait) = mpsc::channel();
        let (a, b) = (log.clone(), log.clone());
        let h = rt.handle();
        d.global_then(move |mut g| {
            g.defer(move |_| a.add(1));
            begun.send(()).unwrap();
            while h.is_running() {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(1));
            g.exclusive_then(move |g| {
                b.add(2);
                g.commit()
            })
        });
        wait.recv_timeout(MINUTE).unwrap();
        rt.shutdown(Duration::ZERO);
        let log = log.read();
        assert!([vec![], vec![1], vec![1, 2]].contains(&log), "{log:?}");
        assert_eq!(d.uncommitted(), 0);
    }
}

#[test]
fn e11_a_token_that_is_kept_is_no_drained_runtime() {
    let rt = runtime(1);
    let d = Domain::snapshot(&rt.handle(), ());
    let kept = Arc::new(Mutex::new(None));
    let also = Arc::clone(&kept);
    d.anon_then(move |a| {
        *also.lock().unwrap() = Some(a);
        std::panic::resume_unwind(Box::new("no Done"))
    });
    d.none(|_| ());
    rt.wait_idle();
    assert!(!rt.shutdown(MINUTE).drained);
    drop(kept.lock().unwrap().take());
    assert_eq!(d.uncommitted(), 0);
}

#[test]
fn e12_a_hook_that_lets_the_order_go_on_is_followed_at_once() {
    let kept = Arc::new(Mutex::new(None));
    let also = Arc::clone(&kept);
    let rt = Runtime::builder()
        .workers(1)
        .stall_after(Duration::from_millis(20))
        .on_ticket_stall(move |_| drop(also.lock().unwrap().take()))
        .build()
        .unwrap();
    let d = Domain::snapshot(&rt.handle(), ());
    let also = Arc::clone(&kept);
    d.anon_then(move |a| {
        *also.lock().unwrap() = Some(a);
        std::panic::resume_unwind(Box::new("no Done"))
    });
    let (tx, rx) = mpsc::channel();
    d.none(move |n| n.defer(move |_| tx.send(()).unwrap()));
    rx.recv_timeout(MINUTE).unwrap();
}

#[test]
fn e7_thousands_of_quiet_domains_wake_nobody() {
    let rt = Runtime::builder().workers(2).stall_after(Duration::from_millis(8)).build().unwrap();
    let domains: Vec<_> = (0..2_000).map(|i| Domain::read_write(&rt.handle(), i)).collect();
    for d in &domains {
        d.global(|g| *g.state_mut() += 1);
    }
    rt.wait_idle();
    let quiet = (0..100).any(|_| {
        let parks = rt.metrics().parks();
        std::thread::sleep(Duration::from_millis(100));
        rt.metrics().parks() == parks
    });
    assert!(quiet, "some worker wakes up again and again");
}

//! Contexts: which event enters when, and what it reads (I2-I5, I11).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use dapple::{Context, Domain, NoneCx};

use crate::common::{Log, MINUTE, in_both_modes, runtime};

#[test]
fn i2_steps_downgrade_and_sub_events() {
    in_both_modes(Vec::new(), |rt, d| {
        let log = Log::default();
        let also = log.clone();
        let event = move |n: NoneCx<Vec<u32>>| {
            n.upgrade_global_then(move |mut g| {
                g.state_mut().push(1);
                g.downgrade_then(move |mut a| {
                    let (seen, log) = (a.state().clone(), also.clone());
                    a.defer(move |_| log.add(seen));
                    a.commit_then(move |n| {
                        assert_eq!(n.ticket().number(), 4, "behind what was posted before");
                        n.upgrade_anon_then(move |mut a| {
                            let seen = a.state().clone();
                            a.defer(move |_| also.add(seen));
                            a.commit()
                        })
                    })
                })
            })
        };
        // Both are posted at a commit, so that both have tickets before the next commit.
        let again = d.clone();
        d.none(move |n| {
            n.defer(move |_| {
                again.event(event);
                again.global(|g| g.state_mut().push(2));
            });
        });
        rt.wait_idle();
        assert_eq!(rt.metrics().panics(), 0);
        assert_eq!(log.read(), [vec![1], vec![1, 2]]);
    });
}

#[test]
fn i3_anon_events_run_beside_each_other() {
    // Each event waits for the other.
    let rt = runtime(2);
    for d in [Domain::snapshot(&rt.handle(), ()), Domain::read_write(&rt.handle(), ())] {
        let (a, b) = (mpsc::channel(), mpsc::channel());
        d.anon(move |_| {
            a.0.send(()).unwrap();
            b.1.recv_timeout(MINUTE).unwrap();
        });
        d.anon(move |_| {
            a.1.recv_timeout(MINUTE).unwrap();
            b.0.send(()).unwrap();
        });
        rt.wait_idle();
    }
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn i3_i5_in_snapshot_mode_a_writer_runs_beside_a_reader_that_sees_nothing_of_it() {
    let rt = runtime(2);
    let d = Domain::snapshot(&rt.handle(), 1);
    let (written, wait) = mpsc::channel();
    d.anon(move |a| {
        wait.recv_timeout(MINUTE).unwrap();
        assert_eq!(*a.state(), 1);
    });
    d.global(move |g| {
        *g.state_mut() = 2;
        written.send(()).unwrap();
    });
    d.anon(|a| assert_eq!(*a.state(), 2));
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn i3_in_read_write_mode_a_writer_waits_for_readers() {
    let rt = runtime(2);
    let d = Domain::read_write(&rt.handle(), 1);
    let reading = Arc::new(AtomicBool::new(true));
    let also = Arc::clone(&reading);
    d.anon(move |_| {
        std::thread::sleep(Duration::from_millis(20));
        also.store(false, SeqCst);
    });
    d.global(move |_| assert!(!reading.load(SeqCst)));
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn i4_a_none_event_delays_nobody_but_keeps_its_place() {
    in_both_modes(0, |rt, d| {
        if rt.workers() < 2 {
            return;
        }
        let log = Log::default();
        let (entered, wait) = mpsc::channel();
        let also = log.clone();
        d.none(move |n| {
            n.defer(move |_| also.add("none"));
            wait.recv_timeout(MINUTE).unwrap();
        });
        let also = log.clone();
        d.global(move |g| {
            *g.state_mut() += 1;
            g.defer(move |_| also.add("global"));
            entered.send(()).unwrap();
        });
        rt.wait_idle();
        assert_eq!(log.read(), ["none", "global"]);
        assert_eq!(rt.metrics().panics(), 0);
    });
}

#[test]
fn i4_who_renounces_lets_others_in() {
    in_both_modes(0, |rt, d| {
        if rt.workers() < 2 {
            return;
        }
        let (entered, wait) = mpsc::channel();
        d.event(move |n| {
            let n = n.renounce();
            n.then(move |n| {
                wait.recv_timeout(MINUTE).unwrap();
                n.commit()
            })
        });
        d.global(move |_| entered.send(()).unwrap());
        rt.wait_idle();
        assert_eq!(rt.metrics().panics(), 0);
    });
}

/// Counts its living copies.
struct Counted(Arc<AtomicUsize>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, SeqCst);
        Counted(Arc::clone(&self.0))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[test]
fn i11_versions_are_copied_only_if_read_and_freed_by_the_last_reader() {
    let rt = runtime(2);
    let alive = Arc::new(AtomicUsize::new(1));
    let d = Domain::snapshot(&rt.handle(), Counted(Arc::clone(&alive)));
    for _ in 0..100 {
        d.global(|g| _ = g.state_mut());
    }
    let seen = Arc::clone(&alive);
    d.global(move |_| assert_eq!(seen.load(SeqCst), 1, "nobody reads, so nothing was copied"));
    let (go, wait) = mpsc::channel::<()>();
    let seen = Arc::clone(&alive);
    d.anon(move |_| {
        wait.recv_timeout(MINUTE).unwrap();
        assert_eq!(seen.load(SeqCst), 2, "one is read, one is current");
    });
    d.global(|g| _ = g.state_mut());
    d.global(move |g| {
        g.state_mut();
        go.send(()).unwrap();
    });
    rt.wait_idle();
    assert_eq!(alive.load(SeqCst), 1);
    drop(d);
    rt.wait_idle();
    assert_eq!(alive.load(SeqCst), 0, "the state goes with the last handle");
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn i2_the_dynamic_form_names_illegal_steps() {
    let rt = runtime(1);
    let d = Domain::read_write(&rt.handle(), 5);
    d.event_dyn(Context::Anon, |e| {
        let refused = e.enter_then(Context::Global, |e| e.commit()).unwrap_err();
        assert!(refused.error().is_undeclared());
        assert_eq!(
            refused.to_string(),
            "an event cannot go from none to global: its highest declared context is anon"
        );
        let enter = |e: dapple::DynCx<i32>| {
            let mut e = e;
            assert_eq!(
                e.state_mut().unwrap_err().to_string(),
                "an event in anon cannot write the state"
            );
            let refused = e.exclusive_then(|e| e.commit()).unwrap_err();
            assert_eq!(
                refused.to_string(),
                "an event in anon cannot run alone: only an event in global can"
            );
            let refused = refused.into_token().enter_then(Context::None, |e| e.commit());
            refused.unwrap_err().into_token().commit_then(Context::None, |e| e.commit())
        };
        refused.into_token().enter_then(Context::Anon, enter).unwrap()
    });
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
    assert_eq!(d.uncommitted(), 0);
}

#[test]
fn i4_an_event_that_stays_in_none_from_its_post_on_delays_nobody() {
    in_both_modes(0, |rt, d| {
        if rt.workers() < 2 {
            return;
        }
        let (entered, wait) = mpsc::channel();
        let log = Log::default();
        let also = log.clone();
        d.event_none(move |n| {
            wait.recv_timeout(MINUTE).unwrap();
            n.commit_then(move |n| {
                n.upgrade_anon_then(move |mut a| {
                    let seen = *a.state();
                    a.defer(move |_| also.add(seen));
                    a.commit()
                })
            })
        });
        d.global(move |g| {
            *g.state_mut() = 1;
            entered.send(()).unwrap();
        });
        rt.wait_idle();
        assert_eq!(log.read(), [1]);
        assert_eq!(rt.metrics().panics(), 0);
    });
}

#[test]
fn i2_an_annotated_handler_asks_for_at_least_a_context() {
    let rt = runtime(1);
    let d = Domain::snapshot(&rt.handle(), 1);
    fn reader(e: dapple::DynCx<i32>) -> dapple::Done {
        e.at_least_then(Context::Anon, |e| {
            assert_eq!(e.state(), Ok(&1));
            e.commit()
        })
        .unwrap()
    }
    d.event_dyn(Context::Anon, reader);
    d.event_dyn(Context::Global, |e| e.at_least_then(Context::Global, reader).unwrap());
    d.event_dyn(Context::None, |e| {
        e.at_least_then(Context::Anon, reader).unwrap_err().into_token().commit()
    });
    rt.wait_idle();
    assert_eq!((rt.metrics().panics(), d.uncommitted()), (0, 0));
}

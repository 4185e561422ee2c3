//! Commits, deferred actions, being alone, and long chains (I1, I6-I9, C9, C16).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use dapple::{Domain, NoneCx, Runtime};

use crate::common::{Log, MINUTE, in_both_modes, runtime};

#[test]
fn i1_i7_effects_are_in_ticket_order() {
    in_both_modes(0u64, |rt, d| {
        let log = Log::default();
        for i in 0..300u64 {
            let log = log.clone();
            match i % 3 {
                0 => d.global(move |g| {
                    *g.state_mut() += 1;
                    let (n, t) = (*g.state(), g.ticket().number());
                    g.defer(move |_| log.add((t, n)));
                }),
                1 => d.anon(move |a| {
                    let (n, t) = (*a.state(), a.ticket().number());
                    a.defer(move |_| log.add((t, n)));
                }),
                _ => d.none(move |n| {
                    let t = n.ticket().number();
                    n.defer(move |_| log.add((t, 0)));
                }),
            }
        }
        rt.wait_idle();
        let expected: Vec<_> =
            (0..300u64).map(|i| (i + 1, if i % 3 == 2 { 0 } else { i / 3 + 1 })).collect();
        assert_eq!(log.read(), expected);
        assert_eq!(d.uncommitted(), 0);
        assert_eq!(rt.metrics().panics(), 0);
    });
}

#[test]
fn i6_state_is_released_before_the_commit_is_awaited() {
    in_both_modes(0, |rt, d| {
        if rt.workers() < 2 {
            return;
        }
        let (third, wait) = mpsc::channel();
        d.none(move |_| wait.recv_timeout(MINUTE).unwrap());
        d.global(|g| *g.state_mut() += 1);
        d.global(move |_| third.send(()).unwrap());
        rt.wait_idle();
        assert_eq!(rt.metrics().panics(), 0);
    });
}

#[test]
fn i7_actions_may_post_and_enter_the_domain_again() {
    in_both_modes(0, |rt, d| {
        let (again, log) = (d.clone(), Log::default());
        let also = log.clone();
        d.global(move |g| {
            *g.state_mut() += 1;
            g.defer(move |_| {
                let log = also.clone();
                again.anon(move |a| log.add(*a.state()));
            });
        });
        rt.wait_idle();
        assert_eq!(log.read(), [1]);
    });
}

#[test]
fn i8_actions_run_after_the_last_step_has_returned() {
    let rt = runtime(2);
    let d = Domain::snapshot(&rt.handle(), ());
    let returned = Arc::new(AtomicBool::new(false));
    let also = Arc::clone(&returned);
    d.event(move |mut n| {
        let seen = Arc::clone(&also);
        n.defer(move |_| assert!(seen.load(SeqCst)));
        let done = n.commit();
        std::thread::sleep(Duration::from_millis(5));
        also.store(true, SeqCst);
        done
    });
    rt.wait_idle();
    assert!(returned.load(SeqCst));
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn i9_a_non_deferrable_action_waits_for_all_earlier_commits_and_own_actions() {
    in_both_modes(0, |rt, d| {
        let log = Log::default();
        for i in 0..5 {
            let log = log.clone();
            d.none(move |n| {
                std::thread::sleep(Duration::from_millis(1));
                n.defer(move |_| log.add(i));
            });
        }
        let (a, b) = (log.clone(), log.clone());
        d.event(move |n| {
            n.upgrade_global_then(move |mut g| {
                *g.state_mut() += 1;
                g.defer(move |_| a.add(10));
                g.exclusive_then(move |mut g| {
                    b.add(11);
                    *g.state_mut() += 1;
                    g.defer(move |_| b.add(12));
                    g.commit()
                })
            })
        });
        let also = log.clone();
        d.anon(move |a| {
            let n = *a.state();
            a.defer(move |_| also.add(100 + n))
        });
        rt.wait_idle();
        assert_eq!(log.read(), [0, 1, 2, 3, 4, 10, 11, 12, 102]);
        assert_eq!(rt.metrics().panics(), 0);
    });
}

#[test]
fn c16_long_chains_and_a_million_waiting_events_do_not_grow_the_stack() {
    let rt = Runtime::builder().workers(1).build().unwrap();
    fn steps(left: u32, g: dapple::GlobalCx<u64>) -> dapple::Done {
        match left {
            0 => g.commit(),
            n if n % 2 == 0 => g.then(move |g| steps(n - 1, g)),
            n => g.exclusive_then(move |g| steps(n - 1, g)),
        }
    }
    fn subs(left: u32, n: NoneCx<u64>) -> dapple::Done {
        match left {
            0 => n.commit(),
            left => n.commit_then(move |n| subs(left - 1, n)),
        }
    }
    let d = Domain::snapshot(&rt.handle(), 0u64);
    d.event(|n| n.upgrade_global_then(|g| steps(100_000, g)));
    d.event(|n| subs(100_000, n));
    rt.wait_idle();
    let (go, wait) = mpsc::channel::<()>();
    d.global(move |_| wait.recv_timeout(MINUTE).unwrap());
    for i in 0..1_000_000u64 {
        match i % 4 {
            0 => d.global(|g| *g.state_mut() += 1),
            1 => d.anon(|a| assert!(*a.state() > 0)),
            2 => d.none(|_| ()),
            _ => d.event(|n| n.commit()),
        }
    }
    go.send(()).unwrap();
    d.anon(|a| assert_eq!(*a.state(), 250_000));
    rt.wait_idle();
    assert_eq!((d.uncommitted(), rt.metrics().panics()), (0, 0));
}

#[test]
fn i7_many_domains_at_once() {
    let rt = runtime(4);
    let domains: Vec<_> = (0..100).map(|_| Domain::snapshot(&rt.handle(), 0u32)).collect();
    let sum = Arc::new(AtomicUsize::new(0));
    for i in 0..10_000 {
        let (next, sum) = (domains[(i * 7) % 100].clone(), Arc::clone(&sum));
        domains[i % 100].global(move |g| {
            *g.state_mut() += 1;
            g.defer(move |_| {
                next.anon(move |a| {
                    a.state();
                    a.defer(move |_| _ = sum.fetch_add(1, SeqCst));
                })
            });
        });
    }
    rt.wait_idle();
    assert_eq!(sum.load(SeqCst), 10_000);
}

#[test]
fn c9_an_event_of_many_steps_lets_others_have_the_worker() {
    let rt = runtime(1);
    let d = Domain::snapshot(&rt.handle(), ());
    let (steps, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    fn step(left: usize, steps: Arc<AtomicUsize>, n: NoneCx<()>) -> dapple::Done {
        steps.fetch_add(1, SeqCst);
        std::thread::sleep(Duration::from_millis(1));
        match left {
            0 => n.commit(),
            _ => n.then(move |n| step(left - 1, steps, n)),
        }
    }
    let also = Arc::clone(&steps);
    let (early, late) = (Arc::clone(&steps), Arc::clone(&seen));
    rt.handle().post_default(move |cx| {
        d.event(move |n| step(100, also, n));
        cx.post_default(move |_| ());
        cx.post_uncolored(move |_| late.store(early.load(SeqCst), SeqCst));
    });
    rt.wait_idle();
    let seen = seen.load(SeqCst);
    assert!(seen < 20, "the other event came after {seen} of {} steps", steps.load(SeqCst));
}

#[test]
fn i8_many_readers_and_commits_behind_one_event_all_come_in_order() {
    for workers in [1, 2, 4] {
        let rt = runtime(workers);
        let d = Domain::snapshot(&rt.handle(), 0);
        let log = Log::default();
        for round in 0..20 {
            let (go, wait) = mpsc::channel::<()>();
            d.global(move |_| wait.recv_timeout(MINUTE).unwrap());
            for i in 0..200 {
                let log = log.clone();
                match i % 5 {
                    4 => d.anon(|_| ()),
                    _ => d.anon(move |a| a.defer(move |_| log.add(200 * round + i))),
                }
            }
            go.send(()).unwrap();
            // Posts from outside arrive while the waiting events are let in.
            for _ in 0..50 {
                d.anon(|_| ());
            }
            rt.wait_idle();
            assert_eq!(d.uncommitted(), 0);
        }
        assert!(log.read().into_iter().eq((0..4_000).filter(|i| i % 5 != 4)));
    }
}

#[test]
fn i6_actions_of_others_do_not_run_while_an_event_on_the_same_stack_has_the_state() {
    let rt = runtime(1);
    let d = Domain::snapshot(&rt.handle(), ());
    let in_global = Arc::new(AtomicBool::new(false));
    for _ in 0..300 {
        let (seen, flag) = (Arc::clone(&in_global), Arc::clone(&in_global));
        d.anon(move |a| a.defer(move |_| assert!(!seen.load(SeqCst))));
        d.event(move |n| {
            n.upgrade_global_then(move |g| {
                flag.store(true, SeqCst);
                g.then(move |g| {
                    g.then(move |g| {
                        flag.store(false, SeqCst);
                        g.commit()
                    })
                })
            })
        });
    }
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
}

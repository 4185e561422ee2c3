//! Domains: contexts, tickets, commit (rules I1-I12, I15, I16, C16, E11).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use dapple::{Context, Domain, Mode, NoneCx, Runtime, TryPostError};

const MINUTE: Duration = Duration::from_secs(60);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

/// A list that events append to, in the order of their effects.
#[derive(Clone, Default)]
struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T: Clone> Log<T> {
    fn add(&self, entry: T) {
        self.0.lock().unwrap().push(entry);
    }
    fn read(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }
}

fn in_both_modes<S: Clone + Send + Sync + 'static>(state: S, test: impl Fn(&Runtime, Domain<S>)) {
    for workers in [1, 2, 4] {
        let rt = runtime(workers);
        test(&rt, Domain::snapshot(&rt.handle(), state.clone()));
        test(&rt, Domain::read_write(&rt.handle(), state.clone()));
    }
}

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
        // Posted at a commit, so that both are there before the next one.
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
    // Each waits for the other.
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
fn i7_a_panicking_action_is_counted_and_the_others_run() {
    in_both_modes((), |rt, d| {
        let before = rt.metrics().panics();
        let log = Log::default();
        let (a, b) = (log.clone(), log.clone());
        d.none(move |n| {
            n.defer(move |_| a.add(1));
            n.defer(|_| panic!("an action"));
            n.defer(move |_| b.add(2));
        });
        rt.wait_idle();
        assert_eq!(log.read(), [1, 2]);
        assert_eq!(rt.metrics().panics() - before, 1);
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

/// Counts its copies that are alive.
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
fn i12_a_panic_outside_global_drops_what_was_deferred_since_then() {
    in_both_modes(0, |rt, d| {
        let log = Log::default();
        let (a, b) = (log.clone(), log.clone());
        d.event(move |n| {
            n.upgrade_global_then(move |mut g| {
                *g.state_mut() = 7;
                g.defer(move |_| a.add("global"));
                g.downgrade_then(move |mut a| {
                    a.defer(move |_| b.add("anon"));
                    panic!("in anon");
                })
            })
        });
        let also = log.clone();
        d.none(move |n| {
            n.defer(move |_| also.add("none"));
            panic!("in none");
        });
        let also = log.clone();
        d.anon(move |a| {
            assert_eq!(*a.state(), 7);
            a.defer(move |_| also.add("later"));
        });
        rt.wait_idle();
        assert_eq!(log.read(), ["global", "later"]);
        assert!(!d.is_poisoned());
    });
}

#[test]
fn i12_a_panic_in_global_poisons_until_it_is_cleared() {
    in_both_modes(0, |rt, d| {
        let before = rt.metrics();
        let log = Log::default();
        let add = |what: &'static str| {
            let log = log.clone();
            move |_: &mut dapple::Cx| log.add(what)
        };
        let (a, b, c, e, f) = (add("a"), add("b"), add("c"), add("e"), add("f"));
        d.none(|n| n.defer(a));
        d.global(|g| {
            *g.state_mut() = 1;
            g.defer(b);
            panic!("in global");
        });
        d.global(|g| *g.state_mut() += 100);
        d.none(|n| n.defer(c));
        d.event(|n| n.commit_then(|n| unreachable!("{n:?} is covered")));
        d.clear_poison(|g| {
            *g.state_mut() += 1;
            g.defer(e);
        });
        d.anon(|a| {
            assert_eq!(*a.state(), 2);
            a.defer(f);
        });
        rt.wait_idle();
        assert_eq!(log.read(), ["a", "e", "f"]);
        assert!(!d.is_poisoned());
        let after = rt.metrics();
        assert_eq!(after.panics() - before.panics(), 1);
        assert_eq!(after.dropped() - before.dropped(), 3);
    });
}

#[test]
fn i12_a_transactional_domain_is_as_before_unless_the_event_was_alone() {
    let rt = runtime(2);
    let h = rt.handle();
    let open = || Domain::builder().transactional();
    for d in [open().snapshot(&h, 1), open().read_write(&h, 1)] {
        d.global(|g| {
            *g.state_mut() = 2;
            panic!("before");
        });
        d.global(|g| assert_eq!(*g.state(), 1));
        rt.wait_idle();
        assert!(!d.is_poisoned());
        d.event(|n| {
            n.upgrade_global_then(|mut g| {
                *g.state_mut() = 3;
                g.exclusive_then(|_| panic!("alone"))
            })
        });
        d.global(|_| unreachable!("covered"));
        rt.wait_idle();
        assert!(d.is_poisoned());
        d.clear_poison(|g| assert_eq!(*g.state(), 3));
        rt.wait_idle();
        assert!(!d.is_poisoned());
    }
    assert_eq!(rt.metrics().panics(), 4);
}

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
fn i16_a_dropped_token_counts_as_a_panic_and_the_order_goes_on() {
    in_both_modes(0, |rt, d| {
        let stash = Arc::new(Mutex::new(Vec::new()));
        let also = Arc::clone(&stash);
        d.event_anon(move |n| {
            n.upgrade_anon_then(move |a| {
                // The token leaves the step by a way that is not a commit.
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
fn i2_the_dynamic_form_names_illegal_steps() {
    let rt = runtime(1);
    let d = Domain::read_write(&rt.handle(), 5);
    d.event_dyn(Context::Anon, |e| {
        let refused = e.enter_then(Context::Global, |e| e.commit()).unwrap_err();
        assert!(refused.error().is_undeclared());
        assert_eq!(
            refused.to_string(),
            "an event cannot go from none to global: it has declared anon as its highest context"
        );
        let enter = |e: dapple::DynCx<i32>| {
            let mut e = e;
            assert_eq!(
                e.state_mut().unwrap_err().to_string(),
                "an event in anon cannot write the state"
            );
            let refused = e.exclusive_then(|e| e.commit()).unwrap_err();
            assert_eq!(refused.to_string(), "an event in anon cannot be alone: only global can");
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
    // With nothing open no worker wakes up to look.
    let quiet = (0..100).any(|_| {
        let parks = rt.metrics().parks();
        std::thread::sleep(Duration::from_millis(50));
        rt.metrics().parks() == parks
    });
    assert!(quiet, "some worker wakes up again and again");
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
            // Posts from outside meet what is being let go on.
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

/// Panics when it is cloned or dropped, if told to, and posts to its domain when it is dropped.
struct Nasty {
    panics: Arc<AtomicBool>,
    drops: Arc<AtomicUsize>,
    home: Arc<Mutex<Option<Domain<Nasty>>>>,
}

impl Clone for Nasty {
    fn clone(&self) -> Self {
        assert!(!self.panics.load(SeqCst), "a clone");
        Nasty { panics: self.panics.clone(), drops: self.drops.clone(), home: self.home.clone() }
    }
}

impl Drop for Nasty {
    fn drop(&mut self) {
        self.drops.fetch_add(1, SeqCst);
        if let Some(d) = &*self.home.lock().unwrap() {
            d.none(|_| ());
        }
        assert!(!self.panics.load(SeqCst), "a drop");
    }
}

#[test]
fn i12_states_whose_clones_and_drops_panic_or_post() {
    let rt = runtime(2);
    let (panics, drops) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let home = Arc::new(Mutex::new(None));
    let state = Nasty { panics: panics.clone(), drops: drops.clone(), home: home.clone() };
    let d = Domain::builder().transactional().snapshot(&rt.handle(), state);
    *home.lock().unwrap() = Some(d.clone());
    for _ in 0..50 {
        d.global(|g| _ = g.state_mut());
        d.anon(|_| ());
    }
    rt.wait_idle();
    assert_eq!((drops.load(SeqCst), rt.metrics().panics()), (50, 0));
    panics.store(true, SeqCst);
    d.global(|g| _ = g.state_mut());
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 1);
    panics.store(false, SeqCst);
    d.global(|g| _ = g.state_mut());
    rt.wait_idle();
    assert_eq!((drops.load(SeqCst), d.uncommitted()), (51, 0));
    home.lock().unwrap().take();
    panics.store(true, SeqCst);
    drop(d);
    rt.wait_idle();
    assert_eq!((drops.load(SeqCst), rt.metrics().panics()), (52, 2));
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

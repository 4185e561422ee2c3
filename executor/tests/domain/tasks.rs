//! Events as async tasks (I1, I3, I5, I9, I12, I15, I16).

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use dapple::{Domain, InGlobal, JoinError, JoinHandle, Mode, Runtime, yield_now};

use crate::common::{Log, MINUTE, in_both_modes, runtime};

/// The output of async events.
type Outcome<T> = Result<T, JoinError>;

#[test]
fn i5_a_section_in_global_gives_back_what_it_returns_and_a_token_in_anon() {
    in_both_modes(0u64, |rt, d| {
        let log = Log::default();
        let tasks: Vec<JoinHandle<Outcome<u64>>> = (0..50)
            .map(|n| {
                let log = log.clone();
                d.spawn(move |none| async move {
                    if n % 3 == 0 {
                        yield_now().await;
                    }
                    let (before, mut a) = none
                        .global(|g| {
                            *g.state_mut() += 1;
                            *g.state() - 1
                        })
                        .await?;
                    if n % 2 == 0 {
                        yield_now().await;
                    }
                    let mine = *a.state();
                    assert_eq!(mine, before + 1, "it reads what it wrote itself");
                    a.defer(move |_| log.add(mine));
                    a.commit().await?;
                    Ok(mine)
                })
            })
            .collect();
        let results: Vec<u64> = tasks.into_iter().map(|t| t.join().unwrap().unwrap()).collect();
        let expected: Vec<u64> = (1..=50).collect();
        assert_eq!(results, expected, "I1: tickets are taken when the events are spawned");
        assert_eq!(log.read(), expected, "I7: effects are in the order of tickets");
        // The last action of a commit wakes the task that awaits the commit. The order learns of
        // the commit only when that action has returned.
        rt.wait_idle();
        assert_eq!((rt.metrics().panics(), d.uncommitted()), (0, 0));
    });
}

#[test]
fn i7_a_commit_that_is_awaited_has_happened() {
    in_both_modes((), |rt, d| {
        let log = Log::default();
        let (go, gone) = mpsc::channel::<()>();
        let first = log.clone();
        d.none(move |n| {
            n.defer(move |_| {
                let _ = gone.recv_timeout(MINUTE);
                first.add("earlier");
            });
        });
        let (mine, after) = (log.clone(), log.clone());
        let task = d.spawn_none(move |mut n| async move {
            n.defer(move |_| mine.add("its own"));
            let committed = n.commit().await;
            after.add("awaited");
            committed
        });
        assert!(log.read().is_empty());
        go.send(()).unwrap();
        assert_eq!(task.join().unwrap(), Ok(()));
        assert_eq!(log.read(), ["earlier", "its own", "awaited"]);
        rt.wait_idle();
    });
}

/// I10: an event that waits for a context occupies no thread: the only worker runs other events
/// meanwhile, which end the wait.
#[test]
fn i10_an_event_that_waits_takes_no_thread() {
    let rt = Runtime::builder().workers(1).build().unwrap();
    let (h, log) = (rt.handle(), Log::default());
    let d = Domain::read_write(&h, 0);
    let is_over = Arc::new(AtomicBool::new(false));
    let also_over = Arc::clone(&is_over);
    let reader = d.spawn_anon(move |n| async move {
        let a = n.anon().await?;
        while !also_over.load(SeqCst) {
            yield_now().await;
        }
        a.commit().await?;
        Ok::<_, JoinError>(())
    });
    let also = log.clone();
    d.global(move |g| {
        also.add("entered");
        let also = also.clone();
        g.defer(move |_| also.add("committed"));
    });
    let also = log.clone();
    h.post(&h.new_color(), move |_| {
        also.add("another color");
        is_over.store(true, SeqCst);
    });
    assert_eq!(reader.join().unwrap(), Ok(()));
    rt.wait_idle();
    assert_eq!(log.read(), ["another color", "entered", "committed"]);
}

#[test]
fn i2_i3_async_events_read_in_anon_and_go_on_as_sub_events() {
    in_both_modes(vec![0], |rt, d| {
        let reader = d.spawn_anon(|n| async move {
            let a = n.anon().await?;
            yield_now().await;
            let seen = a.state().clone();
            a.commit().await?;
            Ok::<_, JoinError>(seen)
        });
        let writer = d.spawn(|n| async move {
            let ((), a) = n.global(|g| g.state_mut().push(1)).await?;
            let first = a.ticket();
            let n = a.commit_next().await?;
            assert!(n.ticket() > first, "a sub-event has a ticket of its own");
            let ((), a) = n.global(|g| g.state_mut().push(2)).await?;
            let n = a.commit_next().await?.renounce_global();
            let a = n.anon().await?;
            let seen = a.state().clone();
            a.commit().await?;
            Ok::<_, JoinError>(seen)
        });
        assert_eq!(reader.join().unwrap(), Ok(vec![0]));
        assert_eq!(writer.join().unwrap(), Ok(vec![0, 1, 2]));
        rt.wait_idle();
        assert_eq!(rt.metrics().panics(), 0);
    });
}

#[test]
fn i9_an_exclusive_section_runs_alone_and_after_what_was_deferred() {
    in_both_modes(0, |rt, d| {
        let log = Log::default();
        let (go, gone) = mpsc::channel::<()>();
        let earlier = log.clone();
        d.none(move |n| {
            n.defer(move |_| {
                let _ = gone.recv_timeout(MINUTE);
                earlier.add("an earlier event's");
            });
        });
        let (mine, at_once) = (log.clone(), log.clone());
        let task = d.spawn(move |n| async move {
            let (sum, a) = n
                .global_exclusive(
                    move |g| {
                        *g.state_mut() = 5;
                        g.defer(move |_| mine.add("its own"));
                        7
                    },
                    move |g, before| {
                        at_once.add("at once");
                        *g.state() + before
                    },
                )
                .await?;
            a.commit().await?;
            Ok::<_, JoinError>(sum)
        });
        go.send(()).unwrap();
        assert_eq!(task.join().unwrap(), Ok(12));
        assert_eq!(log.read(), ["an earlier event's", "its own", "at once"]);
        rt.wait_idle();
    });
}

#[test]
fn i12_those_who_wait_get_panics_and_poison() {
    in_both_modes(0, |rt, d| {
        let panics = rt.metrics().panics();
        let none = d.spawn(|_| async { panic!("in none") });
        let making = d.spawn(|_| -> std::future::Ready<()> { panic!("making the future") });
        assert!(none.join().map(|(): ()| ()).unwrap_err().is_panic());
        assert!(making.join().unwrap_err().is_panic());
        assert!(!d.is_poisoned());
        let section = d.spawn(|n| async move {
            let outcome = n.global(|_| panic!("in global")).await;
            outcome.map(|((), _)| ()).unwrap_err()
        });
        let covered = d.spawn(|n| async move { n.global(|_| ()).await.unwrap_err() });
        let covered_anon = d.spawn_anon(|n| async move { n.anon().await.unwrap_err() });
        let covered_commit = d.spawn_none(|mut n| async move {
            n.defer(|_| unreachable!("poison covers it"));
            n.commit().await.map_err(|e| e.is_poisoned())
        });
        assert!(section.join().unwrap().is_panic());
        assert!(covered.join().map_or_else(|e| e.is_poisoned(), |e| e.is_poisoned()));
        assert!(covered_anon.join().map_or_else(|e| e.is_poisoned(), |e| e.is_poisoned()));
        assert_eq!(covered_commit.join().unwrap(), Err(true));
        assert!(d.is_poisoned());
        d.clear_poison(|g| *g.state_mut() = 3);
        let again =
            d.spawn(|n| async move { n.global(|g| *g.state()).await.map(|(n, a)| (n, drop(a))) });
        assert_eq!(again.join().unwrap(), Ok((3, ())));
        rt.wait_idle();
        // Three events panicked, and two tokens were dropped without a commit: that of the first
        // event, when its future was made, and that of the last one.
        assert_eq!(rt.metrics().panics() - panics, 5);
        assert_eq!(d.uncommitted(), 0, "the order goes on in every case");
    });
}

#[test]
fn i16_a_cancelled_event_gives_up_its_place_wherever_it_is() {
    in_both_modes(0, |rt, d| {
        let log = Log::default();
        // Aborted before it begins, or a moment later.
        let sum = Arc::new(Mutex::new(0));
        let adds = |n: i32| {
            let sum = Arc::clone(&sum);
            move |g: &mut dapple::InGlobal<i32>| {
                *g.state_mut() += n;
                *sum.lock().unwrap() += n;
            }
        };
        let add = adds(1_000);
        let early = d.spawn(|n| async move { n.global(add).await.map(drop) });
        early.abort();
        // In none, for ever.
        let in_none = d.spawn(|n| async move {
            let _n = n;
            pending::<()>().await;
        });
        // In anon, for ever.
        let deferred = log.clone();
        let in_anon = d.spawn(move |n| async move {
            let also = deferred.clone();
            let ((), mut a) = n
                .global(move |g| {
                    *g.state_mut() += 1;
                    g.defer(move |_| also.add("deferred in global"));
                })
                .await
                .unwrap();
            a.defer(move |_| deferred.add("deferred in anon"));
            pending::<()>().await;
            drop(a);
        });
        // Waits for global, behind the event in none.
        let add = adds(100);
        let waits = d.spawn(|n| async move { n.global(add).await.map(drop) });
        let last = log.clone();
        d.anon(move |a| {
            let seen = *a.state();
            a.defer(move |_| last.add(if seen % 100 == 1 { "later" } else { "wrong" }));
        });
        waits.abort();
        in_none.abort();
        assert!(in_none.join().unwrap_err().is_cancelled());
        let _ = waits.join();
        rt.wait_idle();
        in_anon.abort();
        let _ = in_anon.join();
        rt.wait_idle();
        assert_eq!(log.read(), ["deferred in global", "later"]);
        assert!(!d.is_poisoned(), "nobody was cancelled in global");
        assert_eq!(d.uncommitted(), 0);
        let state = Arc::new(Mutex::new(0));
        let seen = Arc::clone(&state);
        d.anon(move |a| *seen.lock().unwrap() = *a.state());
        rt.wait_idle();
        let _ = early.join();
        assert_eq!(*state.lock().unwrap(), 1 + *sum.lock().unwrap(), "what ran, ran as a whole");
    });
}

#[test]
fn i16_a_section_that_nobody_waits_for_does_not_run() {
    let rt = runtime(1);
    let d = Domain::snapshot(&rt.handle(), 0);
    let (go, gone) = mpsc::channel::<()>();
    d.global(move |_| {
        let _ = gone.recv_timeout(MINUTE);
    });
    let task = d.spawn(|n| async move {
        // Started, and dropped before its turn.
        drop(n.global(|_| unreachable!("nobody waits for it")));
        "gone on"
    });
    go.send(()).unwrap();
    assert_eq!(task.join(), Ok("gone on"));
    rt.wait_idle();
    assert!(!d.is_poisoned() && d.uncommitted() == 0);
    assert_eq!(rt.metrics().panics(), 1, "it counts as a panic");
}

#[test]
#[cfg(debug_assertions)]
fn i15_a_ticket_holder_that_waits_for_another_domain_or_a_later_event_panics() {
    let messages = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&messages);
    let rt = Runtime::builder()
        .workers(2)
        .on_panic(move |p| heard.lock().unwrap().push(p.message().unwrap_or_default().to_owned()))
        .build()
        .unwrap();
    let (d, other) = (Domain::snapshot(&rt.handle(), 0), Domain::snapshot(&rt.handle(), 0));
    let (later, foreign) = (d.clone(), other.clone());
    let waits_for_later = d.spawn(move |n| async move {
        let later = later.spawn(|n| async move { n.commit().await });
        let outcome = later.await;
        drop(n);
        outcome.map(drop)
    });
    assert!(waits_for_later.join().unwrap_err().is_panic());
    let waits_for_another = d.spawn(move |n| async move {
        let outcome = foreign.spawn(|n| async move { n.commit().await }).await;
        drop(n);
        outcome.map(drop)
    });
    assert!(waits_for_another.join().unwrap_err().is_panic());
    let (third, fourth) = (other.clone(), other.clone());
    let waits_in_anon = d.spawn(move |n| async move {
        let ((), a) = n.global(|_| ()).await.unwrap();
        let outcome = third.spawn(|n| async move { n.commit().await }).await;
        drop(a);
        outcome.map(drop)
    });
    assert!(waits_in_anon.join().unwrap_err().is_panic());
    let told: Vec<_> = messages.lock().unwrap().drain(..).collect();
    assert!(told[2].ends_with("waits for another domain"), "{told:?}");
    // A ticket that was released when the future was made is not held.
    let given_up = d.spawn(move |n| {
        let done = n.commit();
        async move {
            done.await.unwrap();
            fourth.spawn(|n| async move { n.commit().await }).await.unwrap()
        }
    });
    assert_eq!(given_up.join().unwrap(), Ok(()));
    assert!(told[0].ends_with("waits for a later event of the same domain"), "{told:?}");
    assert!(told[1].ends_with("waits for another domain"), "{told:?}");
    // An earlier event may be awaited, and after the commit anything may be.
    let earlier = d.spawn(|n| async move { n.commit().await });
    let third = other.clone();
    let right = d.spawn(move |n| async move {
        earlier.await.unwrap().unwrap();
        let ((), a) = n.global(|_| ()).await?;
        a.commit().await?;
        third.spawn(|n| async move { n.commit().await }).await.unwrap()
    });
    assert_eq!(right.join().unwrap(), Ok(()));
    rt.wait_idle();
    assert_eq!((d.uncommitted(), other.uncommitted()), (0, 0));
    assert!(messages.lock().unwrap().is_empty());
}

#[test]
fn i15_a_timer_that_stands_for_a_computation_may_be_awaited_in_anon() {
    const EVENTS: u64 = 40;
    const WAIT: Duration = Duration::from_millis(20);
    in_both_modes(0u64, |rt, d| {
        let (effects, awoken, handle) = (Log::default(), Log::default(), rt.handle());
        let tasks: Vec<JoinHandle<Outcome<u64>>> = (1..=EVENTS)
            .map(|n| {
                let (effects, awoken, handle) = (effects.clone(), awoken.clone(), handle.clone());
                d.spawn(move |none| async move {
                    let count = |g: &mut InGlobal<u64>| {
                        *g.state_mut() += 1;
                        *g.state()
                    };
                    let (count, mut a) = none.global(count).await?;
                    // In each group of four, the third event waits for the shortest time.
                    handle.sleep(WAIT / (1 + n as u32 % 4)).await;
                    awoken.add(count);
                    a.defer(move |_| effects.add(count));
                    a.commit().await?;
                    Ok(count)
                })
            })
            .collect();
        let all: Vec<u64> = (1..=EVENTS).collect();
        let results: Vec<u64> = tasks.into_iter().map(|t| t.join().unwrap().unwrap()).collect();
        assert_eq!((results, effects.read()), (all.clone(), all.clone()), "I7");
        // In read_write mode, an event in anon keeps the next one out of global.
        assert_eq!(awoken.read() == all, d.mode() == Mode::ReadWrite, "{:?}", awoken.read());
        rt.wait_idle();
        assert_eq!((rt.metrics().panics(), d.uncommitted()), (0, 0));
    });
}

#[test]
fn i12_a_handle_of_a_covered_event_errs_unless_its_future_was_told() {
    in_both_modes(0u64, |rt, d| {
        let ran = Log::default();
        let poisons = Arc::new(AtomicBool::new(false));
        let now = Arc::clone(&poisons);
        d.spawn(move |n| async move {
            while !now.load(SeqCst) {
                yield_now().await;
            }
            n.global(|_| panic!("in global")).await.map(drop)
        })
        .detach();
        let act = |what: &'static str| {
            let ran = ran.clone();
            move |_: &mut dapple::Cx| ran.add(what)
        };
        let (a, b, c) = (act("a"), act("b"), act("c"));
        // The futures end before the poison is there, or afterwards.
        let before = d.spawn_none(move |mut n| async move {
            n.defer(a);
            drop(n.commit());
            5
        });
        let after = d.spawn_none(move |mut n| async move {
            n.defer(b);
            for _ in 0..100 {
                yield_now().await;
            }
            drop(n.commit());
            6
        });
        let in_sub_event = d.spawn_none(move |n| async move {
            let next = n.commit_next();
            drop(next);
            7
        });
        let in_section = d.spawn(move |n| async move {
            drop(n.global(|g| *g.state_mut() += 1));
            8
        });
        let in_steps = d.spawn_none(move |mut n| async move {
            n.defer(|_| unreachable!("it is covered"));
            let step = n.commit_then_none(|n| n.commit());
            step.await.map(|()| 8)
        });
        let asked = d.spawn_none(|n| async move {
            let outcome = n.commit().await;
            assert!(outcome.unwrap_err().is_poisoned());
            9
        });
        // The holder of the token answers for the event, not the task.
        let (to, tokens) = mpsc::channel();
        let given_away = d.spawn_none(move |n| async move {
            to.send(n).unwrap();
            10
        });
        let token = tokens.recv().unwrap();
        assert_eq!(given_away.join().unwrap(), 10);
        assert!(!before.is_finished(), "nobody knows yet");
        poisons.store(true, SeqCst);
        for covered in [before, after, in_sub_event, in_section] {
            assert!(covered.join().unwrap_err().is_poisoned());
        }
        assert!(in_steps.join().unwrap_err().is_poisoned());
        assert_eq!(asked.join().unwrap(), 9);
        drop(token.commit());
        d.clear_poison(|_| ());
        let fine = d.spawn_none(move |mut n| async move {
            n.defer(c);
            drop(n.commit());
            11
        });
        assert_eq!(fine.join().unwrap(), 11);
        rt.wait_idle();
        assert_eq!(ran.read(), ["c"]);
        assert_eq!(d.uncommitted(), 0);
    });
}

#[test]
fn i15_a_token_that_ends_somewhere_else_is_held_no_more() {
    let rt = runtime(2);
    let h = rt.handle();
    let (d, other) = (Domain::snapshot(&h, 0), Domain::snapshot(&h, 0));
    for of_none in [false, true] {
        let (h, other) = (h.clone(), other.clone());
        let task = d.spawn(move |none| async move {
            // An event, which may run on another worker, ends the token.
            let ended = match of_none {
                true => h.new_color().call(move |_| drop(none.commit())),
                false => {
                    let (_, anon) = none.global(|g| *g.state_mut() += 1).await?;
                    h.new_color().call(move |_| drop(anon.commit()))
                }
            };
            ended.await?;
            other.spawn_none(|none| async move { none.commit().await }).await?
        });
        assert_eq!(task.join().unwrap(), Ok(()));
    }
    // A thread outside the runtime may end it too.
    let (to, tokens) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let ends = std::thread::spawn(move || tokens.into_iter().for_each(|end| end()));
    let task = d.spawn(move |none| async move {
        let (ended, is_ended) = mpsc::channel();
        let _ = to.send(Box::new(move || {
            drop(none.commit());
            ended.send(()).unwrap();
        }));
        is_ended.recv().unwrap();
        other.spawn_none(|none| async move { none.commit().await }).await?
    });
    assert_eq!(task.join().unwrap(), Ok(()));
    ends.join().unwrap();
}

#[test]
fn e11_async_events_end_with_the_runtime() {
    for workers in [1, 2] {
        let rt = runtime(workers);
        let d = Domain::snapshot(&rt.handle(), 0);
        let stuck = d.spawn(|n| async move {
            let _n = n;
            pending::<()>().await;
        });
        let behind: Vec<_> = (0..10)
            .map(|_| d.spawn(|n| async move { n.global(|g| *g.state_mut() += 1).await.map(drop) }))
            .collect();
        rt.wait_idle();
        let report = rt.shutdown(std::time::Duration::ZERO);
        assert!(!report.drained, "{report:?}");
        assert!(stuck.join().unwrap_err().is_cancelled());
        for task in behind {
            let outcome = task.join();
            assert!(outcome.map_or(true, |o| o.is_err()), "none of them got into global");
        }
        let late = d.spawn(|_| async { unreachable!("refused") });
        assert!(late.join().map(|(): ()| ()).unwrap_err().is_cancelled());
    }
}

/// I12: a handle reports whether the event's deferred actions were dropped at the end of the
/// runtime.
#[test]
fn i12_a_handle_of_an_event_whose_effects_a_shutdown_drops_says_so() {
    for was_in_global in [false, true] {
        let rt =
            Runtime::builder().workers(2).steal_policy(dapple::StealPolicy::Off).build().unwrap();
        let d = Domain::snapshot(&rt.handle(), 0);
        let ran = Arc::new(AtomicBool::new(false));
        let (begun, has_begun) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let effect = Arc::clone(&ran);
        let task = d.spawn(move |none| async move {
            if was_in_global {
                let defer = move |_: &mut dapple::Cx| effect.store(true, SeqCst);
                let (_, anon) = none.global(move |g| g.defer(defer)).await?;
                drop(anon.commit());
            } else {
                let mut none = none;
                none.defer(move |_| effect.store(true, SeqCst));
                drop(none.commit());
            }
            // The end of the event waits behind this event, as a separate event.
            begun.send(()).unwrap();
            let _ = wait.recv_timeout(MINUTE);
            Ok::<_, JoinError>(())
        });
        has_begun.recv().unwrap();
        let ender = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(100));
            drop(go);
        });
        rt.shutdown(std::time::Duration::ZERO);
        ender.join().unwrap();
        let is_ok = task.join().is_ok_and(|outcome| outcome.is_ok());
        assert_eq!(is_ok, ran.load(SeqCst), "was in global: {was_in_global}");
    }
}

//! The calling thread as a worker.
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use dapple::{Color, Colored, Here, Runtime, StealPolicy, Turn};

use super::{ALL, HERE, alone, end, here, keep, kept};

#[test]
fn e18_one_worker_is_the_calling_thread_and_starts_no_other() {
    let threads = Arc::new(Mutex::new(Vec::new()));
    let also_threads = Arc::clone(&threads);
    let here = here(
        Runtime::builder()
            .workers(1)
            .thread_name("e18-alone")
            .on_thread_start(move |kind| also_threads.lock().unwrap().push(kind)),
    );
    let h = here.handle();
    let me = thread::current().id();
    let ran = Arc::new(AtomicUsize::new(0));
    for n in 0..300 {
        let ran = Arc::clone(&ran);
        let f = move |_: &mut dapple::Cx| {
            assert_eq!(thread::current().id(), me);
            ran.fetch_add(1, SeqCst);
        };
        match n % 3 {
            0 => h.post_default(f),
            1 => h.new_color().post(f),
            _ => h.post_uncolored(f),
        }
    }
    here.run(|| ran.load(SeqCst) == 300);
    h.post_after(Duration::from_millis(2), &h.default_color(), |_| {});
    here.turn(Turn::Block, ALL);
    assert_eq!(*threads.lock().unwrap(), [dapple::ThreadKind::Worker(0)]);
    #[cfg(target_os = "linux")]
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let name = std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default();
        assert!(!name.starts_with("e18-alone"), "{name}");
    }
    assert_eq!(here.metrics().panics(), 0);
}

#[test]
fn e18_a_loop_that_was_told_to_end_once_ends() {
    // The first time before there is anything to wait for, the second time just before sleeping.
    for told in 1..=2 {
        let here = alone();
        let asked = Cell::new(0);
        here.run(|| {
            asked.set(asked.get() + 1);
            asked.get() == told
        });
        assert_eq!(asked.get(), told);
    }
}

#[test]
fn e18_a_turn_runs_what_there_is_up_to_its_limit_and_looks_once() {
    let here = alone();
    let colors: Vec<_> = (0..5).map(|_| here.handle().new_color()).collect();
    let ran = Arc::new(AtomicUsize::new(0));
    let post = |color: &Color| {
        let ran = Arc::clone(&ran);
        color.post(move |_| {
            ran.fetch_add(1, SeqCst);
        });
    };
    colors.iter().for_each(post);
    let polls = here.metrics().polls();
    assert_eq!(here.next_deadline(), None, "it does not know yet");
    assert_eq!(here.turn(Turn::Block, 0), 0);
    assert!(here.next_deadline().unwrap() <= Instant::now());
    assert_eq!((here.turn(Turn::Block, 2), ran.load(SeqCst)), (2, 2));
    assert_eq!((here.turn(Turn::Poll, ALL), ran.load(SeqCst)), (3, 5));
    assert_eq!(here.next_deadline(), None);
    assert_eq!(here.turn(Turn::Poll, ALL), 0);
    assert_eq!(here.metrics().polls() - polls, 4);
    let (begin, wait) = (Instant::now(), Duration::from_millis(5));
    assert_eq!(here.turn(Turn::Until(begin + wait), ALL), 0);
    assert!(begin.elapsed() >= wait);
    assert_eq!(here.metrics().polls() - polls, 5);
    // A color that never becomes idle. The turn still ends, when the descriptors are due.
    fn again(color: Color) {
        color.clone().post(move |_| {
            thread::sleep(Duration::from_micros(20));
            again(color);
        });
    }
    again(colors[0].clone());
    for turn in 6..20 {
        assert!(here.turn(Turn::Block, ALL) > 0);
        assert_eq!(here.metrics().polls() - polls, turn);
    }
}

#[test]
fn e18_timers_and_their_deadline() {
    let here = alone();
    let h = here.handle();
    here.turn(Turn::Poll, ALL);
    assert_eq!(here.next_deadline(), None);
    let (fired, begin) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let also_fired = Arc::clone(&fired);
    let delay = Duration::from_millis(10);
    here.enter(|cx| {
        cx.post_after(delay, &h.default_color(), move |_| also_fired.store(true, SeqCst))
    });
    let deadline = here.next_deadline().unwrap();
    // The deadline may be before the time of the timer, but not long after it.
    assert!(deadline < begin + delay + Duration::from_secs(5));
    while !fired.load(SeqCst) {
        here.turn(Turn::Block, ALL);
    }
    assert!(begin.elapsed() >= delay);
    assert_eq!(here.next_deadline(), None);
    // An earlier timer that another thread starts ends the wait.
    let color = h.color_builder().on_worker(0).build();
    let _late = h.post_after(Duration::from_secs(3_600), &color, |_| {});
    let other = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        color.runtime().post_after(Duration::from_millis(1), &color.clone(), |_| {})
    });
    let ran = here.metrics().events();
    here.run(|| here.metrics().events() > ran);
    drop(other.join().unwrap());
}

#[test]
fn e18_a_post_from_elsewhere_wakes_the_thread() {
    let here = alone();
    let h = here.handle();
    let (tx, rx) = mpsc::channel::<Color>();
    let poster = thread::spawn(move || {
        for color in rx {
            thread::sleep(Duration::from_millis(1));
            color.post(|_| {});
        }
    });
    for n in 1..=20 {
        let color = if n % 2 == 0 { h.new_color() } else { h.default_color() };
        tx.send(color).unwrap();
        while here.metrics().events() < n {
            here.turn(Turn::Block, ALL);
        }
    }
    drop(tx);
    poster.join().unwrap();
}

#[test]
fn e17_e18_while_the_thread_is_away_others_run_what_is_not_bound() {
    let here = here(Runtime::builder().workers(2));
    let h = here.handle();
    let (tx, rx) = mpsc::channel();
    let ran_bound = Arc::new(AtomicBool::new(false));
    let also_ran = Arc::clone(&ran_bound);
    h.post_default(move |_| also_ran.store(true, SeqCst));
    // Posted as the worker, so the event stands in its run queue, behind an event that stays there.
    let color = here.enter(|cx| {
        let color = cx.new_color();
        let tx = tx.clone();
        cx.post(&color, move |cx| tx.send(cx.worker()).unwrap());
        color
    });
    assert_eq!(rx.recv_timeout(Duration::from_secs(20)), Ok(1));
    for _ in 0..10 {
        let tx = tx.clone();
        color.post(move |cx| tx.send(cx.worker()).unwrap());
        assert_eq!(rx.recv_timeout(Duration::from_secs(20)), Ok(1));
    }
    h.new_color().post(move |cx| tx.send(cx.worker()).unwrap());
    assert_eq!(rx.recv_timeout(Duration::from_secs(20)), Ok(1));
    assert!(!ran_bound.load(SeqCst));
    here.wait_idle();
    assert!(ran_bound.load(SeqCst));
}

#[test]
fn e18_a_future_need_not_be_send_and_is_woken_from_anywhere() {
    let here = here(Runtime::builder().workers(2));
    let h = here.handle();
    let count = Rc::new(Cell::new(0));
    let color = h.default_color();
    let tasks: Vec<_> = (0..10)
        .map(|n| {
            let (count, h) = (Rc::clone(&count), h.clone());
            here.spawn_local(&color, async move {
                for _ in 0..n {
                    h.new_color().call(|_| {}).await.unwrap();
                    h.sleep(Duration::from_micros(100)).await;
                }
                count.set(count.get() + n);
            })
        })
        .collect();
    let also_count = Rc::clone(&count);
    let sum = here.block_on(async move {
        for task in tasks {
            task.await.unwrap();
        }
        also_count.get()
    });
    assert_eq!((sum, Rc::strong_count(&count)), (45, 1));
    // A task on the thread may run a turn itself.
    let here = keep(here);
    let task = here.spawn_local(&color, async { kept().turn(Turn::Poll, ALL) });
    here.block_on(task).unwrap();
    end(here);
}

#[test]
fn e18_e11_its_end_runs_what_is_left_and_drops_the_rest_on_the_thread() {
    let here = alone();
    let h = here.handle();
    let (ran, kept) = (Arc::new(AtomicUsize::new(0)), Rc::new(()));
    for _ in 0..10 {
        let (ran, h) = (Arc::clone(&ran), h.clone());
        h.clone().post_default(move |_| {
            h.post_default(move |_| _ = ran.fetch_add(1, SeqCst));
        });
    }
    let also_kept = Rc::clone(&kept);
    let color = h.default_color();
    let task = here.spawn_local(&color, async move {
        let _kept = also_kept;
        std::future::pending::<()>().await;
    });
    task.detach();
    h.post_after(Duration::from_secs(3_600), &color, |_| {});
    let report = here.shutdown(Duration::from_secs(20));
    assert!(report.drained && report.stuck_workers.is_empty());
    // The last poll of the task, which drops its future, does not run.
    assert_eq!((report.dropped_events, report.dropped_timers, ran.load(SeqCst)), (1, 1, 10));
    assert_eq!(Rc::strong_count(&kept), 1);
    assert!(h.has_ended());
    // With a limit of zero, events that have not run are dropped.
    let here = here_with_two();
    let h = here.handle();
    for _ in 0..10 {
        let ran = Arc::clone(&ran);
        h.color_builder().on_worker(0).build().post(move |_| _ = ran.fetch_add(1, SeqCst));
    }
    let report = here.shutdown(Duration::ZERO);
    assert_eq!((report.dropped_events, ran.load(SeqCst), Arc::strong_count(&ran)), (10, 10, 1));
}

fn here_with_two() -> Here {
    here(Runtime::builder().workers(2).steal_policy(StealPolicy::Eager))
}

#[test]
fn e18_several_threads_have_one_each_and_one_thread_has_several() {
    let threads: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn(|| {
                let outer = alone();
                let inner = Rc::new(alone());
                HERE.set(Some(Rc::clone(&inner)));
                let sum = Arc::new(AtomicUsize::new(0));
                for n in 0..100 {
                    let (sum, h) = (Arc::clone(&sum), inner.handle());
                    // In an event of one runtime, the thread enters the other runtime.
                    outer.handle().post_default(move |cx| {
                        let color = cx.color().unwrap();
                        h.post_default(move |_| _ = sum.fetch_add(n, SeqCst));
                        assert!(kept().turn(Turn::Block, ALL) >= 1);
                        assert!(cx.is_on(&color));
                    });
                }
                outer.wait_idle();
                HERE.take();
                assert_eq!(outer.metrics().panics() + inner.metrics().panics(), 0);
                sum.load(SeqCst)
            })
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 4_950));
}

#[test]
fn e16_e18_wait_idle_waits_for_other_workers() {
    let here = here_with_two();
    let h = here.handle();
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..20 {
        let (ran, also_ran) = (Arc::clone(&ran), Arc::clone(&ran));
        h.new_color().post(move |cx| {
            thread::sleep(Duration::from_millis(1));
            ran.fetch_add(1, SeqCst);
            cx.post_default(move |_| _ = also_ran.fetch_add(1, SeqCst));
        });
    }
    here.wait_idle();
    assert_eq!(ran.load(SeqCst), 40);
}

#[test]
fn e18_what_panics_in_here_leaves_the_thread_outside() {
    let here = alone();
    let panicked = |f: &dyn Fn()| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_err();
        assert_eq!(here.handle().current_worker(), None);
    };
    panicked(&|| here.enter(|_| panic!("as it should")));
    panicked(&|| here.run(|| panic!("as it should")));
    panicked(&|| here.block_on(async { panic!("as it should") }));
    here.handle().post_default(|_| {});
    here.wait_idle();
    assert_eq!(here.metrics().events(), 1);
}

/// Many threads post to all kinds of colors, while this thread enters and leaves its runtime.
#[test]
fn e17_e18_storm() {
    let here = keep(here(Runtime::builder().workers(3).pin_cores(false)));
    let h = here.handle();
    let bound: Vec<_> =
        (0..6).map(|n| Colored::new(&h.color_builder().on_worker(n % 3).build(), 0u64)).collect();
    let free: Vec<_> = (0..6).map(|_| Colored::new(&h.new_color(), 0u64)).collect();
    const POSTS: usize = if cfg!(debug_assertions) { 3_000 } else { 20_000 };
    let posters: Vec<_> = (0..3)
        .map(|poster| {
            let (bound, free, h) = (bound.clone(), free.clone(), h.clone());
            thread::spawn(move || {
                for n in 0..POSTS {
                    let (mine, other) = (bound[(n + poster) % 6].clone(), free[n % 6].clone());
                    match n % 5 {
                        0 => mine.post(|n, _| *n += 1),
                        1 => other.post(move |n, _| {
                            *n += 1;
                            mine.post(|n, _| *n += 1);
                        }),
                        2 => mine.post(move |n, cx| {
                            *n += 1;
                            if cx.worker() == 0 {
                                kept().turn(Turn::Poll, 3);
                            }
                        }),
                        3 => {
                            h.post_set(&[mine.color().exclusive(), other.color().shared()], |_| {})
                        }
                        _ => mine.color().post_shared(|_| {}),
                    }
                }
            })
        })
        .collect();
    while posters.iter().any(|poster| !poster.is_finished()) {
        here.turn(Turn::Until(Instant::now() + Duration::from_millis(1)), 100);
        thread::yield_now();
    }
    posters.into_iter().for_each(|poster| poster.join().unwrap());
    here.wait_idle();
    // An event that finds its value borrowed by a suspended event panics, and does not count.
    let sum: u64 = bound.iter().map(|value| here.block_on(value.call(|n, _| *n)).unwrap()).sum();
    let expected = 3 * POSTS as u64 * 3 / 5;
    assert_eq!(sum + here.metrics().panics(), expected);
    HERE.take();
}

#[test]
fn e4_e18_others_run_what_is_not_bound_however_long_they_have_slept() {
    let here = here(Runtime::builder().workers(2));
    let h = here.handle();
    let color = here.enter(|cx| cx.new_color());
    for round in 0..4 {
        // Long enough that no worker watches any longer.
        thread::sleep(Duration::from_millis(100));
        let (tx, rx) = mpsc::channel();
        match round {
            0 => color.post(move |cx| tx.send(cx.worker()).unwrap()),
            1 => here.enter(|cx| cx.post(&color, move |cx| tx.send(cx.worker()).unwrap())),
            2 => {
                // A turn that ends before it has run everything.
                let also_tx = tx.clone();
                h.post_default(|_| {});
                here.enter(|cx| {
                    cx.post_uncolored(|_| {});
                    cx.post(&color, move |cx| also_tx.send(cx.worker()).unwrap());
                });
                here.turn(Turn::Poll, 1);
                drop(tx);
            }
            _ => {
                let color = color.clone();
                thread::spawn(move || color.post(move |cx| tx.send(cx.worker()).unwrap()));
            }
        }
        let ran = rx.recv_timeout(Duration::from_secs(20));
        assert!(ran == Ok(1) || round == 2 && ran == Ok(0), "{round}: {ran:?}");
    }
}

#[test]
fn e18_what_is_asked_may_post_and_panic() {
    let here = here(Runtime::builder().workers(2));
    let h = here.handle();
    let (far, near) = (h.color_builder().on_worker(1).build(), h.default_color());
    for _ in 0..50 {
        let done = Arc::new(AtomicBool::new(false));
        let asked = Cell::new(0);
        here.run(|| {
            asked.set(asked.get() + 1);
            if asked.get() == 2 {
                let (near, done) = (near.clone(), Arc::clone(&done));
                far.post(move |cx| cx.post(&near, move |_| done.store(true, SeqCst)));
            }
            done.load(SeqCst)
        });
    }
    for limit in 1..6 {
        let asked = Cell::new(0);
        let run = || {
            here.run(|| {
                asked.set(asked.get() + 1);
                assert!(asked.get() < limit, "as it should");
                near.post(|_| {});
                false
            });
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(h.current_worker(), None);
        let ran = h.metrics().events();
        far.post(|_| {});
        near.post(|_| {});
        here.wait_idle();
        assert!(h.metrics().events() >= ran + 2);
    }
}

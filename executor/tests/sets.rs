//! C6, and what other rules say about color sets.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use dapple::{Color, Colored, ColoredSet, Handle, Palette, Priority, Request, Runtime};

const LONG: Duration = Duration::from_secs(60);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).on_panic(|_| {}).build().unwrap()
}

fn counters(h: &Handle, n: usize) -> Vec<Colored<u64>> {
    (0..n).map(|_| Colored::new(&h.new_color(), 0)).collect()
}

#[test]
fn c6_a_set_has_all_its_colors_and_gives_them_back() {
    let rt = runtime(2);
    let h = rt.handle();
    let colors: Vec<Color> = (0..12).map(|_| h.new_color()).collect();
    for n in [2, 3, 5, 6, 12] {
        let mine = colors.clone();
        let requests: Vec<Request<'_>> = colors[..n]
            .iter()
            .map(|c| if n % 2 == 0 { c.exclusive() } else { c.shared() })
            .collect();
        h.post_set(&requests, move |cx| {
            assert!(mine[..n].iter().all(|c| cx.is_on(c) && cx.is_alone_on(c) == (n % 2 == 0)));
            assert!(mine[n..].iter().all(|c| !cx.is_on(c)));
            assert_eq!(cx.color().as_ref(), Some(&mine[0]), "the color that was named first");
            let first = mine[0].clone();
            cx.post_here(move |cx| assert!(cx.is_alone_on(&first)));
        });
    }
    for color in &colors {
        color.post(|_| {});
    }
    rt.wait_idle();
    assert_eq!((rt.metrics().panics(), rt.metrics().events()), (0, 5 + 5 + 12));
}

#[test]
fn c6_a_color_named_twice_counts_once_with_its_stronger_access() {
    let rt = runtime(2);
    let h = rt.handle();
    let (a, b) = (h.new_color(), h.new_color());
    let (a1, b1) = (a.clone(), b.clone());
    h.post_set(&[a.shared(), b.shared(), a.exclusive(), b.shared()], move |cx| {
        assert!(cx.is_alone_on(&a1));
        assert!(cx.is_on(&b1) && !cx.is_alone_on(&b1));
    });
    let a1 = a.clone();
    h.post_set(&[a.exclusive(), a.shared()], move |cx| assert!(cx.is_alone_on(&a1)));
    let a1 = a.clone();
    h.post_set(&[a.shared(), a.shared()], move |cx| assert!(!cx.is_alone_on(&a1)));
    h.post_set(&[], |cx| assert!(cx.color().is_none()));
    rt.wait_idle();
    assert_eq!((rt.metrics().panics(), rt.metrics().events()), (0, 4));
}

#[test]
fn c6_bank_transfers_keep_the_total_that_auditors_see() {
    const ACCOUNTS: usize = 1_000;
    let rt = runtime(2);
    let h = rt.handle();
    let accounts: Vec<Colored<i64>> =
        (0..ACCOUNTS).map(|_| Colored::new(&h.new_color(), 100)).collect();
    let audits = Arc::new(AtomicUsize::new(0));
    let mut random = 1u64;
    let mut below = |n: usize| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) as usize % n
    };
    for n in 0..20_000 {
        let (from, step) = (below(ACCOUNTS), 1 + below(ACCOUNTS - 1));
        let (from, to) = (&accounts[from], &accounts[(from + step) % ACCOUNTS]);
        (from.exclusive(), to.exclusive()).post(|(from, to), _| {
            *from -= 1;
            *to += 1;
        });
        if n % 1_000 == 0 {
            let audits = Arc::clone(&audits);
            let all: Vec<_> = accounts.iter().map(Colored::shared).collect();
            all.post(move |all, _| {
                assert_eq!(all.into_iter().sum::<i64>(), 100 * ACCOUNTS as i64);
                audits.fetch_add(1, Relaxed);
            });
        }
    }
    rt.wait_idle();
    assert_eq!((audits.load(Relaxed), rt.metrics().panics()), (20, 0));
}

#[test]
fn c6_philosophers_eat_in_whatever_order_they_take_their_forks() {
    const SEATS: usize = 20;
    const MEALS: u64 = 500;
    for workers in [1, 2, 4] {
        let rt = runtime(workers);
        let forks = counters(&rt.handle(), SEATS);
        fn eat(seat: usize, left: u64, forks: Arc<Vec<Colored<u64>>>) {
            let (a, b) = (seat, (seat + 1) % SEATS);
            // The last philosopher takes the forks in the opposite order.
            let (also, mine) = (Arc::clone(&forks), &forks);
            (mine[a].exclusive(), mine[b].exclusive()).post(move |(a, b), _| {
                *a += 1;
                *b += 1;
                if left > 1 {
                    eat(seat, left - 1, also);
                }
            });
        }
        let forks = Arc::new(forks);
        for seat in 0..SEATS {
            eat(seat, MEALS, Arc::clone(&forks));
        }
        rt.wait_idle();
        for fork in forks.iter() {
            fork.post_shared(|meals, _| assert_eq!(*meals, 2 * MEALS));
        }
        rt.wait_idle();
        let m = rt.metrics();
        assert_eq!((m.panics(), m.events()), (0, SEATS as u64 * (MEALS + 1)));
    }
}

#[test]
fn c6_sets_from_many_threads_meet_without_a_circle() {
    let rt = runtime(2);
    let h = rt.handle();
    let ring = counters(&h, 3);
    std::thread::scope(|s| {
        for first in 0..3 {
            let ring = &ring;
            s.spawn(move || {
                for n in 0..2_000 {
                    let (a, b, c) = (&ring[first], &ring[(first + 1) % 3], &ring[(first + 2) % 3]);
                    match n % 3 {
                        0 => (a.exclusive(), b.exclusive()).post(|(a, b), _| {
                            *a += 1;
                            *b += 1;
                        }),
                        1 => (a.exclusive(), b.shared(), c.shared()).post(|(a, _, _), _| *a += 2),
                        _ => a.post(|_, _| {}),
                    }
                }
            });
        }
    });
    let all: Vec<_> = ring.iter().map(Colored::shared).collect();
    all.post(|all, _| {
        let sum: u64 = all.into_iter().sum();
        assert_eq!(sum, 3 * (667 * 2 + 667 * 2));
    });
    rt.wait_idle();
    assert_eq!((rt.metrics().panics(), rt.metrics().events()), (0, 6_001));
}

#[test]
fn c10_a_waiting_set_keeps_its_colors() {
    let rt = runtime(2);
    let h = rt.handle();
    let palette = Palette::<i32>::new(&h);
    let blocked = h.new_color();
    let (go, gone) = mpsc::channel::<()>();
    blocked.post(move |_| {
        let _ = gone.recv_timeout(LONG);
    });
    let color = palette.color(&1);
    let ran = Arc::new(AtomicUsize::new(0));
    let runs = Arc::clone(&ran);
    h.post_set(&[color.exclusive(), blocked.shared()], move |_| runs.store(1, SeqCst));
    drop(color);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(palette.len(), 1, "C4: a waiting set keeps the color");
    let runs = Arc::clone(&ran);
    palette.color(&1).post(move |_| {
        let before = runs.swap(2, SeqCst);
        assert_eq!(before, 1, "it is the same color, so this stands behind the set");
    });
    go.send(()).unwrap();
    rt.wait_idle();
    assert_eq!((ran.load(SeqCst), rt.metrics().panics()), (2, 0));
    assert!(palette.is_empty());
}

#[test]
fn c11_a_panicking_set_gives_its_colors_back_and_poisons_what_it_writes() {
    let rt = runtime(2);
    let h = rt.handle();
    let (a, b) = (Colored::new(&h.new_color(), 1), Colored::new(&h.new_color(), 2));
    (a.exclusive(), b.shared()).post(|_, _| panic!("a set's"));
    rt.wait_idle();
    assert!(a.is_poisoned() && !b.is_poisoned());
    (a.shared(), b.exclusive()).post(|_, _| unreachable!("one value is poisoned"));
    b.post(|b, _| *b += 1);
    a.clear_poison(|a, _| *a = 5);
    (a.shared(), b.exclusive()).post(|(a, b), _| assert_eq!((*a, *b), (5, 3)));
    rt.wait_idle();
    assert!(!b.is_poisoned(), "what was dropped unrun poisons nothing");
    let m = rt.metrics();
    assert_eq!((m.panics(), m.dropped()), (1, 1));
}

#[test]
fn c13_aliasing_in_a_set_panics_at_the_place() {
    let messages = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&messages);
    let rt = Runtime::builder()
        .workers(1)
        .on_panic(move |p| heard.lock().unwrap().push(p.message().unwrap().to_owned()))
        .build()
        .unwrap();
    let h = rt.handle();
    let color = h.new_color();
    let (a, b, c) =
        (Colored::new(&color, 1), Colored::new(&color, 2), Colored::new(&h.new_color(), 3));
    let again = a.clone();
    let twice = std::panic::catch_unwind(|| (a.exclusive(), again.shared()).post(|_, _| {}));
    assert_eq!(
        *twice.unwrap_err().downcast::<&str>().unwrap(),
        "a set must not name a value twice"
    );

    // Two values of one color: the set has the color exclusively, but it has the value `b` by
    // shared reference.
    let (b1, a1, c1) = (b.clone(), a.clone(), c.clone());
    (a.exclusive(), b.shared()).post(move |(a, b), cx| {
        *a += *b;
        drop(b1.get_mut(cx));
    });
    rt.wait_idle();
    a.clear_poison(|a, _| *a = 1);
    (b.shared(), c.exclusive()).post(move |_, cx| drop(a1.get_mut(cx)));
    rt.wait_idle();
    c.clear_poison(|_, _| {});
    (b.shared(), c.exclusive()).post(move |_, cx| drop(c1.get_mut(cx)));
    rt.wait_idle();
    assert_eq!(
        *messages.lock().unwrap(),
        [
            "the event already has a reference to this value",
            "the event has only shared access to the color of this value",
            "the event already has a reference to this value",
        ]
    );
    // Another set can reach the values.
    let (a1, c1) = (a.clone(), c.clone());
    c.clear_poison(|_, _| {});
    h.post_set(&[a.color().exclusive(), c.color().shared()], move |cx| {
        *a1.get_mut(cx) += 1;
        assert_eq!((*a1.get(cx), *c1.get(cx)), (2, 3));
    });
    rt.wait_idle();
    assert_eq!(messages.lock().unwrap().len(), 3);
}

#[test]
fn c13_what_an_earlier_event_has_forgotten_does_not_let_a_value_be_aliased() {
    let rt = runtime(1);
    let color = rt.handle().new_color();
    let (a, b) = (Colored::new(&color, 1), Colored::new(&color, 2));
    let (forgets, writes, reads) = (b.clone(), b.clone(), b.clone());
    a.post(move |_, cx| std::mem::forget(forgets.get_mut(cx)));
    (a.exclusive(), b.shared()).post(move |(_, b), cx| {
        assert_eq!((*b, *reads.get(cx)), (2, 2));
        writes.with(|_| unreachable!("the event has it by `&`"));
    });
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 1);
}

#[test]
fn c6_a_set_across_runtimes_is_refused_at_the_place() {
    let (rt, other) = (runtime(1), runtime(1));
    let (a, b) = (rt.handle().new_color(), other.handle().new_color());
    let posts = || rt.handle().post_set(&[a.exclusive(), b.exclusive()], |_| {});
    let message = *std::panic::catch_unwind(std::panic::AssertUnwindSafe(posts))
        .unwrap_err()
        .downcast::<&str>()
        .unwrap();
    assert!(message.contains("belong to the runtime"), "{message}");
    a.post(|_| {});
    b.post(|_| {});
    rt.wait_idle();
    other.wait_idle();
    assert_eq!(rt.metrics().events() + other.metrics().events(), 2, "nothing was left behind");
}

#[test]
fn e11_sets_that_are_left_are_dropped_once_and_counted() {
    for workers in [1, 2] {
        let rt = runtime(workers);
        let h = rt.handle();
        let colors: Vec<Color> = (0..4).map(|_| h.new_color()).collect();
        let dropped = Arc::new(AtomicUsize::new(0));
        struct Counts(Arc<AtomicUsize>);
        impl Drop for Counts {
            fn drop(&mut self) {
                self.0.fetch_add(1, SeqCst);
            }
        }
        let (began, begins) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        h.post_set(&[colors[0].exclusive(), colors[1].shared()], move |_| {
            began.send(()).unwrap();
            let _ = gone.recv_timeout(LONG);
        });
        begins.recv_timeout(LONG).unwrap();
        for n in 0..30 {
            let counts = Counts(Arc::clone(&dropped));
            let (a, b) = (&colors[n % 4], &colors[(n + 1 + n % 3) % 4]);
            match n % 3 {
                0 => h.post_set(&[a.exclusive(), b.exclusive()], move |_| drop(counts)),
                1 => h.post_set(&[a.exclusive(), b.shared()], move |_| drop(counts)),
                _ => h.post_set(&[a.shared(), b.shared()], move |_| drop(counts)),
            }
        }
        let report = std::thread::scope(|s| {
            s.spawn(move || {
                std::thread::sleep(Duration::from_millis(30));
                go.send(()).unwrap();
            });
            rt.shutdown(Duration::ZERO)
        });
        assert_eq!(report.dropped_events + h.metrics().events(), 31, "{report:?}");
        drop(colors);
        assert_eq!(dropped.load(SeqCst), 30, "every closure is dropped once, run or not");
        h.post_set(&[h.default_color().exclusive(), h.new_color().shared()], |_| unreachable!());
        assert_eq!(h.metrics().dropped(), report.dropped_events + 1, "refused, and counted");
    }
}

/// Posts bursts of sets of two accounts, for this many rounds, as one of many generators.
fn generate(left: u64, seed: u64, accounts: Arc<Vec<Colored<u64>>>, waits: Waits, h: &Handle) {
    let color = h.new_color();
    h.post(&color, move |cx| {
        let n = accounts.len() as u64;
        for at in 0..64 {
            let from = (seed * 31 + left * 17 + at * 7) % n;
            let to = (from + 1 + (seed + left + at) % (n - 1)) % n;
            let waits = Arc::clone(&waits);
            waits.0.fetch_add(1, Relaxed);
            (accounts[from as usize].exclusive(), accounts[to as usize].exclusive()).post(
                move |(from, to), _| {
                    let before = waits.0.fetch_sub(1, Relaxed);
                    waits.1.fetch_max(before, Relaxed);
                    *from += 1;
                    *to += 1;
                },
            );
        }
        if left > 1 {
            generate(left - 1, seed, accounts, waits, &cx.handle());
        }
    });
}

/// The number of sets that wait now, and the maximum.
type Waits = Arc<(AtomicUsize, AtomicUsize)>;

/// C9: sets that have all their colors run before their posters post more of them, so the backlog
/// does not grow with the number of posts.
#[test]
fn c9_sets_do_not_pile_up_behind_their_posters() {
    // Without a limit of time: in a debug build on a busy machine, 64 sets may take longer.
    let budget = dapple::TurnBudget { nanos: u64::MAX, ..Default::default() };
    let rt = Runtime::builder().workers(1).turn_budget(budget).build().unwrap();
    let h = rt.handle();
    let (accounts, waits) = (Arc::new(counters(&h, 1_000)), Waits::default());
    for seed in 0..64 {
        generate(20, seed, Arc::clone(&accounts), Arc::clone(&waits), &h);
    }
    rt.wait_idle();
    let most = waits.1.load(Relaxed);
    assert!(most < 1_000, "{most} of 81,920 sets waited at a time");
    assert_eq!(rt.metrics().events(), 64 * 20 * 65);
}

/// C9: sets that post sets without end leave room for other work.
#[test]
fn c9_sets_without_end_do_not_starve_other_work() {
    fn again(forks: Arc<Vec<Colored<u64>>>, over: Arc<AtomicBool>) {
        let next = (Arc::clone(&forks), Arc::clone(&over));
        (forks[0].exclusive(), forks[1].exclusive()).post(move |_, _| {
            if !over.load(Relaxed) {
                again(next.0, next.1);
            }
        });
    }
    let rt = runtime(1);
    let h = rt.handle();
    let over = Arc::new(AtomicBool::new(false));
    for _ in 0..100 {
        again(Arc::new(counters(&h, 2)), Arc::clone(&over));
    }
    let (plain, seen) = (h.new_color(), mpsc::channel());
    h.post_after(Duration::from_millis(5), &plain, move |cx| {
        let plain = cx.color().unwrap();
        cx.post_uncolored(move |cx| cx.post(&plain, move |_| seen.0.send(()).unwrap()));
    });
    seen.1.recv_timeout(LONG).expect("C9: other work runs beside sets");
    over.store(true, Relaxed);
    rt.wait_idle();
}

/// C9: other work without end leaves room for sets.
#[test]
fn c9_other_work_without_end_does_not_starve_sets() {
    fn again(over: Arc<AtomicBool>, cx: &mut dapple::Cx) {
        if !over.load(Relaxed) {
            cx.post_here(move |cx| again(over, cx));
        }
    }
    let rt = runtime(1);
    let h = rt.handle();
    let over = Arc::new(AtomicBool::new(false));
    for _ in 0..100 {
        let over = Arc::clone(&over);
        h.new_color().post(move |cx| again(over, cx));
    }
    let (pair, seen) = (counters(&h, 2), mpsc::channel());
    h.new_color().post(move |_| {
        (pair[0].exclusive(), pair[1].exclusive()).post(move |_, _| seen.0.send(()).unwrap());
    });
    seen.1.recv_timeout(LONG).expect("C9: sets run beside other work");
    over.store(true, Relaxed);
    rt.wait_idle();
}

/// E4: another worker takes over a ready set that waits behind a stuck event.
#[test]
fn e4_a_set_that_is_ready_does_not_wait_behind_a_stuck_event() {
    let rt = runtime(2);
    let h = rt.handle();
    for _ in 0..10 {
        let (pair, seen, gone) = (counters(&h, 2), mpsc::channel(), mpsc::channel::<()>());
        h.new_color().post(move |_| {
            (pair[0].exclusive(), pair[1].exclusive()).post(move |_, _| seen.0.send(()).unwrap());
            // Blocks until the set has run.
            let _ = gone.1.recv_timeout(LONG);
        });
        seen.1.recv_timeout(LONG / 2).expect("E4: the set runs elsewhere");
        drop(gone.0);
    }
    rt.wait_idle();
}

/// C7: among ready sets and other work, the highest class goes first.
#[test]
fn c7_a_ready_set_of_a_lower_class_waits_for_higher_work() {
    let rt = runtime(1);
    let h = rt.handle();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let seen = Arc::clone(&seen);
        move |_: &mut dapple::Cx| seen.lock().unwrap().push(what)
    };
    let of = |class| h.color_builder().priority(class).build();
    let (go, gone) = mpsc::channel::<()>();
    h.new_color().post(move |_| {
        let _ = gone.recv_timeout(LONG);
    });
    for (class, set, plain) in [
        (Priority::Low, "low set", "low"),
        (Priority::Normal, "set", "normal"),
        (Priority::High, "high set", "high"),
    ] {
        of(class).post(note(plain));
        let handle = h.clone();
        let (a, b, set) = (of(class), of(class), note(set));
        // Posted on the worker, so that the set is ready at once.
        of(Priority::High).post(move |_| {
            handle.post_set(&[a.exclusive(), b.exclusive()], set);
        });
    }
    drop(go);
    rt.wait_idle();
    let seen = seen.lock().unwrap();
    let expected = ["high", "high set", "normal", "set", "low", "low set"];
    let class = |what: &str| expected.iter().position(|e| *e == what).unwrap() / 2;
    assert!(seen.is_sorted_by_key(|what| class(what)), "{seen:?}");
    assert_eq!(seen.len(), 6);
}

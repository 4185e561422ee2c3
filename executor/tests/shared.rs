//! C5, and what other rules say about shared events.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;

use dapple::{Colored, Cx, Palette, Runtime};

const LONG: Duration = Duration::from_secs(60);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).on_panic(|_| {}).build().unwrap()
}

#[test]
fn c5_shared_events_run_on_all_workers_at_once() {
    let rt = runtime(3);
    let color = rt.handle().new_color();
    let meet = Arc::new(Barrier::new(3));
    for _ in 0..3 {
        let meet = Arc::clone(&meet);
        // None of the events returns before all have begun.
        color.post_shared(move |_| {
            meet.wait();
        });
    }
    rt.wait_idle();
    assert_eq!(rt.metrics().events(), 3);
}

#[test]
fn c5_a_writer_is_not_starved_by_readers_nor_readers_by_writers() {
    let rt = runtime(2);
    let color = rt.handle().new_color();
    let stop = Arc::new(AtomicBool::new(false));
    fn read_on(stop: Arc<AtomicBool>, cx: &mut Cx) {
        if !stop.load(Relaxed) {
            let color = cx.color().unwrap();
            cx.post_shared(&color, move |cx| read_on(stop, cx));
        }
    }
    for _ in 0..4 {
        let stop = Arc::clone(&stop);
        color.post_shared(move |cx| read_on(stop, cx));
    }
    let (tell, told) = mpsc::channel();
    color.post(move |_| tell.send(()).unwrap());
    told.recv_timeout(LONG).expect("a writer gets its turn");
    stop.store(true, Relaxed);
    rt.wait_idle();

    let stop = Arc::new(AtomicBool::new(false));
    fn write_on(stop: Arc<AtomicBool>, cx: &mut Cx) {
        if !stop.load(Relaxed) {
            cx.post_here(move |cx| write_on(stop, cx));
        }
    }
    let writer = Arc::clone(&stop);
    color.post(move |cx| write_on(writer, cx));
    let (tell, told) = mpsc::channel();
    color.post_shared(move |_| tell.send(()).unwrap());
    told.recv_timeout(LONG).expect("a reader gets its turn");
    stop.store(true, Relaxed);
    rt.wait_idle();
}

#[test]
fn c2_c5_groups_run_in_the_order_of_their_posts() {
    let rt = runtime(2);
    let value = Colored::new(&rt.handle().new_color(), 0);
    let seen = Arc::new(Mutex::new(Vec::new()));
    for round in 0..100 {
        value.post(move |v, _| *v = round);
        for _ in 0..5 {
            let seen = Arc::clone(&seen);
            value.post_shared(move |v, _| seen.lock().unwrap().push(*v));
        }
    }
    rt.wait_idle();
    let expected: Vec<_> = (0..100).flat_map(|round| [round; 5]).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn c2_an_event_posts_shared_and_exclusive_ones_to_its_own_color() {
    let rt = runtime(2);
    let value = Colored::new(&rt.handle().new_color(), Vec::new());
    let also = value.clone();
    value.post(move |v, _| {
        v.push(1);
        also.post(|v, _| v.push(2));
        also.post_shared(|v, _| assert_eq!(*v, [1, 2]));
        also.post(|v, _| v.push(3));
        also.post_shared(|v, _| assert_eq!(*v, [1, 2, 3]));
    });
    rt.wait_idle();
    assert_eq!((rt.metrics().events(), rt.metrics().panics()), (5, 0));
}

#[test]
fn c10_a_color_lives_as_long_as_its_readers_and_no_longer() {
    let rt = runtime(2);
    let h = rt.handle();
    let palette = Palette::<&str>::new(&h);
    let (began, begins) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let color = palette.color(&"key");
    color.post_shared(move |_| {
        began.send(()).unwrap();
        let _ = gone.recv_timeout(LONG);
    });
    drop(color);
    begins.recv_timeout(LONG).unwrap();
    assert_eq!(palette.len(), 1, "C4: its reader keeps the color");
    // Stands behind the reader, on the same color. On a new color the event would run now.
    let ran = Arc::new(AtomicBool::new(false));
    let runs = Arc::clone(&ran);
    palette.color(&"key").post(move |_| runs.store(true, SeqCst));
    std::thread::sleep(Duration::from_millis(20));
    assert!(!ran.load(SeqCst), "C5: a writer waits for the reader");
    go.send(()).unwrap();
    rt.wait_idle();
    assert!(ran.load(SeqCst));
    assert!(palette.is_empty(), "neither handle nor event: the color is gone");
}

#[test]
fn c11_a_panicking_reader_lets_its_color_go_on_and_poisons_nothing() {
    let rt = runtime(2);
    let value = Colored::new(&rt.handle().new_color(), 1);
    for _ in 0..10 {
        value.post_shared(|_, _| panic!("a reader's"));
    }
    value.post(|v, _| *v = 2);
    value.post_shared(|v, _| assert_eq!(*v, 2));
    rt.wait_idle();
    assert_eq!((rt.metrics().panics(), rt.metrics().dropped()), (10, 0));
    value.post(|_, _| panic!("a writer's"));
    value.post_shared(|_, _| unreachable!("the value is poisoned"));
    rt.wait_idle();
    assert_eq!((rt.metrics().panics(), rt.metrics().dropped()), (11, 1));
}

#[test]
fn c13_a_shared_event_reads_other_values_of_its_color_and_writes_none() {
    let messages = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&messages);
    let rt = Runtime::builder()
        .workers(1)
        .on_panic(move |p| heard.lock().unwrap().push(p.message().unwrap().to_owned()))
        .build()
        .unwrap();
    let color = rt.handle().new_color();
    let (a, b) = (Colored::new(&color, 1), Colored::new(&color, 2));
    let foreign = Colored::new(&rt.handle().new_color(), 3);
    let (b1, b2, b3, a1, f1) = (b.clone(), b.clone(), b.clone(), a.clone(), foreign.clone());
    a.post_shared(move |a, cx| assert_eq!((*a, *b1.get(cx)), (1, 2)));
    a.post(move |_, cx| assert_eq!(*b2.get(cx), 2));
    a.post_shared(move |_, cx| drop(b3.get_mut(cx)));
    a.post_shared(move |_, cx| assert_eq!(*f1.get(cx), 3));
    rt.wait_idle();
    a.post(move |_, cx| assert_eq!(*a1.get(cx), 1));
    rt.wait_idle();
    assert_eq!(
        *messages.lock().unwrap(),
        [
            "the event has only shared access to the color of this value",
            "the event does not run on the color of this value",
            "the event already has a reference to this value",
        ]
    );
}

#[test]
fn c15_a_shared_event_knows_that_it_is_on_its_color() {
    let rt = runtime(1);
    let h = rt.handle();
    let (color, other) = (h.new_color(), h.new_color());
    let (mine, not_mine) = (color.clone(), other.clone());
    color.post_shared(move |cx| {
        assert!(cx.is_on(&mine) && !cx.is_alone_on(&mine) && !cx.is_on(&not_mine));
        assert_eq!(cx.color().unwrap(), mine);
        let also = mine.clone();
        cx.post_here(move |cx| assert!(cx.is_alone_on(&also)));
    });
    other.post(move |cx| assert!(!cx.is_on(&color)));
    rt.wait_idle();
    assert_eq!((rt.metrics().panics(), rt.metrics().events()), (0, 3));
}

#[test]
fn e11_shared_events_that_are_left_are_dropped_and_counted() {
    for workers in [1, 2] {
        let rt = runtime(workers);
        let color = rt.handle().new_color();
        let dropped = Arc::new(AtomicUsize::new(0));
        struct Counts(Arc<AtomicUsize>);
        impl Drop for Counts {
            fn drop(&mut self) {
                self.0.fetch_add(1, SeqCst);
            }
        }
        let (began, begins) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        // A reader that still runs when the runtime stops, with writers and readers behind it.
        color.post_shared(move |_| {
            began.send(()).unwrap();
            let _ = gone.recv_timeout(LONG);
        });
        begins.recv_timeout(LONG).unwrap();
        for n in 0..10 {
            let counts = Counts(Arc::clone(&dropped));
            match n % 2 {
                0 => color.post(move |_| drop(counts)),
                _ => color.post_shared(move |_| drop(counts)),
            }
        }
        let report = std::thread::scope(|s| {
            s.spawn(move || {
                std::thread::sleep(Duration::from_millis(30));
                go.send(()).unwrap();
            });
            let h = rt.handle();
            let report = rt.shutdown(Duration::ZERO);
            drop(color);
            (report, h)
        });
        assert_eq!(dropped.load(SeqCst), 10, "every closure is dropped");
        assert_eq!(report.0.dropped_events, 10, "{:?}", report.0);
        assert_eq!(report.1.metrics().dropped(), 10);
    }
}

#[test]
fn e11_what_is_dropped_with_shared_access_gets_no_other() {
    let rt = runtime(2);
    let value = Colored::new(&rt.handle().new_color(), 0);
    struct Writes(Colored<i32>, Arc<AtomicUsize>);
    impl Drop for Writes {
        fn drop(&mut self) {
            let alone = std::panic::AssertUnwindSafe(|| self.0.with(|v| *v += 1));
            if std::panic::catch_unwind(alone).is_ok() {
                self.1.fetch_add(1, SeqCst);
            }
        }
    }
    let alone = Arc::new(AtomicUsize::new(0));
    let (began, begins) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    value.post_shared(move |_, _| {
        began.send(()).unwrap();
        let _ = gone.recv_timeout(LONG);
    });
    begins.recv_timeout(LONG).unwrap();
    let mut posted = 0;
    for _ in 0..1_000 {
        let writes = Writes(value.clone(), Arc::clone(&alone));
        value.post_shared(move |_, _| drop(writes));
        posted += 1;
    }
    std::thread::scope(|s| {
        s.spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            go.send(()).unwrap();
        });
        rt.shutdown(Duration::ZERO);
    });
    assert_eq!((posted, alone.load(SeqCst)), (1_000, 0), "run or dropped, none of them was alone");
}

#[test]
fn c5_a_hundred_thousand_readers_and_a_writer() {
    let rt = runtime(2);
    let color = rt.handle().new_color();
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..100_000 {
        let ran = Arc::clone(&ran);
        color.post_shared(move |_| {
            ran.fetch_add(1, Relaxed);
        });
    }
    color.post(|_| {});
    rt.wait_idle();
    assert_eq!(ran.load(Relaxed), 100_000);
    assert_eq!(rt.metrics().events(), 100_001);
}

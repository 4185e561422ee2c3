//! C7: classes of colors.
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use dapple::{Color, Cx, Handle, Priority, Priority::*, Runtime, StealPolicy};

const LONG: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    Runtime::builder().workers(1).build().unwrap()
}

fn color(h: &Handle, class: Priority) -> Color {
    h.color_builder().priority(class).build()
}

/// Keeps the worker in an event until the returned sender is dropped.
fn block(h: &Handle) -> mpsc::Sender<()> {
    let (go, gone) = mpsc::channel::<()>();
    let (began, begins) = mpsc::channel();
    h.post(&h.new_color(), move |_| {
        began.send(()).unwrap();
        let _ = gone.recv_timeout(LONG);
    });
    begins.recv_timeout(LONG).unwrap();
    go
}

type Seen = Arc<Mutex<Vec<&'static str>>>;

fn note(seen: &Seen, what: &'static str) -> impl FnOnce(&mut Cx) + Send + use<> {
    let seen = Arc::clone(seen);
    move |_| seen.lock().unwrap().push(what)
}

#[test]
fn c7_a_higher_class_goes_first() {
    let (rt, seen) = (runtime(), Seen::default());
    let h = rt.handle();
    let blocked = block(&h);
    for (class, name) in [(Low, "low"), (Normal, "normal"), (High, "high")] {
        for _ in 0..4 {
            color(&h, class).post(note(&seen, name));
        }
    }
    // Posted from an event, too.
    let inside = seen.clone();
    color(&h, High).post(move |cx| {
        for (class, name) in [(Low, "low"), (Normal, "normal"), (High, "high")] {
            let color = color(&cx.handle(), class);
            cx.post(&color, note(&inside, name));
        }
    });
    drop(blocked);
    rt.wait_idle();
    let expected = [["high"; 5], ["normal"; 5], ["low"; 5]].concat();
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn c7_a_lower_class_never_starves() {
    for workers in [1, 2] {
        let rt = Runtime::builder().workers(workers).build().unwrap();
        let h = rt.handle();
        let stop = Arc::new(AtomicBool::new(false));
        fn go_on(stop: Arc<AtomicBool>, cx: &mut Cx) {
            if !stop.load(Relaxed) {
                cx.post_here(move |cx| go_on(stop, cx));
            }
        }
        for class in [High, High, High, Normal, Normal] {
            let stop = Arc::clone(&stop);
            color(&h, class).post(move |cx| go_on(stop, cx));
        }
        let (tell, told) = mpsc::channel();
        for class in [Low, Normal, High] {
            let tell = tell.clone();
            color(&h, class).post(move |_| tell.send(()).unwrap());
            told.recv_timeout(LONG).expect("a lower class gets its turn");
        }
        stop.store(true, Relaxed);
        rt.wait_idle();
    }
}

#[test]
fn c2_c7_the_order_of_one_color_stays() {
    let (rt, seen) = (runtime(), Arc::new(Mutex::new(Vec::new())));
    let h = rt.handle();
    let (high, low) = (color(&h, High), color(&h, Low));
    for n in 0..1_000 {
        let (seen, also) = (Arc::clone(&seen), Arc::clone(&seen));
        high.post(move |_| seen.lock().unwrap().push((High, n)));
        low.post(move |_| also.lock().unwrap().push((Low, n)));
    }
    rt.wait_idle();
    let seen = seen.lock().unwrap();
    for class in [High, Low] {
        let of_class: Vec<_> = seen.iter().filter(|s| s.0 == class).map(|s| s.1).collect();
        assert!(of_class.into_iter().eq(0..1_000));
    }
}

#[test]
fn c7_a_set_and_what_it_waits_for_run_in_its_highest_class() {
    let (rt, seen) = (runtime(), Seen::default());
    let h = rt.handle();
    let blocked = block(&h);
    let (low, other_low, high) = (color(&h, Low), color(&h, Low), color(&h, High));
    // The color is already in the low lane when the set raises it.
    low.post(note(&seen, "before the set"));
    other_low.post(note(&seen, "low"));
    for _ in 0..3 {
        h.new_color().post(note(&seen, "normal"));
    }
    h.post_set(&[low.shared(), high.exclusive()], note(&seen, "the set"));
    low.post(note(&seen, "behind the set"));
    drop(blocked);
    rt.wait_idle();
    let seen = seen.lock().unwrap();
    assert_eq!(seen[..2], ["before the set", "the set"], "{seen:?}");
    assert!(seen[2..5].iter().all(|s| *s == "normal"), "it is low again: {seen:?}");
    assert_eq!(seen.len(), 7);
}

#[test]
fn c7_a_color_is_raised_as_long_as_a_set_waits_for_it() {
    let rt = runtime();
    let h = rt.handle();
    for _ in 0..200 {
        let (low, normal, high) = (color(&h, Low), h.new_color(), color(&h, High));
        let blocked = block(&h);
        let ran = Seen::default();
        h.post_set(&[low.exclusive(), normal.exclusive()], note(&ran, "set"));
        h.post_set(&[normal.shared(), high.shared()], note(&ran, "set"));
        h.post_set(&[low.exclusive(), high.exclusive(), normal.exclusive()], note(&ran, "set"));
        drop(blocked);
        rt.wait_idle();
        assert_eq!(ran.lock().unwrap().len(), 3);
        let (blocked, seen) = (block(&h), Seen::default());
        low.post(note(&seen, "low"));
        normal.post(note(&seen, "normal"));
        high.post(note(&seen, "high"));
        drop(blocked);
        rt.wait_idle();
        assert_eq!(*seen.lock().unwrap(), ["high", "normal", "low"]);
    }
}

#[test]
fn c7_classes_under_all_policies_lose_nothing() {
    for policy in [StealPolicy::CostAware, StealPolicy::Eager, StealPolicy::Off] {
        let rt = Runtime::builder().workers(3).steal_policy(policy).build().unwrap();
        let h = rt.handle();
        let colors: Vec<Color> = (0..30).map(|n| color(&h, [High, Normal, Low][n % 3])).collect();
        fn chain(left: u32, cx: &mut Cx) {
            std::hint::black_box((0..50).sum::<u32>());
            if left > 0 {
                cx.post_here(move |cx| chain(left - 1, cx));
            }
        }
        std::thread::scope(|s| {
            for part in colors.chunks(10) {
                let h = &h;
                s.spawn(move || {
                    for (n, color) in part.iter().enumerate() {
                        color.post(|cx| chain(500, cx));
                        color.post_shared(|_| {});
                        h.post_set(&[color.exclusive(), part[(n + 4) % 10].exclusive()], |_| {});
                    }
                });
            }
        });
        rt.wait_idle();
        assert_eq!(rt.metrics().events(), 30 * (501 + 2));
    }
}

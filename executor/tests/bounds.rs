//! C8, E14: bounded colors, and permits that travel with events.
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use dapple::{Color, Colored, ColoredSet, Handle, Runtime, TryPostError};

const LONG: Duration = Duration::from_secs(60);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).on_panic(|_| {}).build().unwrap()
}

fn bounded(h: &Handle, capacity: usize) -> Color {
    h.color_builder().capacity(capacity).build()
}

/// Posts an event that runs until the returned sender is dropped.
fn block(color: &Color) -> mpsc::Sender<()> {
    let (go, gone) = mpsc::channel::<()>();
    let (began, begins) = mpsc::channel();
    color.post(move |_| {
        began.send(()).unwrap();
        let _ = gone.recv_timeout(LONG);
    });
    begins.recv_timeout(LONG).unwrap();
    go
}

#[test]
fn c8_a_full_color_hands_the_closure_back() {
    let rt = runtime(1);
    let h = rt.handle();
    let color = bounded(&h, 3);
    let ran = Arc::new(AtomicUsize::new(0));
    let counts = |n: usize| {
        let ran = Arc::clone(&ran);
        move |_: &mut dapple::Cx| {
            ran.fetch_add(n, SeqCst);
        }
    };
    let blocked = block(&color);
    assert_eq!((color.capacity(), color.occupancy()), (Some(3), Some(1)), "it is running");
    assert!(h.try_post(&color, counts(1)).is_ok());
    assert!(color.try_post(counts(10)).is_ok());
    let refused = h.try_post(&color, counts(100)).unwrap_err();
    assert!(refused.is_full() && !refused.is_closed());
    assert_eq!(refused.to_string(), "the limit has been reached");
    let f = refused.into_inner();
    assert_eq!((color.occupancy(), rt.metrics().over_limit()), (Some(3), 0));
    drop(blocked);
    rt.wait_idle();
    assert_eq!(color.occupancy(), Some(0));
    assert!(color.try_post(f).is_ok(), "there is room again");
    rt.wait_idle();
    assert_eq!((ran.load(SeqCst), rt.metrics().dropped()), (111, 0));
}

#[test]
fn c8_what_ignores_the_bound_is_counted() {
    let rt = runtime(1);
    let h = rt.handle();
    let (color, other) = (bounded(&h, 2), h.new_color());
    let blocked = block(&color);
    h.post(&color, |_| {});
    assert_eq!(rt.metrics().over_limit(), 0);
    h.post(&color, |_| {});
    h.post_shared(&color, |_| {});
    h.post_set(&[color.exclusive(), other.exclusive()], |_| {});
    h.post_after(Duration::ZERO, &color, |_| {});
    assert_eq!(color.occupancy(), Some(5), "the timer is not due as long as nobody looks");
    assert_eq!(rt.metrics().over_limit(), 3);
    assert!(h.try_post(&color, |_| {}).is_err());
    drop(blocked);
    rt.wait_idle();
    std::thread::sleep(Duration::from_millis(5));
    rt.wait_idle();
    assert_eq!(color.occupancy(), Some(0));
    assert_eq!(rt.metrics().events(), 6);
}

#[test]
fn c8_every_kind_of_event_gives_its_room_back() {
    for workers in [1, 2] {
        let rt = runtime(workers);
        let h = rt.handle();
        let value = Colored::new(&bounded(&h, 1_000_000), 0);
        let other = Colored::new(&bounded(&h, 10), 0);
        for n in 0..500 {
            let (color, also, again) = (value.color(), value.clone(), value.clone());
            assert!(value.try_post(|v, _| *v += 1).is_ok());
            value.post_shared(|_, _| {});
            (value.exclusive(), other.shared()).post(|(v, _), _| *v += 1);
            (value.shared(), other.exclusive()).post(|(_, o), _| *o += 1);
            value.post(move |_, _| also.post(move |_, _| again.post(|_, _| {})));
            color.try_reserve().unwrap().post(|_| {});
            drop(color.try_reserve());
            if n % 50 == 0 {
                value.post_shared(|_, _| panic!("a reader's"));
                color.post(|_| panic!("a plain one's"));
                h.post_set(&[color.shared(), other.color().shared()], |_| panic!("a set's"));
            }
            h.post_after(Duration::from_millis(1), color, |_| {}).cancel();
        }
        rt.wait_idle();
        assert_eq!((value.color().occupancy(), other.color().occupancy()), (Some(0), Some(0)));
        assert_eq!(rt.metrics().panics(), 30);
    }
}

#[test]
fn e14_a_permit_keeps_its_room_until_it_is_dropped_or_used_up() {
    let rt = runtime(2);
    let h = rt.handle();
    let color = bounded(&h, 2);
    let (first, second) = (color.try_reserve().unwrap(), color.try_reserve().unwrap());
    assert_eq!(first.color(), &color);
    assert!(color.try_reserve().unwrap_err().is_full());
    assert!(color.try_post(|_| {}).is_err());
    drop(first);
    let (go, gone) = mpsc::channel::<()>();
    second.post(move |_| {
        let _ = gone.recv_timeout(LONG);
    });
    assert_eq!(color.occupancy(), Some(1), "used up by an event that has not ended");
    drop(go);
    rt.wait_idle();
    assert_eq!(color.occupancy(), Some(0));
    // A permit keeps its color alive.
    let permit = bounded(&h, 1).try_reserve().unwrap();
    rt.wait_idle();
    permit.post(|_| {});
    rt.wait_idle();
    assert_eq!(rt.metrics().events(), 2);
}

#[test]
fn e14_a_permit_bounds_what_is_under_way_in_many_colors() {
    let rt = runtime(2);
    let h = rt.handle();
    let entrance = bounded(&h, 8);
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut accepted = 0;
    for _ in 0..20_000 {
        let Ok(permit) = entrance.try_reserve() else { continue };
        accepted += 1;
        let (under_way, most) = (Arc::clone(&under_way), Arc::clone(&most));
        h.new_color().post(move |cx| {
            most.fetch_max(1 + under_way.fetch_add(1, SeqCst), SeqCst);
            let next = cx.new_color();
            cx.post(&next, move |cx| {
                cx.post_uncolored(move |_| {
                    under_way.fetch_sub(1, SeqCst);
                    drop(permit);
                });
            });
        });
    }
    rt.wait_idle();
    assert!(accepted >= 8 && most.load(SeqCst) <= 8, "{} at once", most.load(SeqCst));
    assert_eq!((entrance.occupancy(), rt.metrics().events()), (Some(0), 3 * accepted));
}

#[test]
fn c8_many_threads_never_exceed_the_bound() {
    let rt = runtime(2);
    let color = bounded(&rt.handle(), 5);
    let most = AtomicUsize::new(0);
    let accepted = AtomicUsize::new(0);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for _ in 0..5_000 {
                    if color.try_post(|_| {}).is_ok() {
                        accepted.fetch_add(1, SeqCst);
                    }
                    most.fetch_max(color.occupancy().unwrap(), SeqCst);
                }
            });
        }
    });
    rt.wait_idle();
    assert!(most.load(SeqCst) <= 5);
    assert_eq!(rt.metrics().events() as usize, accepted.load(SeqCst));
    assert_eq!((color.occupancy(), rt.metrics().over_limit()), (Some(0), 0));
}

#[test]
fn c8_try_post_is_refused_after_a_shutdown() {
    let rt = runtime(1);
    let h = rt.handle();
    let (color, value) = (bounded(&h, 1), Colored::new(&bounded(&h, 5), 0));
    let plain = h.new_color();
    assert!((0..100).all(|_| h.try_post(&plain, |_| {}).is_ok()), "no capacity, never full");
    assert_eq!((plain.capacity(), plain.occupancy()), (None, None));
    let permit = color.try_reserve().unwrap();
    rt.shutdown(LONG);
    assert!(matches!(h.try_post(&color, |_| {}), Err(TryPostError::Closed(_))), "closed, not full");
    assert!(value.try_post(|_, _| {}).unwrap_err().is_closed());
    assert!(plain.try_reserve().unwrap_err().is_closed());
    permit.post(|_| unreachable!("nobody runs it"));
    assert_eq!(color.occupancy(), Some(0));
}

#[test]
fn c8_a_palette_makes_colors_that_are_bounded() {
    let rt = runtime(1);
    let users = rt.handle().color_builder().label("user").capacity(1).palette::<u32>();
    let blocked = block(&users.color(&1));
    assert!(users.color(&1).try_post(|_| {}).is_err());
    assert!(users.color(&2).try_post(|_| {}).is_ok());
    assert_eq!(format!("{:?}", users.color(&2)), "Color(\"user\")");
    drop(blocked);
    rt.wait_idle();
    assert!(users.is_empty());
}

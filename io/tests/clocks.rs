//! N10: timers by other clocks than the executor's.
#![cfg(target_os = "linux")]
mod common;

use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::start;

#[test]
fn n10_timers_of_the_wall_and_of_the_boot_clock_are_never_early_and_fire_once() {
    let (rt, io) = start(2);
    let (tx, rx) = mpsc::channel();
    let color = rt.handle().new_color();
    let (begin, wall) = (Instant::now(), SystemTime::now());
    let delay = Duration::from_millis(20);
    let (one, other) = (tx.clone(), tx);
    let on = color.clone();
    let by_wall = io.post_at_wall(wall + delay, &color, move |cx| {
        assert!(cx.is_alone_on(&on));
        one.send(SystemTime::now() >= wall + delay).unwrap();
    });
    let by_boot = io.post_after_boot(delay, &color, move |_| {
        other.send(begin.elapsed() >= delay).unwrap();
    });
    let timers = (by_wall.unwrap(), by_boot.unwrap());
    assert!(timers.0.is_armed() && timers.1.is_armed());
    // The channel ends when both callbacks have been dropped.
    assert_eq!(rx.iter().collect::<Vec<_>>(), [true, true]);
    assert!(!timers.0.cancel() && !timers.1.is_armed());
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn n10_a_cancelled_timer_is_not_called_and_one_that_is_dropped_is() {
    let (rt, io) = start(1);
    let (tx, rx) = mpsc::channel();
    let color = rt.handle().new_color();
    let timer = |tx: mpsc::Sender<&'static str>, what| {
        io.post_after_boot(Duration::from_millis(30), &color, move |_| tx.send(what).unwrap())
            .unwrap()
    };
    let cancelled = timer(tx.clone(), "cancelled");
    drop(timer(tx.clone(), "dropped"));
    assert!(cancelled.cancel() && !cancelled.cancel());
    drop(tx);
    assert_eq!(rx.iter().collect::<Vec<_>>(), ["dropped"]);
}

#[test]
fn n10_times_at_the_edges_are_now_or_never() {
    let (rt, io) = start(1);
    let (tx, rx) = mpsc::channel();
    let color = rt.handle().new_color();
    let before = UNIX_EPOCH - Duration::from_secs(10);
    for at in [before, UNIX_EPOCH, SystemTime::now() - Duration::from_secs(1)] {
        let tx = tx.clone();
        io.post_at_wall(at, &color, move |_| tx.send(()).unwrap()).unwrap();
        rx.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    let also = tx.clone();
    io.post_after_boot(Duration::ZERO, &color, move |_| also.send(()).unwrap()).unwrap();
    rx.recv_timeout(Duration::from_secs(60)).unwrap();
    let never = io.post_after_boot(Duration::MAX, &color, move |_| tx.send(()).unwrap()).unwrap();
    assert!(rx.recv_timeout(Duration::from_millis(20)).is_err());
    assert!(never.cancel());
}

#[test]
fn n10_a_clock_that_nobody_sets_tells_nothing() {
    let (rt, io) = start(1);
    let (tx, rx) = mpsc::channel();
    let color = rt.handle().new_color();
    let registration = io.on_clock_set(&color, move |_| tx.send(()).unwrap()).unwrap();
    assert!(rx.recv_timeout(Duration::from_millis(30)).is_err());
    registration.end().join().unwrap();
}

#[test]
fn n10_a_runtime_that_ends_drops_them() {
    let (rt, io) = start(1);
    let (tx, rx) = mpsc::channel::<()>();
    let color = rt.handle().new_color();
    let at = SystemTime::now() + Duration::from_secs(3600);
    let timer = io.post_at_wall(at, &color, move |_| drop(tx)).unwrap();
    drop(rt);
    assert!(rx.recv().is_err(), "the callback is gone");
    drop(timer);
}

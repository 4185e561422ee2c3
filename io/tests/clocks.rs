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
    let timer = |tx: mpsc::Sender<&'static str>, delay, what| {
        io.post_after_boot(delay, &color, move |_| tx.send(what).unwrap()).unwrap()
    };
    let cancelled = timer(tx.clone(), Duration::from_secs(3600), "cancelled");
    drop(timer(tx.clone(), Duration::from_millis(5), "dropped"));
    assert!(cancelled.is_armed() && cancelled.cancel() && !cancelled.cancel());
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
fn n11_a_timer_of_a_color_whose_runtime_has_ended_lets_go_of_its_callback() {
    let (_rt, io) = start(2);
    let other = dapple::Runtime::builder().workers(1).build().unwrap();
    let (tx, rx) = mpsc::channel::<()>();
    let color = other.handle().new_color();
    let timer = io.post_after_boot(Duration::from_millis(5), &color, move |_| drop(tx)).unwrap();
    drop((other, color));
    assert!(rx.recv_timeout(Duration::from_secs(60)).is_err());
    let start = Instant::now();
    // The wait ended with the channel, and not by its timeout.
    assert!(start.elapsed() < Duration::from_secs(50));
    drop(timer);
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

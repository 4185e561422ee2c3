//! E15: rendezvous.
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use dapple::{Cx, Rendezvous, Runtime, Trigger, Unfired};

const LONG: Duration = Duration::from_secs(60);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).on_panic(|_| {}).build().unwrap()
}

/// Fires the trigger from an uncolored event.
fn answer(n: u32, trigger: Trigger<u32>, cx: &mut Cx) {
    cx.post_uncolored(move |_| trigger.fire(n).unwrap());
}

#[test]
fn e15_all_waits_for_all_and_gets_what_has_arrived() {
    for workers in [1, 2] {
        let rt = runtime(workers);
        let (tell, told) = mpsc::channel();
        let color = rt.handle().new_color();
        let also = color.clone();
        color.post(move |cx| {
            let place = Rendezvous::new(&also);
            for n in 0..100 {
                answer(n, place.trigger(n), cx);
            }
            drop(place.trigger(100));
            assert_eq!(place.outstanding(), 101, "arrivals are events of the color");
            place.all(move |arrivals, cx| tell.send((arrivals, cx.is_on(&also))).unwrap());
        });
        let (mut arrivals, on_its_color) = told.recv_timeout(LONG).unwrap();
        assert!(on_its_color);
        arrivals.sort_by_key(|a| a.0);
        let (dropped, fired) = arrivals.split_last().unwrap();
        assert!(fired.iter().enumerate().all(|(n, a)| *a == (n as u32, Ok(n as u32))));
        assert_eq!(*dropped, (100, Err(Unfired::Dropped)));
    }
}

#[test]
fn e15_any_gives_each_arrival_to_one_callback_in_their_order() {
    let rt = runtime(2);
    let place = Rendezvous::new(&rt.handle().new_color());
    let seen = Arc::new(Mutex::new(Vec::new()));
    for n in 0..10 {
        let seen = Arc::clone(&seen);
        place.any(move |arrival, _| seen.lock().unwrap().push((n, arrival)));
    }
    let triggers: Vec<_> = (0..12).map(|n| place.trigger(n)).collect();
    for (n, trigger) in triggers.into_iter().enumerate() {
        trigger.fire(n).unwrap();
    }
    let (tell, told) = mpsc::channel();
    place.all(move |rest, _| tell.send(rest).unwrap());
    assert_eq!(told.recv_timeout(LONG).unwrap(), [(10, Ok(10)), (11, Ok(11))]);
    let expected: Vec<_> = (0..10).map(|n| (n, (n, Ok(n)))).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn e15_at_most_goes_on_when_few_are_outstanding() {
    let rt = runtime(1);
    let place = Rendezvous::new(&rt.handle().new_color());
    let mut triggers: Vec<_> = (0..5).map(|n| place.trigger(n)).collect();
    let (tell, told) = mpsc::channel();
    place.at_most(3, move |arrived, _| tell.send(arrived.len()).unwrap());
    triggers.pop().unwrap().fire(()).unwrap();
    rt.wait_idle();
    assert!(told.try_recv().is_err(), "four are outstanding");
    triggers.pop().unwrap().fire(()).unwrap();
    assert_eq!(told.recv_timeout(LONG), Ok(2));
    assert_eq!(place.outstanding(), 3);
}

#[test]
fn e15_a_window_bounds_what_is_under_way() {
    for workers in [1, 2] {
        let rt = runtime(workers);
        let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (mine, peak) = (Arc::clone(&under_way), Arc::clone(&most));
        let sum = Arc::new(AtomicUsize::new(0));
        let total = Arc::clone(&sum);
        let (tell, told) = mpsc::channel();
        Rendezvous::windowed(
            &rt.handle().new_color(),
            7,
            0..500usize,
            move |n, trigger, cx| {
                peak.fetch_max(1 + mine.fetch_add(1, SeqCst), SeqCst);
                let mine = Arc::clone(&mine);
                cx.post_uncolored(move |_| {
                    mine.fetch_sub(1, SeqCst);
                    // Every tenth piece of work is lost.
                    if n % 10 != 0 {
                        trigger.fire(n).unwrap();
                    }
                });
            },
            move |n, outcome, _| {
                assert_eq!(outcome, if n % 10 == 0 { Err(Unfired::Dropped) } else { Ok(n) });
                total.fetch_add(n, SeqCst);
            },
            move |_| tell.send(()).unwrap(),
        );
        told.recv_timeout(LONG).unwrap();
        assert_eq!(sum.load(SeqCst), 500 * 499 / 2);
        assert!((1..=7).contains(&most.load(SeqCst)), "{most:?} at once");
        rt.wait_idle();
        assert_eq!(rt.metrics().panics(), 0);
    }
}

#[test]
fn e15_a_trigger_with_a_limit_arrives_once() {
    let rt = runtime(2);
    let place = Rendezvous::new(&rt.handle().new_color());
    let begin = Instant::now();
    let late = place.trigger_within("late", Duration::from_millis(10));
    let in_time = place.trigger_within("in time", LONG);
    let dropped = place.trigger_within("dropped", LONG);
    let (tell, told) = mpsc::channel();
    in_time.fire(1).unwrap();
    drop(dropped);
    place.all(move |arrivals, _| tell.send(arrivals).unwrap());
    let arrivals = told.recv_timeout(LONG).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(10));
    let expected =
        [("in time", Ok(1)), ("dropped", Err(Unfired::Dropped)), ("late", Err(Unfired::TimedOut))];
    assert_eq!(arrivals, expected);
    assert_eq!(late.fire(2), Err(2), "it comes too late, and is handed back");
    assert_eq!(place.outstanding(), 0);
    rt.wait_idle();
    assert_eq!(rt.shutdown(LONG).dropped_timers, 0, "the timers of the others are cancelled");
}

#[test]
fn c11_e15_a_panicking_callback_ends_itself_only() {
    let rt = runtime(1);
    let place = Rendezvous::new(&rt.handle().new_color());
    place.any(|_, _| panic!("a callback's"));
    let (tell, told) = mpsc::channel();
    place.any(move |arrival, _| tell.send(arrival).unwrap());
    place.trigger(1).fire(()).unwrap();
    place.trigger(2).fire(()).unwrap();
    assert_eq!(told.recv_timeout(LONG).unwrap(), (2, Ok(())));
    assert_eq!(rt.metrics().panics(), 1);
}

#[test]
fn e15_callbacks_wait_again_at_the_same_place() {
    let rt = runtime(2);
    let place = Rendezvous::new(&rt.handle().new_color());
    let (tell, told) = mpsc::channel();
    fn take(left: u32, sum: u32, place: Rendezvous<(), u32>, tell: mpsc::Sender<u32>) {
        let again = place.clone();
        place.any(move |(_, n), _| match left {
            1 => tell.send(sum + n.unwrap()).unwrap(),
            _ => take(left - 1, sum + n.unwrap(), again, tell),
        });
    }
    take(1_000, 0, place.clone(), tell);
    for n in 0..1_000 {
        let trigger = place.trigger(());
        rt.handle().post_uncolored(move |_| trigger.fire(n).unwrap());
    }
    assert_eq!(told.recv_timeout(LONG), Ok(1_000 * 999 / 2));
}

#[test]
fn e11_e15_a_window_that_is_open_at_the_end_is_dropped() {
    let rt = runtime(1);
    let (tell, told) = mpsc::channel::<()>();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let triggers = Arc::clone(&kept);
    Rendezvous::<usize, ()>::windowed(
        &rt.handle().new_color(),
        2,
        0..10,
        move |_, trigger, _| triggers.lock().unwrap().push(trigger),
        |_, _, _| {},
        move |_| drop(tell),
    );
    rt.wait_idle();
    drop(rt);
    kept.lock().unwrap().clear();
    assert_eq!(told.recv_timeout(LONG), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn e11_e15_what_waits_at_the_end_is_dropped() {
    let rt = runtime(1);
    let place = Rendezvous::<_, ()>::new(&rt.handle().new_color());
    let (tell, told) = mpsc::channel::<()>();
    let (_kept, timed) = (place.trigger(1), place.trigger_within(2, LONG));
    place.all(move |_, _| drop(tell));
    rt.wait_idle();
    drop(rt);
    drop(timed);
    drop(place);
    drop(_kept);
    assert!(told.recv_timeout(LONG).is_err(), "the callback is dropped with the last trigger");
}

//! I14: a sequencer releases in the order of its places.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use dapple::{Runtime, Sequencer};

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).pin_cores(false).build().unwrap()
}

#[test]
fn i14_values_are_released_in_order_however_many_workers_complete_them() {
    for workers in [1, 2, 4] {
        let rt = runtime(workers);
        let h = rt.handle();
        let log = Arc::new(Mutex::new(Vec::new()));
        let also = Arc::clone(&log);
        let sequencer =
            Sequencer::new(&h.new_color(), move |n: u32, _| also.lock().unwrap().push(n));
        for n in 0..10_000u32 {
            let place = sequencer.reserve();
            h.post_uncolored(move |_| {
                if n % 7 == 0 {
                    std::thread::yield_now();
                }
                // Every tenth place is dropped.
                if n % 10 != 0 {
                    place.complete(n);
                }
            });
        }
        rt.wait_idle();
        let expected: Vec<_> = (0..10_000).filter(|n| n % 10 != 0).collect();
        assert_eq!(*log.lock().unwrap(), expected);
        assert!(sequencer.is_empty());
    }
}

#[test]
fn i14_an_open_place_holds_up_what_is_behind_it_and_no_more() {
    let rt = runtime(2);
    let (tx, rx) = mpsc::channel();
    let sequencer = Sequencer::new(&rt.handle().new_color(), move |n: u32, _| tx.send(n).unwrap());
    let (a, b, c) = (sequencer.reserve(), sequencer.reserve(), sequencer.reserve());
    c.complete(3);
    rt.wait_idle();
    assert_eq!((rx.try_iter().count(), sequencer.len()), (0, 3));
    a.complete(1);
    assert_eq!(rx.recv_timeout(Duration::from_secs(60)), Ok(1));
    drop(b);
    assert_eq!(rx.recv_timeout(Duration::from_secs(60)), Ok(3));
}

#[test]
fn i14_a_panicking_release_is_counted_and_the_rest_follows() {
    let rt = runtime(1);
    let (tx, rx) = mpsc::channel();
    let sequencer = Sequencer::new(&rt.handle().new_color(), move |n: u32, _| {
        assert_ne!(n, 1, "as asked");
        tx.send(n).unwrap();
    });
    let places: Vec<_> = (0..3).map(|_| sequencer.reserve()).collect();
    for (n, place) in places.into_iter().enumerate().rev() {
        place.complete(n as u32);
    }
    rt.wait_idle();
    assert!(rx.try_iter().eq([0, 2]));
    assert_eq!(rt.metrics().panics(), 1);
}

#[test]
fn i14_a_long_row_lets_other_colors_have_their_turn() {
    let rt = runtime(1);
    let h = rt.handle();
    let log = Arc::new(Mutex::new(Vec::new()));
    let also = Arc::clone(&log);
    let sequencer = Sequencer::new(&h.new_color(), move |n: u32, _| also.lock().unwrap().push(n));
    let places: Vec<_> = (0..10_000).map(|_| sequencer.reserve()).collect();
    let (also, done) = (Arc::clone(&log), h.new_color());
    h.post_default(move |cx| {
        for place in places {
            place.complete(1);
        }
        cx.post(&done, move |_| also.lock().unwrap().push(2));
    });
    rt.wait_idle();
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 10_001);
    assert_ne!(log.last(), Some(&2), "the other color came in between");
}

#[test]
fn i14_a_place_dropped_outside_during_a_shutdown_holds_up_nobody() {
    let rt = runtime(1);
    let h = rt.handle();
    let (tx, rx) = mpsc::channel();
    let sequencer = Sequencer::new(&h.new_color(), move |n: u32, _| tx.send(n).unwrap());
    let (first, second) = (sequencer.reserve(), sequencer.reserve());
    let (go, wait) = mpsc::channel::<()>();
    h.post_uncolored(move |_| {
        wait.recv_timeout(Duration::from_secs(60)).unwrap();
        second.complete(2);
    });
    let ends = std::thread::spawn(move || rt.shutdown(Duration::from_secs(60)));
    while h.is_running() {
        std::thread::yield_now();
    }
    drop(first);
    go.send(()).unwrap();
    assert!(ends.join().unwrap().drained);
    assert_eq!(rx.try_recv(), Ok(2));
}

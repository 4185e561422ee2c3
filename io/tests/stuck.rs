//! E4, E5: descriptors that are registered with a stuck worker, and pollers that could be blocked.
mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use common::{hold, pair, start};
use dapple_io::{Io, Registration};

#[test]
fn e5_descriptors_of_a_blocked_worker_are_served_by_another_one() {
    let (rt, io) = start(2);
    let (ours, mut theirs) = pair();
    let (tx, rx) = mpsc::channel();
    let mut reader = ours.try_clone().unwrap();
    let color = rt.handle().new_color();
    let (done, ended) = mpsc::channel();
    rt.handle().post(&rt.handle().new_color(), move |cx| {
        let me = cx.worker();
        let registration = io
            .on_readable(&ours, &color, move |cx| {
                let mut byte = [0];
                if let Ok(1) = reader.read(&mut byte) {
                    tx.send((cx.worker(), byte[0])).unwrap();
                }
            })
            .unwrap();
        // The descriptor is registered with this worker's poller, which no other worker looks at
        // normally.
        for byte in 0..20 {
            theirs.write_all(&[byte]).unwrap();
            let served =
                rx.recv_timeout(Duration::from_secs(60)).expect("served while this blocks");
            assert_eq!(served.1, byte);
            assert_ne!(served.0, me);
        }
        drop(registration);
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(60)).unwrap();
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
    assert!(rt.metrics().polls_for_others() > 0);
}

/// E4, E5: a descriptor that becomes ready at a stuck worker is served at once, and not after
/// another delay.
#[test]
fn e5_the_delay_is_paid_once_for_descriptors_of_a_stuck_worker() {
    let delay = Duration::from_millis(100);
    let rt = dapple_io::runtime().workers(2).steal_delay(delay).build().unwrap();
    let (io, h) = (Io::of(&rt.handle()), rt.handle());
    // Each worker has at least one of them, so the worker that an event blocks has one.
    let echoes: Vec<_> = (0..4)
        .map(|_| {
            let (ours, theirs) = pair();
            let mut stream = ours.try_clone().unwrap();
            let echo = move |_: &mut dapple::Cx| {
                let mut byte = [0];
                if let Ok(1) = stream.read(&mut byte) {
                    stream.write_all(&byte).unwrap();
                }
            };
            let registration = io.on_readable(&ours, &h.new_color(), echo).unwrap();
            theirs.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            (theirs, registration, ours)
        })
        .collect();
    let call = |mut stream: &UnixStream| {
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
    };
    let held = hold(&rt);
    echoes.iter().for_each(|(stream, ..)| call(stream));
    let begin = std::time::Instant::now();
    for _ in 0..100 {
        echoes.iter().for_each(|(stream, ..)| call(stream));
    }
    let took = begin.elapsed();
    assert!(took < 50 * delay, "400 calls took {took:?}");
    drop(held);
    rt.wait_idle();
    echoes.iter().for_each(|(stream, ..)| call(stream));
}

/// E4: the stand-in of a stuck worker looks at its descriptors as at its own, also while it is
/// busy.
#[test]
fn e4_the_delay_is_paid_once_while_who_stands_in_is_busy() {
    let delay = Duration::from_secs(2);
    let rt = dapple_io::runtime().workers(2).steal_delay(delay).build().unwrap();
    let (io, h) = (Io::of(&rt.handle()), rt.handle());
    let (ours, mut peer) = pair();
    let (tx, rx) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let (kept, keep) = mpsc::channel();
    h.post_uncolored(move |cx| {
        let mut stream = ours.try_clone().unwrap();
        let echo = move |cx: &mut dapple::Cx| {
            stream.read_exact(&mut [0]).unwrap();
            tx.send(cx.worker()).unwrap();
        };
        let registration = io.on_readable(&ours, &cx.new_color(), echo).unwrap();
        kept.send((cx.worker(), registration, ours)).unwrap();
        let _ = wait.recv();
    });
    let (stuck, _registration, _ours) = keep.recv().unwrap();
    let next = || rx.recv_timeout(Duration::from_secs(60)).expect("served while one is stuck");
    peer.write_all(b"x").unwrap();
    assert_ne!(next(), stuck);
    // Now there is a stand-in, which has endless work.
    fn chain(cx: &mut dapple::Cx, color: dapple::Color, stop: Arc<AtomicUsize>) {
        if stop.load(Relaxed) == 0 {
            let also = color.clone();
            cx.post(&color, move |cx| chain(cx, also, stop));
        }
    }
    let (stop, color) = (Arc::new(AtomicUsize::new(0)), h.new_color());
    let (also, begins) = (color.clone(), Arc::clone(&stop));
    h.post(&color, move |cx| chain(cx, also, begins));
    thread::sleep(Duration::from_millis(10));
    let begin = std::time::Instant::now();
    for _ in 0..20 {
        peer.write_all(b"x").unwrap();
        assert_ne!(next(), stuck);
    }
    let took = begin.elapsed();
    stop.store(1, Relaxed);
    drop(go);
    assert!(took < delay / 2, "20 calls took {took:?}, a delay is {delay:?}");
    rt.wait_idle();
}

/// E5: one look takes a limited number of descriptors. The rest of a stuck worker's descriptors do
/// not wait for another delay.
#[test]
fn e5_the_delay_is_paid_once_for_more_descriptors_than_one_look_takes() {
    const DESCRIPTORS: usize = 300;
    type Kept = Arc<Mutex<Vec<Option<(Registration, UnixStream)>>>>;
    let delay = Duration::from_secs(2);
    let rt = dapple_io::runtime().workers(2).steal_delay(delay).build().unwrap();
    let (io, h) = (Io::of(&rt.handle()), rt.handle());
    let (first, mut first_peer) = pair();
    let (ours, mut peer) = pair();
    let (tx, rx) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let (kept, keep) = mpsc::channel();
    h.post_uncolored(move |cx| {
        // All descriptors are registered with the poller of this worker, which then is stuck.
        let h = io.handle().clone();
        let done = tx.clone();
        let begun = io.on_readable(&first, &h.new_color(), {
            let mut first = first.try_clone().unwrap();
            move |cx| {
                first.read_exact(&mut [0]).unwrap();
                done.send(cx.worker()).unwrap();
            }
        });
        let registrations = Kept::default();
        for number in 0..DESCRIPTORS {
            let (all, done) = (Arc::clone(&registrations), tx.clone());
            // Each is served once. It is not polled again, which would report the others.
            let once = move |cx: &mut dapple::Cx| {
                drop(all.lock().unwrap()[number].take());
                done.send(cx.worker()).unwrap();
            };
            let fd = ours.try_clone().unwrap();
            let registration = io.on_readable(&fd, &h.new_color(), once).unwrap();
            registrations.lock().unwrap().push(Some((registration, fd)));
        }
        kept.send((cx.worker(), begun.unwrap(), registrations)).unwrap();
        let _ = wait.recv();
    });
    let (stuck, _begun, _registrations) = keep.recv().unwrap();
    let next = || rx.recv_timeout(Duration::from_secs(60)).expect("served while one is stuck");
    first_peer.write_all(b"x").unwrap();
    assert_ne!(next(), stuck);
    // Now there is a stand-in.
    peer.write_all(b"x").unwrap();
    let begin = std::time::Instant::now();
    assert!((0..DESCRIPTORS).all(|_| next() != stuck));
    let took = begin.elapsed();
    assert!(took < delay / 2, "{DESCRIPTORS} descriptors took {took:?}, a delay is {delay:?}");
    drop(go);
    rt.wait_idle();
}

/// E4: a foreign waker that blocks delays its own event, and no poller.
#[test]
fn e4_a_foreign_waker_that_blocks_holds_up_nothing_else() {
    use std::task::{Context, Poll, Wake, Waker};
    struct Blocks(Mutex<Option<mpsc::Receiver<()>>>, mpsc::Sender<()>);
    impl Wake for Blocks {
        fn wake(self: Arc<Self>) {
            if let Some(wait) = self.0.lock().unwrap().take() {
                self.1.send(()).unwrap();
                let _ = wait.recv();
            }
        }
    }
    let (rt, io) = start(2);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = || {
        let stream = rt.block_on(io.connect(listener.local_addr().unwrap())).unwrap();
        (stream, listener.accept().unwrap().0)
    };
    let streams: Vec<_> = (0..4).map(|_| connect()).collect();
    let (go, wait) = mpsc::channel();
    let (blocks, is_blocked) = mpsc::channel();
    let waker = Waker::from(Arc::new(Blocks(Mutex::new(Some(wait)), blocks)));
    let mut first = streams.into_iter();
    let (mut stream, mut peer) = first.next().unwrap();
    let read = futures_lite::io::AsyncRead::poll_read(
        std::pin::Pin::new(&mut stream),
        &mut Context::from_waker(&waker),
        &mut [0; 8],
    );
    assert!(matches!(read, Poll::Pending));
    peer.write_all(b"x").unwrap();
    is_blocked.recv_timeout(Duration::from_secs(60)).unwrap();
    // All other streams are served, whichever worker watches them.
    for (mut stream, mut peer) in first {
        peer.write_all(b"y").unwrap();
        let mut byte = [0];
        let read = futures_lite::io::AsyncReadExt::read_exact(&mut stream, &mut byte);
        rt.block_on(rt.handle().timeout(Duration::from_secs(60), read)).unwrap().unwrap();
    }
    drop(go);
}

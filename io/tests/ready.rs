//! N2, N10: registrations that own their descriptor: levels without a system call, edges, pauses,
//! several per descriptor, and their end.
mod common;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{pair, start};
use dapple::Colored;
use dapple_io::{ColoredExt, CxExt, Interest};

/// Waits up to 60 s until `is` returns `true`.
fn until(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn shared_pair() -> (Arc<UnixStream>, UnixStream) {
    let (ours, theirs) = pair();
    (Arc::new(ours), theirs)
}

#[test]
fn n2_a_level_is_told_while_it_lasts_on_every_worker() {
    for workers in [1, 2, 4] {
        let (rt, io) = start(workers);
        let (tx, rx) = mpsc::channel();
        let mut all = Vec::new();
        for n in 0..8u8 {
            let (ours, theirs) = shared_pair();
            let (reader, tx) = (Arc::clone(&ours), tx.clone());
            let color = rt.handle().new_color();
            let registration = io.on_ready(ours, Interest::READABLE, &color, move |ready, _| {
                assert!(ready.is_readable() && !ready.is_writable());
                let mut byte = [0];
                match (&*reader).read(&mut byte) {
                    Ok(1) => tx.send((n, byte[0])).unwrap_or(()),
                    Ok(_) => unreachable!("the peer stays"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            });
            all.push((registration.unwrap(), theirs));
        }
        let sent: Vec<u8> = (0..500u32).map(|i| i as u8).collect();
        for (_, theirs) in &mut all {
            theirs.write_all(&sent).unwrap();
        }
        let mut read = vec![Vec::new(); 8];
        for (n, byte) in rx.iter().take(8 * 500) {
            read[usize::from(n)].push(byte);
        }
        assert!(read.iter().all(|bytes| *bytes == sent));
        rt.wait_idle();
        // Then there are no more events, except those for readiness that a poller has seen before.
        let before = rt.metrics().events();
        thread::sleep(Duration::from_millis(20));
        assert!(rt.metrics().events() - before <= 8);
    }
}

#[test]
fn n2_a_callback_that_reads_nothing_does_not_spin_the_poller_while_it_runs() {
    let (rt, io) = start(2);
    let (ours, mut theirs) = shared_pair();
    let (go, wait) = mpsc::channel::<()>();
    let (tx, rx) = mpsc::channel();
    let reader = Arc::clone(&ours);
    let registration = io
        .on_ready(ours, Interest::READABLE, &rt.handle().new_color(), move |_, _| {
            tx.send(()).unwrap();
            wait.recv().unwrap();
            let _ = (&*reader).read(&mut [0; 8]);
        })
        .unwrap();
    theirs.write_all(b"x").unwrap();
    rx.recv().unwrap();
    // One worker is in the callback. The other one polls, and may sleep.
    thread::sleep(Duration::from_millis(50));
    let parks = rt.metrics().parks();
    thread::sleep(Duration::from_millis(200));
    let more = rt.metrics().parks() - parks;
    assert!(more < 1_000, "{more} looks in 200 ms");
    go.send(()).unwrap();
    drop(registration);
}

#[test]
fn n2_edges_are_told_once_each() {
    let (rt, io) = start(1);
    let (ours, mut theirs) = shared_pair();
    let (tx, rx) = mpsc::channel();
    let edges = Interest::READABLE.edge_triggered();
    let registration =
        io.on_ready(ours, edges, &rt.handle().new_color(), move |_, _| tx.send(()).unwrap());
    for _ in 0..3 {
        theirs.write_all(b"x").unwrap();
        rx.recv_timeout(Duration::from_secs(60)).unwrap();
        rt.wait_idle();
        // Nothing was read, and no further edge is reported.
        assert!(rx.try_recv().is_err());
    }
    drop(registration);
}

#[test]
fn n2_a_pause_is_final_from_its_own_color_and_loses_nothing() {
    let (rt, io) = start(2);
    let (ours, mut theirs) = shared_pair();
    let color = rt.handle().new_color();
    let calls = Arc::new(AtomicUsize::new(0));
    let (reader, count) = (Arc::clone(&ours), Arc::clone(&calls));
    let registration = io
        .on_ready(ours, Interest::READABLE, &color, move |_, _| {
            count.fetch_add(1, SeqCst);
            let _ = (&*reader).read(&mut [0; 1]);
        })
        .unwrap();
    let registration = Colored::new(&color, Some(registration));
    for round in 1..=50 {
        registration.call(|registration, _| registration.as_ref().unwrap().pause()).join().unwrap();
        let before = calls.load(SeqCst);
        theirs.write_all(&[0; 10]).unwrap();
        thread::yield_now();
        // On the color, a queued call would come before this.
        registration.call(|_, _| ()).join().unwrap();
        assert_eq!(calls.load(SeqCst), before, "round {round}");
        registration
            .call(|registration, _| registration.as_ref().unwrap().resume())
            .join()
            .unwrap();
        until("all bytes are read", || calls.load(SeqCst) >= 10 * round);
    }
    registration.call(|registration, _| drop(registration.take())).join().unwrap();
}

#[test]
fn n2_what_is_of_interest_can_change() {
    let (rt, io) = start(1);
    let (ours, mut theirs) = shared_pair();
    let (tx, rx) = mpsc::channel();
    let registration = io
        .on_ready(ours, Interest::READABLE, &rt.handle().new_color(), move |ready, _| {
            tx.send((ready.is_readable(), ready.is_writable())).unwrap();
        })
        .unwrap();
    rt.wait_idle();
    assert!(rx.try_recv().is_err(), "there is nothing to read");
    registration.set_interest(Interest::WRITABLE.edge_triggered());
    assert_eq!(rx.recv().unwrap(), (false, true));
    theirs.write_all(b"x").unwrap();
    registration.set_interest((Interest::READABLE | Interest::WRITABLE).edge_triggered());
    while rx.recv().unwrap() != (true, true) {}
    registration.end().join().unwrap();
    assert!(rx.iter().all(|told| told.0 || told.1), "the callback is gone");
}

#[test]
fn n2_a_paused_registration_is_there_when_another_one_comes() {
    let (rt, io) = start(1);
    for owned in [false, true] {
        let (ours, mut theirs) = shared_pair();
        let color = rt.handle().new_color();
        let (tx, rx) = mpsc::channel();
        let reader = Arc::clone(&ours);
        let read = move || {
            let _ = (&*reader).read(&mut [0; 8]);
            tx.send(()).unwrap();
        };
        let paused = match owned {
            false => io.on_readable(&ours, &color, move |_| read()),
            true => io.on_ready(
                Arc::clone(&ours),
                Interest::READABLE.edge_triggered(),
                &color,
                move |_, _| read(),
            ),
        };
        let paused = paused.unwrap();
        paused.pause();
        let other = io.on_writable(&ours, &color, |_| ()).unwrap();
        theirs.write_all(b"x").unwrap();
        paused.resume();
        rx.recv_timeout(Duration::from_secs(60)).unwrap();
        drop((other, paused));
    }
}

#[test]
fn n2_several_registrations_of_a_descriptor_are_all_called() {
    let (rt, io) = start(2);
    let (ours, mut theirs) = shared_pair();
    let (tx, rx) = mpsc::channel();
    let kinds = [
        Interest::READABLE,
        Interest::READABLE.edge_triggered(),
        Interest::READABLE | Interest::WRITABLE,
    ];
    // All are registered by one worker, so that they meet.
    let (io, h) = (io.clone(), rt.handle());
    let registrations = rt.handle().new_color().call(move |_| {
        let register = |(n, interest): (usize, &Interest)| {
            let tx = tx.clone();
            let told = AtomicBool::new(false);
            let call = move |ready: dapple_io::Ready, _: &mut dapple::Cx| {
                if ready.is_readable() && !told.swap(true, SeqCst) {
                    tx.send(n).unwrap();
                }
            };
            io.on_ready(Arc::clone(&ours), *interest, &h.new_color(), call).unwrap()
        };
        kinds.iter().enumerate().map(register).collect::<Vec<_>>()
    });
    let registrations = registrations.join().unwrap();
    theirs.write_all(b"x").unwrap();
    let mut told: Vec<usize> = rx.iter().take(3).collect();
    told.sort_unstable();
    assert_eq!(told, [0, 1, 2]);
    drop(registrations);
}

#[test]
fn n2_the_peers_end_and_reset_are_told() {
    let (rt, io) = start(1);
    let (ours, theirs) = common::tcp_pair();
    ours.set_nonblocking(true).unwrap();
    let (tx, rx) = mpsc::channel();
    let registration = io
        .on_ready(ours, Interest::READABLE, &rt.handle().new_color(), move |ready, _| {
            if ready.is_closed() {
                tx.send(ready.is_error()).unwrap_or(());
            }
        })
        .unwrap();
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(!rx.recv().unwrap(), "an end is no error");
    socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
    drop(theirs);
    while !rx.recv().unwrap() {}
    drop(registration);
}

#[test]
fn n2_the_end_waits_for_the_call_that_runs_and_closes_the_descriptor() {
    let (rt, io) = start(2);
    let (ours, mut theirs) = pair();
    let (go, wait) = mpsc::channel::<()>();
    let (tx, rx) = mpsc::channel();
    let is_over = Arc::new(AtomicBool::new(false));
    let also = Arc::clone(&is_over);
    let registration = io
        .on_ready(ours, Interest::READABLE, &rt.handle().new_color(), move |_, _| {
            tx.send(()).unwrap();
            wait.recv().unwrap();
            also.store(true, SeqCst);
        })
        .unwrap();
    theirs.write_all(b"x").unwrap();
    rx.recv().unwrap();
    let ended = registration.end();
    assert!(!is_over.load(SeqCst));
    go.send(()).unwrap();
    ended.join().unwrap();
    assert!(is_over.load(SeqCst));
    // The registration had the last descriptor of its side.
    assert_eq!(theirs.read(&mut [0; 8]).unwrap_or(0), 0);
}

#[test]
fn n2_a_callback_may_end_its_own_registration() {
    let (rt, io) = start(2);
    for _ in 0..200 {
        let (ours, mut theirs) = shared_pair();
        let held: Colored<Option<dapple_io::Registration>> =
            Colored::new(&rt.handle().new_color(), None);
        let (tx, rx) = mpsc::channel();
        let (me, io) = (held.clone(), io.clone());
        held.post(move |slot, cx| {
            assert_eq!(cx.io().handle().workers(), 2);
            let registration = me.on_ready(&io, ours, Interest::READABLE, move |slot, _, _| {
                tx.send(()).unwrap();
                drop(slot.take());
            });
            *slot = Some(registration.unwrap());
        });
        theirs.write_all(b"x").unwrap();
        // One call, although nothing was read. Then the callback is gone.
        assert_eq!(rx.iter().count(), 1);
        assert_eq!(theirs.read(&mut [0; 8]).unwrap_or(0), 0, "its descriptor is closed");
    }
}

#[test]
fn n2_values_of_a_color_have_callbacks() {
    struct Sum {
        stream: UnixStream,
        sum: u64,
        calls: u64,
    }
    let (rt, io) = start(2);
    let (stream, mut theirs) = pair();
    let also = stream.try_clone().unwrap();
    let sum = Colored::new(&rt.handle().new_color(), Sum { stream, sum: 0, calls: 0 });
    let registration = sum.on_readable(&io, &also, |sum, _| {
        let mut bytes = [0; 16];
        if let Ok(n) = sum.stream.read(&mut bytes) {
            sum.sum += bytes[..n].iter().map(|byte| u64::from(*byte)).sum::<u64>();
        }
    });
    let timer = sum.every(Duration::from_millis(1), |sum, _| sum.calls += 1);
    theirs.write_all(&[3; 1_000]).unwrap();
    let read = || sum.call(|sum, _| (sum.sum, sum.calls)).join().unwrap();
    until("all bytes are added, and the timer ticks", || read().0 == 3_000 && read().1 > 2);
    assert!(timer.cancel());
    drop(registration);
}

#[test]
fn n11_a_registration_whose_color_has_no_runtime_any_more_ends() {
    let (rt, io) = start(1);
    let other = dapple::Runtime::builder().workers(1).build().unwrap();
    let color = other.handle().new_color();
    let (ours, mut theirs) = shared_pair();
    let registration = io.on_ready(ours, Interest::READABLE, &color, |_, _| ()).unwrap();
    drop(other);
    theirs.write_all(b"x").unwrap();
    // No callback is called, and the poller does not wake forever.
    thread::sleep(Duration::from_millis(20));
    let before = rt.metrics().parks();
    thread::sleep(Duration::from_millis(50));
    assert!(rt.metrics().parks() - before < 100);
    drop(registration);
}

#[test]
fn e12_a_stall_names_where_the_callback_was_registered() {
    let (tx, rx) = mpsc::channel();
    let rt = dapple_io::runtime()
        .workers(2)
        .stall_after(Duration::from_millis(5))
        .on_stall(move |stall| tx.send((stall.site.file().to_owned(), stall.site.line())).unwrap())
        .build()
        .unwrap();
    let io = dapple_io::Io::of(&rt.handle());
    let (ours, mut theirs) = shared_pair();
    let reader = Arc::clone(&ours);
    let line = line!();
    let registration =
        io.on_ready(ours, Interest::READABLE, &rt.handle().new_color(), move |_, _| {
            thread::sleep(Duration::from_millis(50));
            let _ = (&*reader).read(&mut [0; 8]);
        });
    theirs.write_all(b"x").unwrap();
    let (file, at) = rx.recv().unwrap();
    assert!(file.ends_with("ready.rs"), "{file}");
    assert!((line..line + 4).contains(&at), "line {at}, not {line}");
    drop(registration);
}

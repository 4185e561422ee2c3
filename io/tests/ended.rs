//! N11: a registration or connection whose event is refused, because the runtime of its color has
//! ended, is deregistered or closed. It never spins, and no peer waits forever.
mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::start;
use dapple::{Color, Cx, Domain, Runtime};
use dapple_io::tcp::{Accepting, Conn, ConnOptions, Protocol, TransportOptions};

const MINUTE: Duration = Duration::from_secs(60);

/// Returns a color, and its runtime, which ends when it is dropped.
fn foreign() -> (Color, Runtime) {
    let rt = Runtime::builder().workers(1).build().unwrap();
    (rt.handle().new_color(), rt)
}

/// Waits until the peer reads the end or a reset, within 60 s.
fn sees_the_end(mut stream: &TcpStream) {
    stream.set_read_timeout(Some(MINUTE)).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset, "{e}"),
    }
}

fn polls(rt: &Runtime) -> u64 {
    rt.metrics().polls()
}

#[test]
fn n11_a_descriptor_of_an_ended_color_does_not_spin() {
    let (net, io) = start(1);
    let (color, compute) = foreign();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let readable = io.on_readable(&theirs, &color, |_| ()).unwrap();
    let writable = io.on_writable(&theirs, &color, |_| ()).unwrap();
    drop(compute);
    ours.write_all(b"x").unwrap();
    thread::sleep(Duration::from_millis(20));
    let before = polls(&net);
    thread::sleep(Duration::from_millis(200));
    assert!(polls(&net) < before + 50, "{} polls", polls(&net) - before);
    // The descriptor can be registered again.
    let (tx, rx) = mpsc::channel();
    let _again = io.on_readable(&theirs, &net.handle().new_color(), move |_| {
        let _ = tx.send(());
    });
    rx.recv_timeout(MINUTE).unwrap();
    drop((readable, writable));
}

#[test]
fn n11_a_dead_registration_takes_no_other_with_it() {
    let (net, io) = start(1);
    let (color, compute) = foreign();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let dead = io.on_readable(&theirs, &color, |_| ()).unwrap();
    // This registration is for the other direction, on a color that lives, so the descriptor stays
    // registered.
    let (wrote, writes) = mpsc::channel();
    let other = io
        .on_writable(&theirs, &net.handle().new_color(), move |_| {
            let _ = wrote.send(());
        })
        .unwrap();
    writes.recv_timeout(MINUTE).unwrap();
    drop(compute);
    ours.write_all(b"x").unwrap();
    let (tx, rx) = mpsc::channel();
    let begin = Instant::now();
    let live = loop {
        let tx = tx.clone();
        let call = move |_: &mut Cx| {
            let _ = tx.send(());
        };
        // The direction is free again once the event of the dead registration has been refused.
        match io.on_readable(&theirs, &net.handle().new_color(), call) {
            Ok(live) => break live,
            Err(e) => assert_eq!(e.kind(), ErrorKind::AlreadyExists, "{e}"),
        }
        assert!(begin.elapsed() < MINUTE);
        thread::sleep(Duration::from_millis(1));
    };
    rx.recv_timeout(MINUTE).unwrap();
    drop(dead);
    // A call may have begun before that.
    thread::sleep(Duration::from_millis(20));
    while rx.try_recv().is_ok() {}
    for _ in 0..3 {
        rx.recv_timeout(MINUTE).unwrap();
    }
    drop((live, other));
}

#[test]
fn n11_a_signal_of_an_ended_color_leaves_the_reactor() {
    let (net, io) = start(1);
    let (color, compute) = foreign();
    let (tx, rx) = mpsc::channel();
    let registration = io.on_signal(libc::SIGWINCH, &color, move |_| tx.send(()).unwrap()).unwrap();
    // SAFETY: the calls take numbers only, and this process handles the signal.
    let raise = || assert_eq!(unsafe { libc::kill(libc::getpid(), libc::SIGWINCH) }, 0);
    raise();
    rx.recv_timeout(MINUTE).unwrap();
    drop(compute);
    // The first signal ends the registration. Later ones wake no worker.
    raise();
    thread::sleep(Duration::from_millis(50));
    let before = polls(&net);
    for _ in 0..20 {
        raise();
        thread::sleep(Duration::from_millis(5));
    }
    assert!(polls(&net) < before + 10, "{} polls", polls(&net) - before);
    drop(registration);
}

#[test]
fn n11_a_listener_of_an_ended_color_closes() {
    let (_net, io) = start(1);
    let (color, compute) = foreign();
    let accepting = Accepting::OnColor(color.clone());
    let address = "127.0.0.1:0".parse().unwrap();
    let listener =
        io.listen(address, accepting.clone(), |stream, _| std::mem::forget(stream)).unwrap();
    let first = TcpStream::connect(listener.local_addr()).unwrap();
    compute.wait_idle();
    drop(compute);
    // The first connection ends the listener, and no client waits forever.
    let begin = Instant::now();
    loop {
        match TcpStream::connect(listener.local_addr()) {
            Ok(stream) => sees_the_end(&stream),
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => break,
            Err(e) => panic!("{e}"),
        }
        assert!(begin.elapsed() < MINUTE);
    }
    // No new listener can be made on the color.
    assert!(io.listen(address, accepting, |_, _| ()).is_err());
    drop((first, listener));
}

/// The peer sends nothing, so only the connection's timer can notice the end. The timer belongs to
/// the runtime that ends.
#[test]
fn n11_a_silent_connection_of_an_ended_color_closes() {
    let (_net, io) = start(1);
    for is_ended_before in [false, true] {
        let (color, compute) = foreign();
        let (tx, served) = mpsc::channel();
        let tx = Mutex::new(tx);
        let serve = move |stream: dapple_io::tcp::TcpStream, _: &mut Cx| {
            let _ = stream.serve(&color, ConnOptions::default(), Quiet);
            tx.lock().unwrap().send(()).unwrap();
        };
        let listener =
            io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, serve).unwrap();
        let mut compute = Some(compute);
        if is_ended_before {
            drop(compute.take());
        }
        let stream = TcpStream::connect(listener.local_addr()).unwrap();
        served.recv_timeout(MINUTE).unwrap();
        if let Some(compute) = compute {
            compute.wait_idle();
            drop(compute);
        }
        let begin = Instant::now();
        sees_the_end(&stream);
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
}

struct Quiet;
impl Protocol for Quiet {
    fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
}

#[test]
fn n11_a_connection_of_an_ended_color_closes() {
    let (net, io) = start(1);
    for is_ended_before in [false, true] {
        for keeps in [false, true] {
            let (color, compute) = foreign();
            let also = color.clone();
            let (tx, connections) = mpsc::channel();
            let tx = Mutex::new(tx);
            let options = ConnOptions { idle_timeout: 2 * MINUTE, ..ConnOptions::default() };
            let serve = move |stream: dapple_io::tcp::TcpStream, _: &mut Cx| {
                tx.lock().unwrap().send(stream.serve(&also, options, Quiet)).unwrap();
            };
            let listener =
                io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, serve).unwrap();
            let mut compute = Some(compute);
            if is_ended_before {
                drop(compute.take());
            }
            let mut stream = TcpStream::connect(listener.local_addr()).unwrap();
            let connection = connections.recv_timeout(MINUTE).unwrap();
            let kept = keeps.then_some(connection);
            if let Some(compute) = compute {
                compute.wait_idle();
                drop(compute);
            }
            // The connection may be closed already.
            let _ = stream.write_all(b"is anybody there?");
            sees_the_end(&stream);
            drop((kept, listener));
        }
    }
    drop(net);
}

#[test]
fn n11_a_transport_of_an_ended_color_or_domain_closes() {
    for is_domain in [true, false] {
        let (net, io) = start(1);
        let (color, compute) = foreign();
        let options = TransportOptions::default();
        let domain_on = if is_domain { compute.handle() } else { net.handle() };
        let domain = Domain::builder().max_uncommitted(1).snapshot(&domain_on, ());
        // The domain is full, and stays full.
        let kept = Arc::new(Mutex::new(None));
        let place = Arc::clone(&kept);
        domain.anon_then(move |a| {
            *place.lock().unwrap() = Some(a);
            std::panic::resume_unwind(Box::new("kept"))
        });
        let (tx, transports) = mpsc::channel();
        let tx = Mutex::new(tx);
        let deliver = move |stream: dapple_io::tcp::TcpStream, cx: &mut Cx| {
            let color = if is_domain { cx.new_color() } else { color.clone() };
            let transport = stream.deliver_to(&color, options, &domain, |_, _, _| ());
            tx.lock().unwrap().send(transport).unwrap();
        };
        let listener =
            io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, deliver).unwrap();
        let mut stream = TcpStream::connect(listener.local_addr()).unwrap();
        stream.write_all(&[0, 0, 0, 1, 1]).unwrap();
        let transport = transports.recv_timeout(MINUTE).unwrap();
        thread::sleep(Duration::from_millis(20));
        drop(compute);
        let _ = stream.write_all(&[0, 0, 0, 1, 2]);
        sees_the_end(&stream);
        let begin = Instant::now();
        while transport.send(&[0; 1_000]).is_ok() {
            assert!(begin.elapsed() < MINUTE, "what is sent to nobody is refused");
            thread::sleep(Duration::from_millis(1));
        }
        drop((kept, listener));
    }
}

/// A handle that outlives the runtime keeps no peer waiting.
#[test]
fn n11_handles_that_outlive_their_runtime_keep_no_peer() {
    let (net, io) = start(1);
    let (tx, connections) = mpsc::channel();
    let tx = Mutex::new(tx);
    let serve = move |stream: dapple_io::tcp::TcpStream, cx: &mut Cx| {
        let connection = stream.serve(&cx.new_color(), ConnOptions::default(), Quiet);
        tx.lock().unwrap().send(connection).unwrap();
    };
    let listener = io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, serve).unwrap();
    let stream = TcpStream::connect(listener.local_addr()).unwrap();
    let connection = connections.recv_timeout(MINUTE).unwrap();
    net.wait_idle();
    drop(net);
    sees_the_end(&stream);
    let refused = TcpStream::connect(listener.local_addr()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, |_, _| ()).is_err());
    let _ = stream.shutdown(Shutdown::Both);
    drop((connection, listener));
}

//! N10: connecting, in callback style and for tasks: names, time limits, refusals, and the way from
//! one style to the other.
mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::start;
use dapple::Cx;
use dapple_io::Addr;
use dapple_io::stream::{CloseReason, Conn, ConnOptions, Protocol};
use futures_lite::{AsyncReadExt, AsyncWriteExt};

/// A protocol that asks, closes its side, and reports the answer.
struct Asks(Option<Vec<u8>>, mpsc::Sender<Vec<u8>>);

impl Protocol for Asks {
    fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
        conn.send(b"question");
        conn.shutdown_write();
    }

    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        self.0.get_or_insert_default().extend(conn.input());
        conn.consume(conn.input().len());
    }

    fn on_close(&mut self, _: &CloseReason, _: &mut Cx) {
        self.1.send(self.0.take().unwrap_or_default()).unwrap();
    }
}

/// Starts a server that answers one question.
fn answers() -> (SocketAddr, std::thread::JoinHandle<()>) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut peer, mut all) = (server.accept().unwrap().0, Vec::new());
        peer.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"question");
        peer.write_all(b"answer").unwrap();
    });
    (address, thread)
}

#[test]
fn n10_a_callback_gets_the_connection_by_address_and_by_name() {
    let (rt, io) = start(2);
    for by_name in [false, true] {
        let (address, server) = answers();
        let (tx, rx) = mpsc::channel();
        let color = rt.handle().new_color();
        let on = color.clone();
        let then = move |stream: std::io::Result<dapple_io::stream::Stream>, cx: &mut Cx| {
            assert!(cx.is_alone_on(&on));
            let stream = stream.unwrap();
            assert_eq!(stream.peer_addr(), address);
            assert!(stream.local_addr().unwrap().ip().is_some());
            stream.serve(&on, ConnOptions::default(), Asks(None, tx));
        };
        match by_name {
            true => io.connect_then(("localhost", address.port()), &color, then),
            false => io.connect_then(address, &color, then),
        };
        assert_eq!(rx.recv().unwrap(), b"answer");
        server.join().unwrap();
    }
}

#[test]
fn n10_what_cannot_be_reached_is_an_error() {
    let (rt, io) = start(1);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kind = |target: dapple_io::connect::Target| {
        rt.block_on(io.connect(target)).map(drop).unwrap_err().kind()
    };
    assert_eq!(kind(gone.into()), ErrorKind::ConnectionRefused);
    assert_eq!(kind(("127.0.0.1", gone.port()).into()), ErrorKind::ConnectionRefused);
    assert_eq!(kind(Addr::unix("/nowhere/socket").into()), ErrorKind::NotFound);
    assert_eq!(kind("localhost".into()), ErrorKind::InvalidInput);
    assert_eq!(kind(("", 80).into()), ErrorKind::InvalidInput);
    assert_eq!(kind(("a\0b", 80).into()), ErrorKind::InvalidInput);
    // No host has a name in this domain (RFC 6761).
    rt.block_on(io.connect(("name.invalid", 80))).unwrap_err();
    let (tx, rx) = mpsc::channel();
    io.connect_then(gone, &rt.handle().new_color(), move |outcome, _| {
        tx.send(outcome.map(drop).unwrap_err().kind()).unwrap();
    });
    assert_eq!(rx.recv().unwrap(), ErrorKind::ConnectionRefused);
}

#[test]
fn n10_connecting_takes_no_longer_than_its_limit_and_may_be_aborted() {
    let (rt, io) = start(1);
    // The backlog of this listener is full, so it answers no attempt.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let silent = socket.local_addr().unwrap().as_socket().unwrap();
    let limit = Duration::from_millis(200);
    let mut filling = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&silent, limit) {
        filling.push(stream);
    }
    let begin = Instant::now();
    let (tx, rx) = mpsc::channel();
    let also = tx.clone();
    let color = rt.handle().new_color();
    io.connector(silent).within(limit).then(&color, move |outcome, _| {
        tx.send(outcome.map(drop).unwrap_err().kind()).unwrap();
    });
    assert_eq!(rx.recv().unwrap(), ErrorKind::TimedOut);
    assert!(begin.elapsed() >= limit);
    let begun = io.connect_then(silent, &color, move |outcome, _| {
        also.send(outcome.map(drop).unwrap_err().kind()).unwrap();
    });
    begun.cancel();
    assert!(rx.recv().is_err(), "the callback is dropped without a call");
}

#[test]
fn n10_only_addresses_may_be_in_brackets() {
    let (rt, io) = start(1);
    let found = rt.block_on(io.lookup("[::1]", 80)).unwrap();
    assert_eq!(found, ["[::1]:80".parse().unwrap()]);
    for host in ["", "[]", "[127.0.0.1]", "[localhost]", "[example.org]", "a\0b"] {
        let error = rt.block_on(io.lookup(host, 80)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{host:?}");
    }
}

#[test]
fn n10_a_local_address_is_chosen() {
    let (rt, io) = start(1);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let from: SocketAddr = "127.0.0.2:0".parse().unwrap();
    let target = server.local_addr().unwrap();
    let stream = rt.block_on(io.connector(target).from(from).connect()).unwrap();
    assert_eq!(server.accept().unwrap().1.ip(), from.ip());
    assert_eq!(stream.local_addr().unwrap().ip().unwrap().ip(), from.ip());
    let other: SocketAddr = "[::1]:0".parse().unwrap();
    let none = rt.block_on(io.connector(target).from(other).connect()).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidInput);
}

#[test]
fn n10_a_stream_for_tasks_becomes_one_for_callbacks_and_back() {
    let (rt, io) = start(2);
    let (ours, mut theirs) = common::tcp_pair();
    let color = rt.handle().new_color();
    let mut stream = io.adopt(ours).unwrap();
    for round in 0..10u8 {
        theirs.write_all(&[round, round]).unwrap();
        let mut by_task = stream.into_async().unwrap();
        let mut byte = [0];
        rt.block_on(by_task.read_exact(&mut byte)).unwrap();
        assert_eq!(byte, [round]);
        // The task has not read the second byte, which is still there.
        stream = by_task.into_stream();
        let mut by_task = stream.into_async().unwrap();
        rt.block_on(by_task.read_exact(&mut byte)).unwrap();
        rt.block_on(by_task.write_all(b"x")).unwrap();
        theirs.read_exact(&mut byte).unwrap();
        stream = by_task.into_stream();
    }
    let (tx, rx) = mpsc::channel();
    stream.serve(&color, ConnOptions::default(), Asks(None, tx));
    let mut all = Vec::new();
    theirs.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"question");
    theirs.write_all(b"answer").unwrap();
    drop(theirs);
    assert_eq!(rx.recv().unwrap(), b"answer");
}

#[test]
fn n10_an_end_and_a_reset_are_learned_without_reading() {
    let (rt, io) = start(1);
    let (ours, mut theirs) = common::tcp_pair();
    let stream = io.adopt(ours).unwrap().into_async().unwrap();
    theirs.write_all(b"unread").unwrap();
    let early = rt.handle().timeout(Duration::from_millis(20), stream.closed());
    assert!(rt.block_on(early).is_err(), "bytes are not an end");
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    rt.block_on(stream.closed()).unwrap();
    socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
    drop(theirs);
    let begin = Instant::now();
    let error = loop {
        if let Err(error) = rt.block_on(stream.closed()) {
            break error;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "the reset is not told");
    };
    // Linux reports a reset after the end as `BrokenPipe`.
    let names = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(names.contains(&error.kind()), "{error}");
}

#[test]
fn n10_look_ups_leave_threads_to_other_blocking_work() {
    let rt = dapple_io::runtime().workers(1).offload_threads(4).build().unwrap();
    let io = dapple_io::Io::of(&rt.handle());
    let (tx, rx) = mpsc::channel();
    for _ in 0..50 {
        let tx = tx.clone();
        io.lookup_then("localhost", 80, &rt.handle().new_color(), move |found, _| {
            tx.send(found.map(|all| all.len())).unwrap();
        });
    }
    // The work gets one of the two threads that look-ups never have.
    assert_eq!(rt.handle().offload(|| 7).join().unwrap(), 7);
    for found in rx.iter().take(50) {
        assert!(found.unwrap() > 0);
    }
}

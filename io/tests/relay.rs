//! N2, N6: both directions of a connection at once: a relay, pauses, and what a paused connection
//! is told.
mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use common::{hold, start, tcp_pair};
use dapple::{Cx, Runtime};
use dapple_io::Io;
use dapple_io::tcp::{Accepting, CloseReason, Conn, ConnOptions, Connection, Listener, Protocol};

const MINUTE: Duration = Duration::from_secs(60);

/// One side of a relay. It takes no input while the other side is congested, and notices room by
/// `on_room` or by `on_data`, as `by_room` says.
struct Side {
    peer: Option<Connection<Side>>,
    /// Whether the peer waits for room here.
    stopped: bool,
    by_room: bool,
}

impl Side {
    fn new(peer: Option<Connection<Side>>, by_room: bool) -> Side {
        Side { peer, stopped: false, by_room }
    }

    fn room(&mut self, conn: &mut Conn) {
        if self.stopped && !conn.is_congested() {
            self.stopped = false;
            self.peer.as_ref().unwrap().with(|_, conn, _| conn.resume());
        }
    }

    fn pass_on(&mut self, conn: &mut Conn) {
        let Some(peer) = &self.peer else { return conn.pause() };
        let bytes = conn.input().to_vec();
        if bytes.is_empty() {
            return;
        }
        conn.consume(bytes.len());
        peer.with(move |side, conn, _| {
            conn.send(&bytes);
            if conn.is_congested() {
                side.stopped = true;
                if let Some(source) = &side.peer {
                    source.with(|_, conn, _| conn.pause());
                }
            }
        });
    }
}

impl Protocol for Side {
    fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
        if self.peer.is_none() {
            conn.pause();
        }
    }
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        if !self.by_room {
            self.room(conn);
        }
        self.pass_on(conn);
    }
    fn on_room(&mut self, conn: &mut Conn, cx: &mut Cx) {
        match self.by_room {
            true => self.room(conn),
            false => self.on_data(conn, cx),
        }
    }
    fn on_eof(&mut self, conn: &mut Conn, _: &mut Cx) {
        match &self.peer {
            Some(peer) => peer.with(|_, conn, _| conn.shutdown_write()),
            None => conn.close(),
        }
    }
    fn on_close(&mut self, _: &CloseReason, _: &mut Cx) {
        if let Some(peer) = self.peer.take() {
            peer.with(|_, conn, _| conn.close());
        }
    }
}

fn relay(io: &Io, target: SocketAddr, by_room: bool) -> Listener {
    let also = io.clone();
    let options = ConnOptions { high_water: 64 * 1024, ..ConnOptions::default() };
    io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, move |stream, cx| {
        let color = cx.new_color();
        let client = stream.serve(&color, options, Side::new(None, by_room));
        let (io, c) = (also.clone(), color.clone());
        let connect = move || TcpStream::connect(target);
        cx.handle().offload_then(&color, connect, move |stream, _| {
            let stream = io.adopt(stream.unwrap().unwrap()).unwrap();
            let server = stream.serve(&c, options, Side::new(Some(client.clone()), by_room));
            client.with(move |side, conn, _| {
                side.peer = Some(server);
                conn.resume();
            });
        });
    })
    .unwrap()
}

/// Echoes through a small buffer, and reads only as much as it can write.
fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
}

#[test]
fn n6_a_relay_in_both_directions_at_once_does_not_stop() {
    const BYTES: usize = 8_000_000;
    for by_room in [false, true] {
        let (_rt, io) = start(2);
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = target.local_addr().unwrap();
        thread::spawn(move || {
            target.incoming().flatten().for_each(|s| drop(thread::spawn(|| echo(s))))
        });
        let listener = relay(&io, address, by_room);
        let clients: Vec<_> = (0..3)
            .map(|_| {
                let stream = TcpStream::connect(listener.local_addr()).unwrap();
                stream.set_read_timeout(Some(MINUTE)).unwrap();
                stream.set_write_timeout(Some(MINUTE)).unwrap();
                let mut writer = stream.try_clone().unwrap();
                let writes = thread::spawn(move || writer.write_all(&vec![b'y'; BYTES]));
                let reads = thread::spawn(move || {
                    let mut all = vec![0; BYTES];
                    (&stream).read_exact(&mut all).map(|()| all.iter().all(|b| *b == b'y'))
                });
                (writes, reads)
            })
            .collect();
        for (writes, reads) in clients {
            writes.join().unwrap().expect("all is taken");
            assert!(reads.join().unwrap().expect("all comes back"));
        }
    }
}

/// Answers after the peer's end, with all its bytes.
fn answer_at_the_end(mut stream: TcpStream) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    stream.write_all(&all).unwrap();
}

#[test]
fn n6_a_relay_passes_on_the_end_of_each_side_by_itself() {
    let (_rt, io) = start(2);
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = target.local_addr().unwrap();
    thread::spawn(move || target.incoming().flatten().for_each(answer_at_the_end));
    let listener = relay(&io, address, true);
    for bytes in [0, 1, 1_000, 3_000_000] {
        let mut stream = TcpStream::connect(listener.local_addr()).unwrap();
        stream.set_read_timeout(Some(MINUTE)).unwrap();
        stream.write_all(&vec![b'x'; bytes]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it ends");
        assert_eq!(answer.len(), bytes);
    }
}

/// A protocol that reports its calls, and closes nothing by itself. It may send a question first,
/// and end its own side.
struct Tells(mpsc::Sender<String>, Option<&'static str>);
impl Protocol for Tells {
    fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
        if let Some(question) = self.1 {
            conn.send(question.as_bytes());
            conn.shutdown_write();
            conn.send(b"not sent");
            assert!(!conn.is_closed());
        }
    }
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        let heard = String::from_utf8_lossy(conn.input()).into_owned();
        conn.consume(heard.len());
        self.0.send(heard).unwrap();
    }
    fn on_eof(&mut self, _: &mut Conn, _: &mut Cx) {
        self.0.send("end".to_owned()).unwrap();
    }
    fn on_close(&mut self, why: &CloseReason, _: &mut Cx) {
        let _ = self.0.send(format!("{why:?}"));
    }
}

/// Returns a stream whose other end is served.
fn served(rt: &Runtime, io: &Io, protocol: impl Protocol) -> TcpStream {
    let (ours, peer) = tcp_pair();
    let color = rt.handle().new_color();
    io.adopt(ours).unwrap().serve(&color, ConnOptions::default(), protocol);
    peer
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

#[test]
fn n2_who_has_ended_its_own_side_goes_on_reading_until_both_have() {
    let (rt, io) = start(1);
    let (tx, rx) = mpsc::channel();
    let mut peer = served(&rt, &io, Tells(tx, Some("question")));
    let mut all = String::new();
    peer.read_to_string(&mut all).unwrap();
    assert_eq!(all, "question");
    for part in ["one", "two"] {
        peer.write_all(part.as_bytes()).unwrap();
        assert_eq!(rx.recv_timeout(MINUTE).unwrap(), part);
    }
    drop(peer);
    assert_eq!(rx.recv_timeout(MINUTE).unwrap(), "end");
    assert_eq!(rx.recv_timeout(MINUTE).unwrap(), "Closed");
}

/// A protocol that pauses, and reports how the connection ended.
struct Paused(mpsc::Sender<String>, bool);
impl Protocol for Paused {
    fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
        conn.pause();
        if self.1 {
            conn.send(b"something");
        }
    }
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        assert!(!conn.is_paused());
    }
    fn on_eof(&mut self, conn: &mut Conn, _: &mut Cx) {
        // The protocol has more to send later.
        conn.pause();
    }
    fn on_close(&mut self, why: &CloseReason, _: &mut Cx) {
        let _ = self.0.send(format!("{why:?}"));
    }
}

#[test]
fn n5_a_paused_connection_is_told_that_its_peer_has_reset_it() {
    for sends in [false, true] {
        let (_rt, io) = start(1);
        let (tx, rx) = mpsc::channel();
        let tx = Mutex::new(tx);
        let serve = move |stream: dapple_io::tcp::TcpStream, cx: &mut Cx| {
            let paused = Paused(tx.lock().unwrap().clone(), sends);
            stream.serve(&cx.new_color(), ConnOptions::default(), paused);
        };
        let listener =
            io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, serve).unwrap();
        for unread in [false, true] {
            let mut stream = TcpStream::connect(listener.local_addr()).unwrap();
            if unread {
                stream.write_all(b"not read").unwrap();
            }
            thread::sleep(Duration::from_millis(10));
            reset(stream);
            let why = rx.recv_timeout(MINUTE).expect("it is told");
            assert!(why.contains("ConnectionReset"), "{why}");
        }
    }
}

/// A half-closed peer is not gone. A peer that resets the connection after that is.
#[test]
fn n5_a_connection_that_has_read_the_end_is_told_of_a_reset() {
    let (rt, io) = start(1);
    let (tx, rx) = mpsc::channel();
    let stream = served(&rt, &io, Tells(tx, None));
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rx.recv_timeout(MINUTE).unwrap(), "end");
    assert!(rx.recv_timeout(Duration::from_millis(20)).is_err(), "it stays");
    reset(stream);
    let why = rx.recv_timeout(MINUTE).expect("it is told");
    // The system's error depends on how far the connection has come.
    assert!(why.contains("ConnectionReset") || why.contains("BrokenPipe"), "{why}");
}

/// Everything that arrived before a reset is delivered, even if the system reports all of it at
/// once.
#[test]
fn n6_bytes_an_end_and_a_reset_at_once_are_told_in_order() {
    let (rt, io) = start(1);
    let (tx, rx) = mpsc::channel();
    let mut stream = served(&rt, &io, Tells(tx, None));
    stream.write_all(b"a").unwrap();
    assert_eq!(rx.recv_timeout(MINUTE).unwrap(), "a");
    let held = hold(&rt);
    stream.write_all(b"bc").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    reset(stream);
    thread::sleep(Duration::from_millis(20));
    drop(held);
    assert_eq!(rx.recv_timeout(MINUTE).unwrap(), "bc");
    assert_eq!(rx.recv_timeout(MINUTE).unwrap(), "end");
    let why = rx.recv_timeout(MINUTE).unwrap();
    assert!(why.contains("ConnectionReset") || why.contains("BrokenPipe"), "{why}");
}

/// A protocol that has ended its own side, and takes one byte in a call, gets all bytes.
#[test]
fn n6_who_comes_back_is_called_though_both_sides_have_ended() {
    struct Late(mpsc::Sender<usize>, bool);
    impl Protocol for Late {
        fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
            conn.shutdown_write();
        }
        fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
            if self.1 && !conn.input().is_empty() {
                conn.consume(1);
                self.0.send(conn.input().len()).unwrap();
                conn.come_back();
            }
        }
        fn on_eof(&mut self, conn: &mut Conn, _: &mut Cx) {
            self.1 = true;
            conn.come_back();
        }
    }
    let (rt, io) = start(1);
    let (tx, rx) = mpsc::channel();
    let mut stream = served(&rt, &io, Late(tx, false));
    stream.write_all(&[b'x'; 20]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    for left in (0..20).rev() {
        assert_eq!(rx.recv_timeout(MINUTE), Ok(left));
    }
    assert!(rx.recv_timeout(MINUTE).is_err(), "it has closed");
}

/// N3: a connection that the system has accepted is served, even if the listener is dropped then.
#[test]
fn n3_a_listener_that_is_dropped_serves_who_is_connected() {
    for accepting in ["each", "one"] {
        let (rt, io) = start(2);
        for round in 0..20 {
            let accepting = match accepting {
                "each" => Accepting::PerWorker,
                _ => Accepting::OnColor(rt.handle().default_color()),
            };
            let greet = |stream: dapple_io::tcp::TcpStream, cx: &mut Cx| {
                struct Greets;
                impl Protocol for Greets {
                    fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
                        conn.send(b"hi");
                        conn.close();
                    }
                    fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
                }
                stream.serve(&cx.new_color(), ConnOptions::default(), Greets);
            };
            // In half of the rounds, connections wait in the system.
            let held = (round % 2 == 0).then(|| hold(&rt));
            let listener = io.listen("127.0.0.1:0".parse().unwrap(), accepting, greet).unwrap();
            let streams: Vec<_> =
                (0..20).map(|_| TcpStream::connect(listener.local_addr()).unwrap()).collect();
            let address = listener.local_addr();
            drop(listener);
            drop(held);
            assert!(TcpStream::connect(address).is_err(), "it listens no more");
            for mut stream in streams {
                stream.set_read_timeout(Some(MINUTE)).unwrap();
                let mut said = String::new();
                stream.read_to_string(&mut said).expect("no reset");
                assert_eq!(said, "hi");
            }
        }
    }
}

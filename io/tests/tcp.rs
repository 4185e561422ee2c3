//! N3, N5, N6: listeners and connections.
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use dapple::{Cx, Runtime};
use dapple_io::Io;
use dapple_io::tcp::{Accepting, CloseReason, Conn, ConnOptions, Listener, Protocol};

const MS: Duration = Duration::from_millis(1);

/// A protocol that answers each line with the same line, except for four commands: `big` is
/// answered with 4 MiB, `panic` panics, `quit` closes, and `abort` sends 4 MiB and aborts.
struct Lines {
    closed: mpsc::Sender<String>,
}

fn big() -> Arc<[u8]> {
    (0..4 * 1024 * 1024u32).map(|i| (i / 7) as u8).collect()
}

impl Protocol for Lines {
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        while !conn.is_congested() {
            let Some(end) = conn.input().iter().position(|&b| b == b'\n') else {
                return;
            };
            let line = conn.input()[..end].to_vec();
            conn.consume(end + 1);
            match &line[..] {
                b"big" => conn.send_shared(big()),
                b"panic" => panic!("as asked"),
                b"quit" => return conn.close(),
                b"abort" => {
                    conn.send_shared(big());
                    assert_eq!(conn.pending(), big().len() as u64);
                    conn.abort();
                    assert!(conn.is_closed() && conn.pending() == 0);
                    return;
                }
                line => {
                    conn.send(line);
                    conn.send(b"\n");
                }
            }
        }
    }

    fn on_close(&mut self, reason: &CloseReason, _: &mut Cx) {
        let _ = self.closed.send(format!("{reason:?}"));
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.closed.send("dropped".to_owned());
    }
}

struct Server {
    rt: Runtime,
    listener: Listener,
    closed: mpsc::Receiver<String>,
}

fn serve(workers: usize, per_worker: bool, options: ConnOptions) -> Server {
    let rt = dapple_io::runtime().workers(workers).build().unwrap();
    let h = rt.handle();
    let (tx, closed) = mpsc::channel();
    let tx = std::sync::Mutex::new(tx);
    let accepting = match per_worker {
        true => Accepting::PerWorker,
        false => Accepting::OnColor(h.new_color()),
    };
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listener = Io::of(&h)
        .listen(any, accepting, move |stream, cx| {
            let closed = tx.lock().unwrap().clone();
            let color = cx.new_color();
            stream.serve(&color, options, Lines { closed });
        })
        .unwrap();
    Server { rt, listener, closed }
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.listener.local_addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Returns the reason why the only connection ended, after its protocol has been dropped.
    fn closed(&self) -> String {
        self.all_closed(1).remove(0)
    }

    fn all_closed(&self, n: usize) -> Vec<String> {
        let next = || self.closed.recv_timeout(Duration::from_secs(60)).unwrap();
        let said: Vec<_> = (0..2 * n).map(|_| next()).collect();
        let (dropped, reasons): (Vec<_>, Vec<_>) = said.into_iter().partition(|s| s == "dropped");
        assert_eq!(dropped.len(), n);
        reasons
    }
}

fn ask(stream: &mut TcpStream, line: &str) -> String {
    stream.write_all(line.as_bytes()).unwrap();
    let mut answer = vec![0; line.len()];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn n3_many_clients_on_both_kinds_of_listener() {
    for per_worker in [true, false] {
        let server = serve(2, per_worker, ConnOptions::default());
        thread::scope(|s| {
            for t in 0..8 {
                let address = server.listener.local_addr();
                s.spawn(move || {
                    for i in 0..20 {
                        let mut stream = TcpStream::connect(address).unwrap();
                        for j in 0..10 {
                            let line = format!("client {t} connection {i} line {j}\n");
                            assert_eq!(ask(&mut stream, &line), line);
                        }
                    }
                });
            }
        });
        assert!(server.all_closed(160).iter().all(|r| r == "Peer"));
        assert_eq!(server.rt.metrics().panics(), 0);
    }
}

#[test]
fn pipelined_lines_in_one_packet_and_lines_in_pieces() {
    let server = serve(1, true, ConnOptions::default());
    let mut stream = server.connect();
    let lines: String = (0..500).map(|i| format!("line {i}\n")).collect();
    assert_eq!(ask(&mut stream, &lines), lines);
    for byte in b"in pieces\n" {
        stream.write_all(&[*byte]).unwrap();
        thread::sleep(MS);
    }
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"in pieces\n");
}

#[test]
fn n6_back_pressure_stops_reading_and_loses_nothing() {
    let options = ConnOptions { high_water: 64 * 1024, ..ConnOptions::default() };
    let server = serve(1, true, options);
    let mut stream = server.connect();
    // 40 answers of 4 MiB are requested at once, and not read for 50 ms.
    stream.write_all(&b"big\n".repeat(40)).unwrap();
    thread::sleep(50 * MS);
    let expected = big();
    let mut got = vec![0; expected.len()];
    for round in 0..40 {
        stream.read_exact(&mut got).unwrap();
        assert!(*got == *expected, "answer {round}");
    }
    assert_eq!(ask(&mut stream, "after\n"), "after\n");
}

#[test]
fn a_panicking_protocol_loses_its_connection_only() {
    let server = serve(1, true, ConnOptions::default());
    let mut other = server.connect();
    assert_eq!(ask(&mut other, "a\n"), "a\n");
    let mut stream = server.connect();
    stream.write_all(b"panic\n").unwrap();
    let mut rest = Vec::new();
    assert!(matches!(stream.read_to_end(&mut rest), Ok(0) | Err(_)));
    assert_eq!(server.closed.recv_timeout(Duration::from_secs(60)).unwrap(), "dropped");
    assert_eq!(ask(&mut other, "b\n"), "b\n");
    server.rt.wait_idle();
    assert_eq!(server.rt.metrics().panics(), 1);
}

#[test]
fn n5_timeouts_end_what_hangs() {
    let short = |options: ConnOptions| serve(1, true, options);
    // A peer that sends nothing.
    let server = short(ConnOptions { idle_timeout: 30 * MS, ..ConnOptions::default() });
    let start = Instant::now();
    let _idle = server.connect();
    assert_eq!(server.closed(), "IdleTimeout");
    assert!(start.elapsed() >= 30 * MS);
    // A peer that sends a byte every 5 ms, which does not prolong the line's time.
    let server = short(ConnOptions { frame_timeout: 60 * MS, ..ConnOptions::default() });
    let mut slow = server.connect();
    let drip = thread::spawn(move || {
        while slow.write_all(b"x").is_ok() {
            thread::sleep(5 * MS);
        }
    });
    assert_eq!(server.closed(), "FrameTimeout");
    drip.join().unwrap();
    // A peer that reads nothing.
    let server = short(ConnOptions { write_timeout: 60 * MS, ..ConnOptions::default() });
    let mut deaf = server.connect();
    deaf.write_all(&b"big\n".repeat(20)).unwrap();
    assert_eq!(server.closed(), "WriteTimeout");
}

#[test]
fn n5_activity_prolongs_an_idle_timeout() {
    let server = serve(1, true, ConnOptions { idle_timeout: 200 * MS, ..ConnOptions::default() });
    let mut stream = server.connect();
    let start = Instant::now();
    while start.elapsed() < 600 * MS {
        assert_eq!(ask(&mut stream, "still here\n"), "still here\n");
        thread::sleep(20 * MS);
    }
    assert_eq!(server.closed(), "IdleTimeout");
}

#[test]
fn n5_more_input_than_allowed_closes() {
    let server = serve(1, true, ConnOptions { max_input: 1_000, ..ConnOptions::default() });
    let mut stream = server.connect();
    // A write may fail half way, when the server has closed.
    for _ in 0..100 {
        if stream.write_all(&[b'x'; 10_000]).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    assert_eq!(server.closed(), "InputLimit");
}

#[test]
fn the_last_answer_arrives_though_the_peer_still_sends() {
    let server = serve(1, true, ConnOptions::default());
    for _ in 0..20 {
        let mut stream = server.connect();
        stream.write_all(b"hello\nquit\n").unwrap();
        stream.write_all(&[b'x'; 200_000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"hello\n");
        assert_eq!(server.closed(), "Closed");
    }
}

#[test]
fn a_half_closed_peer_gets_its_answers() {
    let server = serve(1, true, ConnOptions::default());
    let mut stream = server.connect();
    stream.write_all(b"a\nbig\nb\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.len(), 4 + big().len());
    assert_eq!(server.closed(), "Peer");
}

#[test]
fn a_reset_ends_the_connection() {
    let server = serve(1, true, ConnOptions::default());
    let mut stream = server.connect();
    assert_eq!(ask(&mut stream, "a\n"), "a\n");
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    assert!(server.closed().starts_with("Io("));
}

#[test]
fn an_aborted_connection_sends_nothing_more() {
    let server = serve(1, true, ConnOptions::default());
    let mut stream = server.connect();
    stream.write_all(b"abort\nmore\n").unwrap();
    let mut rest = Vec::new();
    // The peer may see an end or a reset.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{} bytes came", rest.len());
    server.closed();
}

#[test]
fn draining_closes_every_connection() {
    let server = serve(2, true, ConnOptions::default());
    let mut streams: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for stream in &mut streams {
        assert_eq!(ask(stream, "a\n"), "a\n");
    }
    Io::of(&server.rt.handle()).drain_connections();
    for stream in &mut streams {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
    }
    drop(streams);
    assert!(server.all_closed(10).iter().all(|r| r == "Closed"));
}

#[test]
fn a_dropped_listener_refuses_and_leaves_its_connections() {
    let server = serve(2, true, ConnOptions::default());
    let mut stream = server.connect();
    assert_eq!(ask(&mut stream, "a\n"), "a\n");
    let address = server.listener.local_addr();
    let Server { rt, listener, closed } = server;
    drop(listener);
    rt.wait_idle();
    assert!(TcpStream::connect(address).is_err());
    assert_eq!(ask(&mut stream, "b\n"), "b\n");
    drop(rt);
    assert_eq!(closed.recv().unwrap(), "dropped", "the runtime's end drops the protocol");
}

#[test]
fn a_port_in_use_is_an_error() {
    let server = serve(2, true, ConnOptions::default());
    let other = dapple_io::runtime().workers(2).build().unwrap();
    let taken = Io::of(&other.handle()).listen(
        server.listener.local_addr(),
        Accepting::PerWorker,
        |_, _| (),
    );
    assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn answers_made_elsewhere_find_their_connection() {
    struct Later(Option<dapple_io::tcp::Connection<Later>>);
    impl Protocol for Later {
        fn on_data(&mut self, conn: &mut Conn, cx: &mut Cx) {
            let n = conn.input().len();
            conn.consume(n);
            let me = self.0.clone().unwrap();
            cx.post_uncolored(move |_| me.with(|_, conn, _| conn.send(b"later")));
        }
        fn on_close(&mut self, _: &CloseReason, _: &mut Cx) {
            self.0 = None;
        }
    }
    let rt = dapple_io::runtime().workers(2).build().unwrap();
    let listener = Io::of(&rt.handle())
        .listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, |stream, cx| {
            let color = cx.new_color();
            let connection = stream.serve(&color, ConnOptions::default(), Later(None));
            let own = connection.clone();
            connection.with(move |later, _, _| later.0 = Some(own));
        })
        .unwrap();
    let mut stream = TcpStream::connect(listener.local_addr()).unwrap();
    stream.write_all(b"now").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"later");
}

#[test]
fn e7_idle_connections_burn_no_cpu() {
    let server = serve(1, true, ConnOptions::default());
    let mut streams: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for stream in &mut streams {
        assert_eq!(ask(stream, "a\n"), "a\n");
    }
    thread::sleep(50 * MS);
    let before = server.rt.metrics().polls();
    thread::sleep(200 * MS);
    assert_eq!(server.rt.metrics().polls(), before, "the worker sleeps in its poller");
}

#[test]
fn n5_a_long_download_is_not_idle_and_silence_counts_from_its_end() {
    let server = serve(1, true, ConnOptions { idle_timeout: 150 * MS, ..ConnOptions::default() });
    let mut stream = server.connect();
    stream.write_all(&b"big\n".repeat(10)).unwrap();
    // The download takes longer than the idle timeout.
    let expected = big();
    let mut got = vec![0; expected.len() / 4];
    for _ in 0..40 {
        stream.read_exact(&mut got).unwrap();
        thread::sleep(10 * MS);
    }
    assert_eq!(ask(&mut stream, "still here\n"), "still here\n");
    assert_eq!(server.closed(), "IdleTimeout");
}

#[test]
fn closing_a_congested_connection_writes_the_rest_and_does_not_spin() {
    let options = ConnOptions { high_water: 64 * 1024, ..ConnOptions::default() };
    let server = serve(1, true, options);
    let mut stream = server.connect();
    stream.write_all(&b"big\n".repeat(3)).unwrap();
    thread::sleep(50 * MS);
    Io::of(&server.rt.handle()).drain_connections();
    thread::sleep(50 * MS);
    let before = server.rt.metrics().events();
    thread::sleep(100 * MS);
    let events = server.rt.metrics().events() - before;
    assert!(events < 10, "{events} events while the peer takes nothing");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(!rest.is_empty() && rest.len() % big().len() == 0, "whole answers only");
}

#[test]
fn endless_timeouts_are_no_trouble() {
    let options = ConnOptions {
        idle_timeout: Duration::MAX,
        frame_timeout: Duration::MAX,
        write_timeout: Duration::MAX,
        linger_timeout: Duration::MAX,
        ..ConnOptions::default()
    };
    let server = serve(1, true, options);
    let mut stream = server.connect();
    assert_eq!(ask(&mut stream, "a\n"), "a\n");
    stream.write_all(b"half").unwrap();
    assert_eq!(ask(&mut stream, " and half\n"), "half and h");
}

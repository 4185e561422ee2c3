//! N3, N10: listeners: several addresses, Unix sockets, adopted descriptors, pauses, bounds.
mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;
use std::time::Duration;

use common::start;
use dapple::Cx;
use dapple_io::listen::{Accepting, Inherited, pass_on};
use dapple_io::stream::{Conn, ConnOptions, Protocol, Stream};
use dapple_io::{Addr, Io};

/// A protocol that sends its input back.
struct Echo;

impl Protocol for Echo {
    fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
        let bytes = conn.input().to_vec();
        conn.send(&bytes);
        conn.consume(bytes.len());
    }
}

fn serve(stream: Stream, cx: &mut Cx) {
    stream.serve(&cx.new_color(), ConnOptions::default(), Echo);
}

fn echoes(mut stream: impl Read + Write) {
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[test]
fn n10_one_listener_has_several_addresses_of_several_families() {
    let (rt, io) = start(2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let name = format!("dapple-test-{}", std::process::id());
    let listener = io
        .listener()
        .bind(local())
        .bind("[::1]:0".parse::<SocketAddr>().unwrap())
        .bind(Addr::unix(&path))
        .bind(Addr::abstract_name(name.as_bytes()))
        .start(serve)
        .unwrap();
    let addresses = listener.addrs().to_vec();
    assert_eq!(addresses.len(), 4);
    assert_eq!(Some(listener.local_addr()), addresses[0].ip());
    for address in &addresses[..2] {
        echoes(TcpStream::connect(address.ip().unwrap()).unwrap());
    }
    echoes(UnixStream::connect(&path).unwrap());
    for address in &addresses {
        let stream = rt.block_on(io.connect(address.clone())).unwrap();
        assert_eq!(stream.peer_addr(), *address);
        echoes(BlockingStream(stream, &rt));
    }
    drop(listener);
    assert!(!path.exists(), "the name goes with the listener");
}

/// A stream for tasks whose calls block the thread.
struct BlockingStream<'a>(dapple_io::stream::AsyncStream, &'a dapple::Runtime);

impl Read for BlockingStream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        use futures_lite::AsyncReadExt;
        self.1.block_on(self.0.read(buf))
    }
}

impl Write for BlockingStream<'_> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        use futures_lite::AsyncWriteExt;
        self.1.block_on(self.0.write(buf))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn n10_a_name_that_a_dead_process_has_left_is_replaced_and_no_other() {
    let (_rt, io) = start(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = io.listener().bind(Addr::unix(&path)).start(serve).unwrap();
    echoes(UnixStream::connect(&path).unwrap());
    let second = io.listener().bind(Addr::unix(&path)).start(serve);
    assert_eq!(second.unwrap_err().kind(), ErrorKind::AddrInUse);
    drop(listener);
    std::fs::write(&path, "a file").unwrap();
    let third = io.listener().bind(Addr::unix(&path)).start(serve);
    assert_eq!(third.unwrap_err().kind(), ErrorKind::AddrInUse);
    assert_eq!(std::fs::read(&path).unwrap(), b"a file");
    let long = Addr::unix("x".repeat(200));
    let error = io.listener().bind(long).start(serve).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let nothing = io.listener().start(serve).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::InvalidInput);
}

#[test]
fn n10_listening_descriptors_are_adopted() {
    let (_rt, io) = start(2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let tcp = TcpListener::bind(local()).unwrap();
    let address = tcp.local_addr().unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    // This connection waits in the system before the listener accepts.
    let early = TcpStream::connect(address).unwrap();
    let listener = io.listener().adopt(tcp).adopt(OwnedFd::from(unix)).start(serve).unwrap();
    assert_eq!(listener.local_addr(), address);
    echoes(early);
    echoes(TcpStream::connect(address).unwrap());
    echoes(UnixStream::connect(&path).unwrap());
    drop(listener);
    assert!(path.exists(), "only the owner of the name removes it");
}

#[test]
fn n10_a_descriptor_that_others_have_too_is_left_and_adopted_again() {
    let (rt, io) = start(1);
    let tcp = TcpListener::bind(local()).unwrap();
    let address = tcp.local_addr().unwrap();
    for _ in 0..5 {
        let listener = io.listener().adopt(tcp.try_clone().unwrap()).start(serve).unwrap();
        echoes(TcpStream::connect(address).unwrap());
        drop(listener);
        rt.wait_idle();
    }
    // Later connections wake no worker.
    let before = rt.metrics().parks();
    let _waiting: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(20));
    assert!(rt.metrics().parks() - before < 20);
}

#[test]
fn n3_a_paused_listener_accepts_when_it_is_resumed() {
    for accepting in ["each", "one"] {
        let (rt, io) = start(2);
        let (tx, rx) = mpsc::channel();
        let accepting = match accepting {
            "each" => Accepting::PerWorker,
            _ => Accepting::OnColor(rt.handle().new_color()),
        };
        let listener = io.listener().bind(local()).accepting(accepting).paused();
        let listener = listener.start(move |_, _| tx.send(()).unwrap()).unwrap();
        assert!(listener.is_paused());
        for _ in 0..20 {
            let waiting: Vec<_> =
                (0..4).map(|_| TcpStream::connect(listener.local_addr()).unwrap()).collect();
            std::thread::sleep(Duration::from_millis(2));
            assert!(rx.try_recv().is_err());
            listener.resume();
            for _ in &waiting {
                rx.recv_timeout(Duration::from_secs(60)).unwrap();
            }
            // A running call may accept one more connection. Later connections wait.
            listener.pause();
            rt.wait_idle();
        }
    }
}

#[test]
fn n3_there_are_so_many_connections_at_most_and_others_wait() {
    for workers in [1, 2] {
        let (rt, io) = start(workers);
        let (tx, rx) = mpsc::channel();
        let listener = io
            .listener()
            .bind(local())
            .max_connections(3)
            .start(move |stream, cx| {
                tx.send(()).unwrap();
                serve(stream, cx);
            })
            .unwrap();
        let mut clients: Vec<TcpStream> =
            (0..30).map(|_| TcpStream::connect(listener.local_addr()).unwrap()).collect();
        for client in &mut clients {
            client.write_all(b"x").unwrap();
        }
        for _ in 0..3 {
            rx.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        for left in (1..=30).rev() {
            // Three connections are served, and no more before one of them closes.
            rt.wait_idle();
            assert!(rx.try_recv().is_err());
            assert_eq!(listener.connections(), left.min(3));
            let has_answer = |client: &TcpStream| {
                client.set_nonblocking(true).unwrap();
                client.peek(&mut [0]).is_ok()
            };
            let start = std::time::Instant::now();
            let served = loop {
                if let Some(at) = clients.iter().position(has_answer) {
                    break at;
                }
                assert!(start.elapsed() < Duration::from_secs(60), "nobody is served");
            };
            drop(clients.remove(served));
            if left > 3 {
                rx.recv_timeout(Duration::from_secs(60)).unwrap();
            } else {
                while listener.connections() >= left {
                    assert!(start.elapsed() < Duration::from_secs(60), "nobody has gone");
                }
            }
        }
    }
}

/// The child that the test below starts, as a service manager would.
#[test]
fn child_of_the_test_of_activation() {
    if std::env::var_os("DAPPLE_TEST_ACTIVATION").is_none() {
        return;
    }
    // The test runs as the child of a launcher that cannot know the process number in advance.
    let (_rt, io) = start(1);
    let inherited = dapple_io::listen::inherited().unwrap();
    assert_eq!(inherited.len(), 1);
    assert_eq!(inherited[0].name, "web");
    assert!(dapple_io::listen::inherited().unwrap().is_empty(), "they have an owner now");
    let (tx, rx) = mpsc::channel();
    let mut builder = io.listener();
    for one in inherited {
        builder = builder.adopt(one.fd);
    }
    let listener = builder
        .start(move |stream, cx| {
            serve(stream, cx);
            tx.send(()).unwrap();
        })
        .unwrap();
    rx.recv().unwrap();
    // Waits until the client has its answer and closes.
    let start = std::time::Instant::now();
    while listener.connections() > 0 {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(listener);
    assert!(dapple_io::listen::inherited().unwrap().is_empty(), "they are closed now");
}

#[test]
fn n10_a_process_is_activated_by_a_descriptor_that_it_is_started_with() {
    use std::os::fd::AsRawFd;
    let listening = TcpListener::bind(local()).unwrap();
    let address = listening.local_addr().unwrap();
    let fd = listening.as_raw_fd();
    // A shell that becomes the program has the process number that the environment names.
    let program = std::env::current_exe().unwrap();
    let script = "LISTEN_PID=$$ exec \"$0\" --exact child_of_the_test_of_activation";
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", script, program.to_str().unwrap()])
        .env("DAPPLE_TEST_ACTIVATION", "1")
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "web")
        .stdout(std::process::Stdio::null());
    common::pass_as_3(&mut command, fd);
    let mut child = command.spawn().unwrap();
    // Only the child has the socket now. If it ends early, the client is refused.
    drop(listening);
    echoes(TcpStream::connect(address).unwrap());
    assert!(child.wait().unwrap().success());
}

#[test]
fn n3_ports_are_shared_on_request_only() {
    let (_rt, io) = start(2);
    let first = io.listener().bind(local()).share_port().start(serve).unwrap();
    let address = first.local_addr();
    let refused = io.listen(address, Accepting::PerWorker, serve).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    let second = io.listener().bind(address).share_port().start(serve).unwrap();
    // The second listener goes on after the first one ends.
    drop(first);
    for _ in 0..20 {
        echoes(TcpStream::connect(address).unwrap());
    }
    drop(second);
}

#[test]
fn n3_version_6_alone_leaves_the_port_of_version_4() {
    let (_rt, io) = start(1);
    let any: SocketAddr = "[::]:0".parse().unwrap();
    let listener = io.listener().bind(any).only_v6(true).start(serve).unwrap();
    let port = listener.local_addr().port();
    echoes(TcpStream::connect(("::1", port)).unwrap());
    let four = SocketAddr::from(([0, 0, 0, 0], port));
    let beside = io.listener().bind(four).start(serve).unwrap();
    echoes(TcpStream::connect(("127.0.0.1", port)).unwrap());
    drop((listener, beside));
}

#[test]
fn e1_a_listener_with_a_worker_of_its_own_each_counts_for_all() {
    let (rt, io): (_, Io) = start(2);
    let listener = io.listen(local(), Accepting::PerWorker, serve).unwrap();
    let clients: Vec<_> =
        (0..10).map(|_| TcpStream::connect(listener.local_addr()).unwrap()).collect();
    for client in &clients {
        echoes(client);
    }
    let start = std::time::Instant::now();
    // A worker that tries to accept counts one more for a moment.
    while listener.connections() != 10 {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", listener.connections());
    }
    drop(clients);
    while listener.connections() > 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", listener.connections());
        rt.wait_idle();
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The child that the test below starts, which takes the listeners over.
#[test]
fn child_of_the_test_of_handing_over() {
    let Some(workers) = std::env::var_os("DAPPLE_TEST_HANDING_OVER") else { return };
    let (_rt, io) = start(workers.to_str().unwrap().parse().unwrap());
    let inherited = dapple_io::listen::inherited().unwrap();
    assert!(dapple_io::listen::inherited().unwrap().is_empty(), "they have an owner now");
    let (mut ready, mut end) = (None, None);
    let mut builder = io.listener();
    for Inherited { name, fd } in inherited {
        match name.as_str() {
            "ready" => ready = Some(std::fs::File::from(fd)),
            "end" => end = Some(std::fs::File::from(fd)),
            "web, with a comma" => builder = builder.take_over(fd),
            other => panic!("{other}"),
        }
    }
    let listener = builder.start(serve).unwrap();
    assert_eq!(listener.addrs().len(), 2, "{listener:?}");
    ready.unwrap().write_all(b"x").unwrap();
    // Waits until the parent closes the pipe.
    let _ = end.unwrap().read(&mut [0]);
    drop(listener);
}

#[test]
fn n10_a_process_hands_its_listeners_over_and_no_connection_is_lost() {
    for workers in [1, 2, 3] {
        let (_rt, io) = start(2);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = io.listener().bind(local()).bind(Addr::unix(&path)).start(serve).unwrap();
        let address = listener.local_addr();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut count = 0;
                        while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                            echoes(TcpStream::connect(address).unwrap());
                            echoes(UnixStream::connect(&path).unwrap());
                            count += 1;
                        }
                        count
                    })
                })
                .collect();
            let sockets = listener.sockets().unwrap();
            assert_eq!(sockets.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
            let (mut is_ready, ready) = std::io::pipe().unwrap();
            let (end, ends) = std::io::pipe().unwrap();
            let named = |name: &str, fd: OwnedFd| Inherited { name: name.to_owned(), fd };
            let mut all: Vec<_> =
                sockets.into_iter().flatten().map(|fd| named("web, with a comma", fd)).collect();
            all.extend([named("ready", ready.into()), named("end", end.into())]);
            let mut command = std::process::Command::new(std::env::current_exe().unwrap());
            command
                .args(["--exact", "child_of_the_test_of_handing_over"])
                .env("DAPPLE_TEST_HANDING_OVER", workers.to_string())
                .stdout(std::process::Stdio::null());
            let wrong = pass_on(&mut command, vec![named("a;b", all[0].fd.try_clone().unwrap())]);
            assert_eq!(wrong.unwrap_err().kind(), ErrorKind::InvalidInput);
            pass_on(&mut command, all).unwrap();
            let mut child = command.spawn().unwrap();
            drop(command);
            is_ready.read_exact(&mut [0]).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            listener.hand_over();
            assert!(path.exists(), "it is the other one's");
            // From now on the child serves all clients, on all of the sockets.
            for _ in 0..50 {
                echoes(TcpStream::connect(address).unwrap());
            }
            std::thread::sleep(Duration::from_millis(50));
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(clients.into_iter().all(|client| client.join().unwrap() > 0));
            drop(ends);
            assert!(child.wait().unwrap().success());
        });
        assert!(!path.exists(), "it was the child's");
        assert!(TcpStream::connect(address).is_err());
    }
}

/// The child that the test below starts: a bad environment is an error.
#[test]
fn child_of_the_test_of_a_bad_environment() {
    if std::env::var_os("DAPPLE_TEST_BAD_ENVIRONMENT").is_none() {
        return;
    }
    assert!(dapple_io::listen::inherited().is_err());
}

#[test]
fn n10_an_environment_that_names_no_descriptors_is_an_error() {
    for bad in ["x=web", "0=web", "50;", "9999=web", "17=a;17=b", "5"] {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "child_of_the_test_of_a_bad_environment"])
            .env("DAPPLE_TEST_BAD_ENVIRONMENT", "")
            .env("DAPPLE_HANDED_OVER", format!("{};{bad}", std::process::id()))
            .stdout(std::process::Stdio::null());
        assert!(command.status().unwrap().success(), "{bad}");
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    // Descriptors of another process are ignored.
    command
        .args(["--exact", "child_of_the_test_of_a_bad_environment"])
        .env("DAPPLE_TEST_BAD_ENVIRONMENT", "")
        .env("DAPPLE_HANDED_OVER", format!("{};x", std::process::id() + 1))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    assert!(!command.status().unwrap().success(), "no error, and nothing");
}

//! E18, N10: when a forked child drops its parent's objects, the parent keeps them. This program is
//! a test by itself, because only the thread that forks goes on in the child.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use dapple_io::stream::{Conn, ConnOptions, Protocol};
use dapple_io::{Addr, AsyncFd, Interest, Io};

struct Echo;

impl Protocol for Echo {
    fn on_data(&mut self, conn: &mut Conn, _: &mut dapple::Cx) {
        let bytes = conn.input().to_vec();
        conn.send(&bytes);
        conn.consume(bytes.len());
    }
}

fn echoes(path: &std::path::Path) {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

fn main() {
    let rt = dapple_io::runtime().workers(2).build().unwrap();
    let io = Io::of(&rt.handle());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = io.listener().bind(Addr::unix(&path)).start(|stream, cx| {
        stream.serve(&cx.new_color(), ConnOptions::default(), Echo);
    });
    let listener = listener.unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let (tx, rx) = mpsc::channel();
    let color = rt.handle().new_color();
    let edges = Interest::READABLE.edge_triggered();
    let registration = io.on_ready(ours, edges, &color, move |_, _| tx.send(()).unwrap()).unwrap();
    let signal = io.on_signal(libc::SIGWINCH, &color, |_| ()).unwrap();
    let (end, mut other) = UnixStream::pair().unwrap();
    end.set_nonblocking(true).unwrap();
    let awaited = AsyncFd::new(&io, end).unwrap();
    echoes(&path);
    rt.wait_idle();
    // SAFETY: the other threads of this process are idle, so they hold no lock that the child
    // needs. The child only drops its copies and uses a runtime of its own, and ends by `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: the call takes a number only. The signal ends a child that waits forever.
        unsafe { libc::alarm(60) };
        let child = std::panic::AssertUnwindSafe(move || {
            // The poller is the parent's, and would report to the parent what is registered here.
            let (end, _other) = UnixStream::pair().unwrap();
            let edges = Interest::READABLE.edge_triggered();
            assert!(io.on_ready(end, edges, &color, |_, _| ()).is_err());
            let local: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
            assert!(io.listener().bind(local).start(|_, _| ()).is_err());
            drop((listener, registration, signal, awaited));
            drop(rt);
            let own = dapple_io::runtime().workers(1).build().unwrap();
            let io = Io::of(&own.handle());
            let local: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
            let listener = io.listener().bind(local).start(|stream, cx| {
                stream.serve(&cx.new_color(), ConnOptions::default(), Echo);
            });
            let listener = listener.unwrap();
            let mut stream = std::net::TcpStream::connect(listener.local_addr()).unwrap();
            stream.write_all(b"child").unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
        });
        let status = i32::from(std::panic::catch_unwind(child).is_err());
        // SAFETY: the call takes a number only, and runs no code of the parent's.
        unsafe { libc::_exit(status) }
    }
    let mut status = 0;
    // SAFETY: the pointer is to `status`, which is valid for the call.
    let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!((waited, status), (pid, 0), "the child failed");
    // The parent's objects still work.
    echoes(&path);
    theirs.write_all(b"x").unwrap();
    rx.recv_timeout(Duration::from_secs(60)).unwrap();
    other.write_all(b"y").unwrap();
    rt.block_on(rt.handle().timeout(Duration::from_secs(60), awaited.readable())).unwrap().unwrap();
    drop((registration, signal));
    println!("ok");
}

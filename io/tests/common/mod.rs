//! What several of these tests begin with.
#![allow(dead_code, reason = "each test file is a program of its own, and uses some of it")]

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use dapple::Runtime;
use dapple_io::Io;

/// A runtime with so many workers, and its I/O.
pub fn start(workers: usize) -> (Runtime, Io) {
    let rt = dapple_io::runtime().workers(workers).build().unwrap();
    let io = Io::of(&rt.handle());
    (rt, io)
}

/// Two connected streams; the first one does not block.
pub fn pair() -> (UnixStream, UnixStream) {
    let (a, b) = UnixStream::pair().unwrap();
    a.set_nonblocking(true).unwrap();
    (a, b)
}

/// Two streams that are connected with each other.
pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

/// Holds the default color, and a worker with it, until what is returned is dropped.
pub fn hold(rt: &Runtime) -> mpsc::Sender<()> {
    let (go, wait) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    rt.handle().post_default(move |_| {
        begun.send(()).unwrap();
        let _ = wait.recv();
    });
    has_begun.recv().unwrap();
    go
}

//! What several of these tests begin with.
#![allow(dead_code, reason = "each test file is a program of its own, and uses some of it")]

use std::os::unix::net::UnixStream;

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

//! The common setup of these tests.
#![allow(dead_code, reason = "each test file is a program of its own, and uses some of it")]

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;

use dapple::Runtime;
use dapple_io::Io;

/// Returns a runtime with this number of workers, and its I/O.
pub fn start(workers: usize) -> (Runtime, Io) {
    let rt = dapple_io::runtime().workers(workers).build().unwrap();
    let io = Io::of(&rt.handle());
    (rt, io)
}

/// Returns two connected streams, of which the first is non-blocking.
pub fn pair() -> (UnixStream, UnixStream) {
    let (a, b) = UnixStream::pair().unwrap();
    a.set_nonblocking(true).unwrap();
    (a, b)
}

/// Returns two connected TCP streams.
pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

/// Has a program start with a descriptor as its number 3, the first one that an activator passes.
pub fn pass_as_3(command: &mut Command, fd: RawFd) {
    // SAFETY: `dup2` and `fcntl` take numbers only, and are async-signal-safe, so they may be
    // called between fork and exec.
    unsafe {
        command.pre_exec(move || match libc::dup2(fd, 3) {
            -1 => Err(io::Error::last_os_error()),
            _ if fd == 3 && libc::fcntl(3, libc::F_SETFD, 0) == -1 => {
                Err(io::Error::last_os_error())
            }
            _ => Ok(()),
        });
    }
}

/// Blocks the default color, and a worker with it, until the returned sender is dropped.
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

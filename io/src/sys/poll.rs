//! Asking about one descriptor, now.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Says whether a read, or a write, of the descriptor would not block.
///
/// # Errors
///
/// Those of poll(2).
pub(crate) fn is_ready(fd: BorrowedFd<'_>, to: To) -> io::Result<bool> {
    let events = match to {
        To::Read => libc::POLLIN,
        To::Write => libc::POLLOUT,
    };
    let mut ask = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: the pointer is to one entry of ours, and a time of zero does not wait.
    let ready = unsafe { libc::poll(&mut ask, 1, 0) };
    match ready {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A copy of the descriptor of the system's poller, which is the same poller.
///
/// # Errors
///
/// Those of fcntl(2).
pub(crate) fn duplicate(poll: &mio::Poll) -> io::Result<OwnedFd> {
    // SAFETY: the poll owns the descriptor, which stays open as long as it is borrowed here.
    unsafe { BorrowedFd::borrow_raw(poll.as_raw_fd()) }.try_clone_to_owned()
}

/// What a descriptor is asked about for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum To {
    Read,
    Write,
}

/// Says whether a descriptor is in error, as a pipe is whose reader is gone.
///
/// # Errors
///
/// Those of poll(2).
pub(crate) fn has_failed(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut ask = libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: the pointer is to one entry of ours, and a time of zero does not wait.
    match unsafe { libc::poll(&mut ask, 1, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(ask.revents & (libc::POLLERR | libc::POLLHUP) != 0),
    }
}

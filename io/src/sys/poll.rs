//! Questions about a single descriptor, answered without waiting.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Returns `true` if a read, or a write, of the descriptor would not block.
///
/// # Errors
///
/// Returns the errors of poll(2).
pub(crate) fn is_ready(fd: BorrowedFd<'_>, to: To) -> io::Result<bool> {
    let events = match to {
        To::Read => libc::POLLIN,
        To::Write => libc::POLLOUT,
    };
    let mut ask = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: the pointer leads to one local entry, as the count says. A timeout of zero does not
    // wait.
    let ready = unsafe { libc::poll(&mut ask, 1, 0) };
    match ready {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns a duplicate of the poller's descriptor, which refers to the same poller.
///
/// # Errors
///
/// Returns the errors of fcntl(2).
pub(crate) fn duplicate(poll: &mio::Poll) -> io::Result<OwnedFd> {
    // SAFETY: `poll` owns the descriptor, and is borrowed for longer than the descriptor is
    // borrowed here.
    unsafe { BorrowedFd::borrow_raw(poll.as_raw_fd()) }.try_clone_to_owned()
}

/// The operation that a descriptor may be ready for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum To {
    Read,
    Write,
}

/// Returns `true` if a descriptor is in error or hung up, as a pipe is whose reader is gone.
///
/// # Errors
///
/// Returns the errors of poll(2).
pub(crate) fn has_failed(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut ask = libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: the pointer leads to one local entry, as the count says. A timeout of zero does not
    // wait.
    match unsafe { libc::poll(&mut ask, 1, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(ask.revents & (libc::POLLERR | libc::POLLHUP) != 0),
    }
}

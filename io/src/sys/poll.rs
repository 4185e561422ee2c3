//! Asking about one descriptor, now.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

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

/// What a descriptor is asked about for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum To {
    Read,
    Write,
}

//! Accepting a connection of any address family, in one system call.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};

use socket2::{SockAddr, Socket};

/// Accepts a connection. The new socket is non-blocking and close-on-exec.
///
/// # Errors
///
/// Returns the errors of accept(2), among them `WouldBlock` if no connection waits.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(Socket, SockAddr)> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let fd = listener.as_raw_fd();
    // SAFETY: the listener is borrowed, so its descriptor is open. `try_init` passes a storage and
    // its length, and accept4 writes an address of at most that length to it. The descriptor that
    // accept4 returns is new, so nothing else owns it.
    unsafe {
        SockAddr::try_init(|storage, length| {
            match libc::accept4(fd, storage.cast(), length, flags) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Socket::from_raw_fd(fd)),
            }
        })
    }
}

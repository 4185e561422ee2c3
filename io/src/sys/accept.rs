//! Accepting a connection, of whatever family, in one call.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};

use socket2::{SockAddr, Socket};

/// Accepts a connection. Its socket does not block, and is closed by exec(2).
///
/// # Errors
///
/// Those of accept(2); `WouldBlock` if nobody waits.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(Socket, SockAddr)> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let fd = listener.as_raw_fd();
    // SAFETY: the descriptor is open while it is borrowed; the storage is as large as its length
    // says, and the system writes an address to it, and how long that is. What it gives is a
    // socket that nobody else owns.
    unsafe {
        SockAddr::try_init(|storage, length| {
            match libc::accept4(fd, storage.cast(), length, flags) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Socket::from_raw_fd(fd)),
            }
        })
    }
}

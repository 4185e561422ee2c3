//! System calls that neither the standard library nor mio offer. All unsafe code of this crate.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sends up to `count` bytes of a file from `offset` on into a socket, in the kernel. Zero: the
/// file ends there.
///
/// # Errors
///
/// Those of sendfile(2); `WouldBlock` if the socket is full.
pub(crate) fn sendfile(
    socket: BorrowedFd<'_>,
    file: &File,
    offset: u64,
    count: usize,
) -> io::Result<usize> {
    let mut at = libc::off_t::try_from(offset)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the offset is too large"))?;
    // SAFETY: both descriptors are open while they are borrowed, and `at` is ours.
    let sent = unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &mut at, count) };
    check(sent)
}

/// Sends bytes that are followed by more at once: the kernel may wait for these before it sends
/// a packet that is not full.
///
/// # Errors
///
/// Those of send(2); `WouldBlock` if the socket is full.
pub(crate) fn send_more(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_MORE | libc::MSG_NOSIGNAL;
    // SAFETY: the descriptor is open while it is borrowed, and the bytes are readable.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    check(sent)
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

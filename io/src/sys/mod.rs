//! System calls that neither the standard library nor mio offers. All unsafe code of this crate is
//! here, except for that of `hyper.rs`.
//!
//! * [`accept`]: accepting a connection; [`ancillary`]: what travels with the bytes of a Unix
//!   socket.
//! * [`datagrams`]: many datagrams in one call.
//! * [`inherited`]: descriptors from another process; [`process`]: child processes.
//! * [`timerfd`]: timers by other clocks.
//! * [`interest`]: registering with the poller; [`poll`]: asking about one descriptor without
//!   waiting.
//! * This file: sending bytes and files to sockets, and a few calls about descriptors.
//!
//! # SIGPIPE
//!
//! A write to a socket whose peer has gone must return an error, whatever the process does about
//! SIGPIPE. Otherwise a host in C, or a program that restores the default, would be killed by the
//! signal. So bytes are sent by send(2) and sendmsg(2), which can be told not to raise it. Neither
//! sendfile(2) nor write(2) can. A thread that sends a file, or writes to a pipe, therefore blocks
//! the signal for itself, from the first time on. (Processes that the standard library starts begin
//! with no signal blocked.)

mod accept;
mod ancillary;
mod datagrams;
mod inherited;
mod interest;
mod poll;
mod process;
mod timerfd;

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

pub(crate) use self::accept::accept;
pub(crate) use self::ancillary::{MOST_FDS, peer_credentials, receive_fds, send_fds};
pub(crate) use self::datagrams::{BATCH, ToSend, cuts_segments, receive_many, send_many};
pub(crate) use self::inherited::{pass_on, take_inherited};
pub(crate) use self::interest::{Asks, Operation, ask, forget};
pub(crate) use self::poll::{To, duplicate, has_failed, is_ready};
pub(crate) use self::process::{process_fd, send_signal};
pub(crate) use self::timerfd::{TimerAt, TimerClock, TimerTells, read_timer, timer};
use crate::thread;

/// The most slices that one call takes (IOV_MAX). The system refuses more.
pub(crate) const MOST_SLICES: usize = 1024;

/// Blocks SIGPIPE for the calling thread.
pub(crate) fn block_sigpipe() {
    if !thread::replace_sigpipe_blocked() {
        // SAFETY: `set` is a local, and `sigemptyset` initializes it before it is used. The null
        // pointer means that the old mask is not returned.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGPIPE);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        }
    }
}

/// Sends up to `count` bytes of a file, from `offset` on, to a socket without copying them through
/// user space. Returns 0 if the file ends at `offset`.
///
/// # Errors
///
/// Returns the errors of sendfile(2), among them `WouldBlock` if the socket is full. Returns
/// `InvalidInput` if `offset` is too large for the system.
pub(crate) fn sendfile(
    socket: BorrowedFd<'_>,
    file: &File,
    offset: u64,
    count: usize,
) -> io::Result<usize> {
    let mut at = libc::off_t::try_from(offset)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the offset is too large"))?;
    block_sigpipe();
    // SAFETY: both descriptors are borrowed, so they are open. `at` is a local.
    let sent = unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &mut at, count) };
    check(sent)
}

/// Sends bytes that more bytes follow at once, so that the kernel may wait for those before it
/// sends a packet that is not full.
///
/// # Errors
///
/// Returns the errors of send(2), among them `WouldBlock` if the socket is full.
pub(crate) fn send_more(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_MORE | libc::MSG_NOSIGNAL;
    // SAFETY: the socket is borrowed, so its descriptor is open. The pointer and the length are
    // those of a slice.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    check(sent)
}

/// Sends several slices in one call, as `write_vectored` does, but raises no SIGPIPE. Slices after
/// the first [`MOST_SLICES`] are not sent.
///
/// # Errors
///
/// Returns the errors of sendmsg(2), among them `WouldBlock` if the socket is full.
pub(crate) fn send_slices(socket: &impl AsFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let slices = &slices[..slices.len().min(MOST_SLICES)];
    socket2::SockRef::from(socket).send_vectored_with_flags(slices, libc::MSG_NOSIGNAL)
}

/// The flag by which send(2) returns an error if the peer is gone, and raises no signal.
pub(crate) const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;

/// Copies bytes that have arrived in a socket, and leaves them in the socket.
///
/// # Errors
///
/// Returns the errors of recv(2), among them `WouldBlock` if no bytes have arrived.
pub(crate) fn peek(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the socket is borrowed, so its descriptor is open. The system writes only to `buf`,
    // which is borrowed mutably, and no more than its length.
    let seen = unsafe {
        libc::recv(socket.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), libc::MSG_PEEK)
    };
    check(seen)
}

/// Makes a descriptor non-blocking.
///
/// # Errors
///
/// Returns the errors of fcntl(2).
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed, so it is open, and the calls take numbers only.
    let done = unsafe {
        match libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) {
            -1 => -1,
            flags => libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK),
        }
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns the device number and the inode number of the file behind a descriptor, which tell it
/// from other open files.
///
/// # Errors
///
/// Returns the errors of fstat(2), for example for a descriptor that is not open.
pub(crate) fn identity(fd: RawFd) -> io::Result<(u64, u64)> {
    // SAFETY: `stat` is a local C structure for which all zeros are a valid value. For a descriptor
    // that is not open, the call returns an error.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        match libc::fstat(fd, &mut stat) {
            0 => Ok((stat.st_dev as _, stat.st_ino as _)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Makes `fd` refer to the file behind `with`. `fd` keeps its number and becomes close-on-exec.
///
/// # Errors
///
/// Returns the errors of dup3(2).
pub(crate) fn replace(fd: BorrowedFd<'_>, with: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are borrowed, so they are open. The owner of `fd` uses the file
    // behind `with` from then on, which is what the caller asks for.
    let done = unsafe { libc::dup3(with.as_raw_fd(), fd.as_raw_fd(), libc::O_CLOEXEC) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns the highest signal number.
pub(crate) fn last_signal() -> i32 {
    libc::SIGRTMAX()
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

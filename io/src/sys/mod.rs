//! System calls that neither the standard library nor mio offer. All unsafe code of this crate, but
//! for `hyper.rs`.
//!
//! * [`accept`]: a connection; [`ancillary`]: what goes along with bytes.
//! * [`datagrams`]: many in one call.
//! * [`inherited`]: descriptors from another process; [`process`]: children; [`fork`]: whether this
//!   is a forked child.
//! * [`timerfd`]: timers by other clocks.
//! * [`interest`]: what the poller is asked for; [`poll`]: asking about one descriptor, now.
//! * Here: bytes and files into sockets.
//!
//! # SIGPIPE
//!
//! A write to a socket whose peer has gone must give an error, whatever the process does about
//! SIGPIPE: a host in C, or a program that restores the default, would die of it. So bytes are sent
//! by send(2) and sendmsg(2), which can be told not to raise it. sendfile(2) cannot, nor can
//! write(2): a thread that sends a file, or writes to a pipe, blocks the signal for itself, from
//! the first time on. (What the standard library spawns begins with no signal blocked.)

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
pub(crate) use self::interest::{Asked, Asks, ask, forget};
pub(crate) use self::poll::{To, duplicate, has_failed, is_ready};
pub(crate) use self::process::{process_fd, send_signal};
pub(crate) use self::timerfd::{TimerAt, TimerClock, TimerTells, read_timer, timer};
use crate::thread;

/// Slices that the system takes at once (IOV_MAX): more are not looked at.
pub(crate) const MOST_SLICES: usize = 1024;

/// Keeps the calling thread from SIGPIPE.
pub(crate) fn block_sigpipe() {
    if !thread::blocks_sigpipe() {
        // SAFETY: the set is ours, and is made empty before it is used; a null pointer asks for no
        // answer.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGPIPE);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        }
    }
}

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
    block_sigpipe();
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

/// Sends several slices at once, as `write_vectored` does, but raises no SIGPIPE.
///
/// # Errors
///
/// Those of sendmsg(2); `WouldBlock` if the socket is full.
pub(crate) fn send_slices(socket: &impl AsFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let slices = &slices[..slices.len().min(MOST_SLICES)];
    socket2::SockRef::from(socket).send_vectored_with_flags(slices, libc::MSG_NOSIGNAL)
}

/// For send(2): a peer that is gone is an error, and no signal.
pub(crate) const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;

/// Looks at what has arrived in a socket, and leaves it there.
///
/// # Errors
///
/// Those of recv(2); `WouldBlock` if nothing has.
pub(crate) fn peek(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the descriptor is open while it is borrowed, and the system only writes to the
    // buffer, which is ours.
    let seen = unsafe {
        libc::recv(socket.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), libc::MSG_PEEK)
    };
    check(seen)
}

/// Has reads and writes of a descriptor not wait.
///
/// # Errors
///
/// Those of fcntl(2).
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open while it is borrowed, and the calls take numbers only.
    let done = unsafe {
        match libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) {
            -1 => -1,
            flags => libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK),
        }
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What tells the file behind a descriptor from others that are open: its device and its number.
///
/// # Errors
///
/// Those of fstat(2), for a descriptor that is not open.
pub(crate) fn identity(fd: RawFd) -> io::Result<(u64, u64)> {
    // SAFETY: a zeroed answer is a valid one, and it is ours; a descriptor that is not open is an
    // error.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        match libc::fstat(fd, &mut stat) {
            0 => Ok((stat.st_dev as _, stat.st_ino as _)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Puts another file behind a descriptor, whose number stays. It is closed by exec(2).
///
/// # Errors
///
/// Those of dup3(2).
pub(crate) fn replace(fd: BorrowedFd<'_>, with: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are open while they are borrowed. Who has the first one reads from
    // the second one's file from now on, which is what the caller wants.
    let done = unsafe { libc::dup3(with.as_raw_fd(), fd.as_raw_fd(), libc::O_CLOEXEC) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The highest number of a signal.
pub(crate) fn last_signal() -> i32 {
    libc::SIGRTMAX()
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

//! Processes by descriptors (pidfd_open(2)), which tell of their end, and do not stand for another
//! process when that has come.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A descriptor of a child that has not been waited for. It is readable when the child has ended.
///
/// # Errors
///
/// Those of pidfd_open(2): `Unsupported` on Linux before 5.3, and on other systems.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn process_fd(process: u32) -> io::Result<OwnedFd> {
    let process = libc::pid_t::try_from(process).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the call takes numbers only. What it gives is a descriptor that nobody else owns,
    // which is closed by exec(2).
    unsafe {
        match libc::syscall(libc::SYS_pidfd_open, process, 0) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd as i32)),
        }
    }
}

/// Sends a signal to a process.
///
/// # Errors
///
/// Those of pidfd_send_signal(2): ESRCH if it has ended.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn send_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open while it is borrowed; a null pointer asks for the information
    // that kill(2) would send.
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, none, 0) };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Other systems have none.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn process_fd(_: u32) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Other systems have none.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn send_signal(_: BorrowedFd<'_>, _: i32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

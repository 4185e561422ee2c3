//! Processes by descriptors (pidfd_open(2)).
//!
//! Such a descriptor reports the end of its process. After that end it never refers to another
//! process, as a reused process ID would.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Returns a descriptor for a child that has not been waited for. The descriptor becomes readable
/// when the child has ended.
///
/// # Errors
///
/// Returns the errors of pidfd_open(2), and `Unsupported` on Linux before 5.3 and on other systems.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn process_fd(process: u32) -> io::Result<OwnedFd> {
    let process = libc::pid_t::try_from(process).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the call takes numbers only. The descriptor that it returns is new, so nothing else
    // owns it. pidfd_open(2) makes it close-on-exec.
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
/// Returns the errors of pidfd_send_signal(2), for example ESRCH if the process has ended, and
/// `Unsupported` on other systems.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn send_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is borrowed, so it is open. A null pointer makes the system fill in
    // the information that kill(2) would send.
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, none, 0) };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns `Unsupported`, as other systems have no such descriptors.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn process_fd(_: u32) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns `Unsupported`, as other systems have no such descriptors.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn send_signal(_: BorrowedFd<'_>, _: i32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

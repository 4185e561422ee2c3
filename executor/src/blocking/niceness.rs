//! How willing a thread is to let others run before it.

use std::io;

/// Sets the niceness of the calling thread, which Linux keeps per thread.
///
/// # Errors
///
/// What the system says: `PermissionDenied` for less than the process has, without the right.
#[cfg(target_os = "linux")]
pub(super) fn set_niceness(nice: i32) -> io::Result<()> {
    // SAFETY: the call takes numbers only. Zero is the calling thread.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Elsewhere it is of the whole process, and left alone.
#[cfg(not(target_os = "linux"))]
pub(super) fn set_niceness(_nice: i32) -> io::Result<()> {
    Ok(())
}

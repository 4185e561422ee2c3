//! The niceness of a thread: how willing it is to let others run before it.

use std::io;

/// Sets the niceness of the calling thread, which Linux keeps per thread.
///
/// # Errors
///
/// Returns the error of the system: `PermissionDenied` if `nice` is lower than the present niceness
/// and the process has no right to lower it.
#[cfg(target_os = "linux")]
pub(super) fn set_niceness(nice: i32) -> io::Result<()> {
    // SAFETY: `setpriority` takes numbers and touches no memory of the process. The id 0 stands for
    // the calling thread.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Does nothing: elsewhere the niceness belongs to the whole process, and is left alone.
#[cfg(not(target_os = "linux"))]
pub(super) fn set_niceness(_nice: i32) -> io::Result<()> {
    Ok(())
}

//! Descriptors that a process has been started with.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The first of them; those before are the standard ones.
const FIRST: RawFd = 3;

/// Takes one of the descriptors that the environment says this process has been started with,
/// counted from 0. It is closed by exec(2) from now on. The caller takes each once in the life of
/// the process.
///
/// # Errors
///
/// Those of fcntl(2), if it is not open.
pub(crate) fn take_inherited(offset: u32) -> io::Result<OwnedFd> {
    let fd = i32::try_from(offset).ok().and_then(|offset| FIRST.checked_add(offset));
    let fd = fd.ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: the calls take numbers only. The descriptor is open if they succeed, and is ours by
    // what the environment says: whoever started the process has given it to it, and nothing of
    // the process owns it, as it is taken once.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFD);
        if flags == -1 || libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC) == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

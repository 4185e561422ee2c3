//! Descriptors that a process has been started with.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use dapple::sync::{AtomicBool, Ordering};

/// The first of them; those before are the standard ones.
const FIRST: RawFd = 3;

/// The descriptors have been taken.
static ARE_TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the descriptors that the environment says this process has been started with, so many.
/// They are closed by exec(2) from now on. `None`: they have been taken before.
///
/// # Errors
///
/// Those of fcntl(2), if one of them is not open.
pub(crate) fn take_inherited(count: u32) -> io::Result<Option<Vec<OwnedFd>>> {
    if ARE_TAKEN.load(Ordering::SeqCst) {
        return Ok(None);
    }
    for offset in 0..count {
        // None is taken unless all are there.
        check_open(number(offset)?)?;
    }
    if ARE_TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(None);
    }
    (0..count).map(take_one).collect::<io::Result<_>>().map(Some)
}

fn number(offset: u32) -> io::Result<RawFd> {
    let fd = i32::try_from(offset).ok().and_then(|offset| FIRST.checked_add(offset));
    fd.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn check_open(fd: RawFd) -> io::Result<()> {
    // SAFETY: the call takes numbers only; a descriptor that is not open is an error.
    match unsafe { libc::fcntl(fd, libc::F_GETFD) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn take_one(offset: u32) -> io::Result<OwnedFd> {
    let fd = number(offset)?;
    // SAFETY: the calls take numbers only. The descriptor is open if they succeed, and is ours by
    // what the environment says: the process's parent has given it to it. Nothing of the process
    // owns it, as `take_inherited` goes through them once in the life of the process.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFD);
        if flags == -1 || libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC) == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

//! Descriptors that this process was started with, or passes on to a process that it starts.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use dapple::sync::{AtomicBool, Ordering};

/// The inherited descriptors have been taken.
static ARE_TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the descriptors with these numbers, which the environment says this process was started
/// with, and makes them close-on-exec. Returns `None` if they were taken before.
///
/// # Errors
///
/// Returns the errors of fcntl(2) if a descriptor is not open. Returns `InvalidData` if a number is
/// that of a standard descriptor or negative, or appears twice.
pub(crate) fn take_inherited(numbers: &[RawFd]) -> io::Result<Option<Vec<OwnedFd>>> {
    if ARE_TAKEN.load(Ordering::SeqCst) {
        return Ok(None);
    }
    let is_twice = |index: usize| numbers[..index].contains(&numbers[index]);
    if (0..numbers.len()).any(|index| numbers[index] <= libc::STDERR_FILENO || is_twice(index)) {
        let why = "the environment names a standard descriptor, or a descriptor twice";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    // All of them are checked before the first one is taken.
    numbers.iter().try_for_each(|fd| check_open(*fd))?;
    if ARE_TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(None);
    }
    numbers.iter().map(|fd| take_one(*fd)).collect::<io::Result<_>>().map(Some)
}

/// Leaves descriptors open, under their numbers, in the process that `command` starts. This process
/// closes them when `command` is dropped.
pub(crate) fn pass_on(command: &mut Command, fds: Vec<OwnedFd>) {
    let keep = move || {
        for fd in &fds {
            // SAFETY: fcntl with `F_SETFD` takes numbers only.
            if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure is safe between fork and exec. It makes one system call for each
    // descriptor, and makes an error from a number. It takes no lock and allocates no memory.
    unsafe { command.pre_exec(keep) };
}

fn check_open(fd: RawFd) -> io::Result<()> {
    // SAFETY: fcntl with `F_GETFD` takes numbers only, and returns an error for a descriptor that
    // is not open.
    match unsafe { libc::fcntl(fd, libc::F_GETFD) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn take_one(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the fcntl calls take numbers only, and succeed only if the descriptor is open. This
    // process owns the descriptor, because the environment says that the parent has passed it on.
    // Nothing else in the process owns it: `take_inherited` takes the numbers once in the life of
    // the process, and refuses a number that appears twice.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFD);
        if flags == -1 || libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC) == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

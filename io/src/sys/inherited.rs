//! Descriptors that a process has been started with.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use dapple::sync::{AtomicBool, Ordering};

/// The descriptors have been taken.
static ARE_TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the descriptors that the environment says this process has been started with. They are
/// closed by exec(2) from now on. `None`: they have been taken before.
///
/// # Errors
///
/// Those of fcntl(2), if one of them is not open. `InvalidData` if one is a standard one, or there
/// twice.
pub(crate) fn take_inherited(numbers: &[RawFd]) -> io::Result<Option<Vec<OwnedFd>>> {
    if ARE_TAKEN.load(Ordering::SeqCst) {
        return Ok(None);
    }
    let is_twice = |index: usize| numbers[..index].contains(&numbers[index]);
    if (0..numbers.len()).any(|index| numbers[index] <= libc::STDERR_FILENO || is_twice(index)) {
        let why = "the descriptors that the environment names are not different ones";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    // None is taken unless all are there.
    numbers.iter().try_for_each(|fd| check_open(*fd))?;
    if ARE_TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(None);
    }
    numbers.iter().map(|fd| take_one(*fd)).collect::<io::Result<_>>().map(Some)
}

/// Has a command leave descriptors open in the process that it starts, under their numbers. They
/// are closed here when the command is dropped.
pub(crate) fn pass_on(command: &mut Command, fds: Vec<OwnedFd>) {
    let keep = move || {
        for fd in &fds {
            // SAFETY: the call takes numbers only.
            if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes one system call for each descriptor, and an
    // error of a number; nothing that takes a lock or memory.
    unsafe { command.pre_exec(keep) };
}

fn check_open(fd: RawFd) -> io::Result<()> {
    // SAFETY: the call takes numbers only; a descriptor that is not open is an error.
    match unsafe { libc::fcntl(fd, libc::F_GETFD) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn take_one(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the calls take numbers only. The descriptor is open if they succeed, and is ours by
    // what the environment says: the process's parent has given it to it. Nothing of the process
    // owns it, as `take_inherited` goes through them once in the life of the process, and none is
    // among them twice.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFD);
        if flags == -1 || libc::fcntl(fd, libc::F_SETFD, flags | libc::FD_CLOEXEC) == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

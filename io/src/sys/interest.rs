//! Registering raw descriptors with the system's poller, level-triggered too, which mio does not
//! offer.

use std::io;
use std::os::fd::RawFd;

use mio::{Registry, Token};

/// The readiness that the poller reports for a descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asks {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) priority: bool,
    /// The poller reports as long as the descriptor is ready (`true`), or only when it becomes
    /// ready.
    pub(crate) levels: bool,
}

/// The change of the poller's interest in a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The poller does not know the descriptor.
    Add,
    /// The poller knows the descriptor.
    Modify,
}

/// Tells the poller what to report about a descriptor. The poller then looks at the descriptor
/// afresh, and reports what is ready already.
///
/// # Errors
///
/// Returns the errors of epoll_ctl(2): `PermissionDenied` for a descriptor that cannot be polled,
/// and `NotFound` or EBADF for one that was closed.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn ask(
    registry: &Registry,
    fd: RawFd,
    token: Token,
    operation: Operation,
    asks: &Asks,
) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let flags = [
        (asks.readable, libc::EPOLLIN | libc::EPOLLRDHUP),
        (asks.writable, libc::EPOLLOUT),
        (asks.priority, libc::EPOLLPRI),
        (!asks.levels, libc::EPOLLET),
    ];
    let events = flags.into_iter().filter(|(is, _)| *is).fold(0, |all, (_, flag)| all | flag);
    let mut event = libc::epoll_event { events: events as u32, u64: token.0 as u64 };
    let operation = match operation {
        Operation::Add => libc::EPOLL_CTL_ADD,
        Operation::Modify => libc::EPOLL_CTL_MOD,
    };
    // SAFETY: the registry is borrowed, so the poller is open. `event` is a local. For a descriptor
    // that is not open, the call returns an error.
    let done = unsafe { libc::epoll_ctl(registry.as_raw_fd(), operation, fd, &mut event) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Other systems use mio's interface, which is edge-triggered and has no priority.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn ask(
    registry: &Registry,
    fd: RawFd,
    token: Token,
    operation: Operation,
    asks: &Asks,
) -> io::Result<()> {
    use mio::Interest;
    use mio::unix::SourceFd;

    let all = [(asks.readable, Interest::READABLE), (asks.writable, Interest::WRITABLE)];
    let interests = all.into_iter().filter(|(is, _)| *is).map(|(_, interest)| interest);
    let Some(interest) = interests.reduce(|all, one| all | one) else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    match operation {
        Operation::Add => registry.register(&mut SourceFd(&fd), token, interest),
        Operation::Modify => registry.reregister(&mut SourceFd(&fd), token, interest),
    }
}

/// Removes a descriptor from the poller.
///
/// # Errors
///
/// Returns the errors of epoll_ctl(2), for example for a descriptor that was closed.
pub(crate) fn forget(registry: &Registry, fd: RawFd) -> io::Result<()> {
    registry.deregister(&mut mio::unix::SourceFd(&fd))
}

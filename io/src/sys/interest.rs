//! Asking the system's poller about a raw descriptor, for levels too, which mio does not offer.

use std::io;
use std::os::fd::RawFd;

use mio::{Registry, Token};

/// What the system is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asks {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) priority: bool,
    /// To report as long as it is ready, and not only when it becomes so.
    pub(crate) levels: bool,
}

/// Whether the system knows the descriptor already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    First,
    Again,
}

/// Asks the system about a descriptor, which is looked at afresh.
///
/// # Errors
///
/// Those of epoll_ctl(2): `PermissionDenied` for what cannot be polled, `NotFound` or a bad
/// descriptor for one that was closed.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn ask(
    registry: &Registry,
    fd: RawFd,
    token: Token,
    asked: Asked,
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
    let operation = match asked {
        Asked::First => libc::EPOLL_CTL_ADD,
        Asked::Again => libc::EPOLL_CTL_MOD,
    };
    // SAFETY: the poller is open while its registry is borrowed, the event is ours; a descriptor
    // that is not open is an error.
    let done = unsafe { libc::epoll_ctl(registry.as_raw_fd(), operation, fd, &mut event) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Elsewhere there are edges only.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn ask(
    registry: &Registry,
    fd: RawFd,
    token: Token,
    asked: Asked,
    asks: &Asks,
) -> io::Result<()> {
    use mio::Interest;
    use mio::unix::SourceFd;

    let all = [(asks.readable, Interest::READABLE), (asks.writable, Interest::WRITABLE)];
    let interests = all.into_iter().filter(|(is, _)| *is).map(|(_, interest)| interest);
    let Some(interest) = interests.reduce(|all, one| all | one) else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    match asked {
        Asked::First => registry.register(&mut SourceFd(&fd), token, interest),
        Asked::Again => registry.reregister(&mut SourceFd(&fd), token, interest),
    }
}

/// The system is not asked about a descriptor any more.
///
/// # Errors
///
/// Those of epoll_ctl(2), for a descriptor that was closed.
pub(crate) fn forget(registry: &Registry, fd: RawFd) -> io::Result<()> {
    registry.deregister(&mut mio::unix::SourceFd(&fd))
}

//! The poller, which reports ready descriptors: epoll, or poll(2) for files that epoll refuses.
//!
//! poll(2) reports a regular file as ready, while epoll refuses it. A program that waits for files
//! asks libevent for poll, by the environment variable `EVENT_NOEPOLL` or by its configuration.

use std::collections::HashMap;
use std::ffi::{CStr, c_int, c_short};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::fds::Wanted;
use super::layout::{EV_CLOSED, EV_ET, EV_READ, EV_WRITE};

/// The number of events that one call of epoll returns at first, and its maximum.
const EVENTS: usize = 32;
const MOST_EVENTS: usize = 4_096;

/// The system call that watches descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Epoll,
    Poll,
}

impl Method {
    /// The methods, in the order in which they are tried.
    pub(super) const ALL: [Method; 2] = [Method::Epoll, Method::Poll];

    pub(super) fn name(self) -> &'static CStr {
        match self {
            Method::Epoll => c"epoll",
            Method::Poll => c"poll",
        }
    }

    /// The environment variable that forbids the method.
    pub(super) fn forbidden_by(self) -> &'static CStr {
        match self {
            Method::Epoll => c"EVENT_NOEPOLL",
            Method::Poll => c"EVENT_NOPOLL",
        }
    }

    /// Returns the method's `event_method_feature` flags.
    ///
    /// 1: edge triggers. 2: the cost of adding an event does not depend on their number. 4: any
    /// kind of descriptor. 8: the end of the peer is reported as `EV_CLOSED`.
    pub(super) fn features(self) -> c_int {
        match self {
            Method::Epoll => 1 | 2 | 8,
            Method::Poll => 4,
        }
    }
}

/// A descriptor, and the flags for what it is ready for.
pub(super) type Ready = (c_int, c_short);

/// A poller with what it watches.
pub(super) enum Poller {
    Epoll {
        fd: OwnedFd,
        events: Vec<libc::epoll_event>,
    },
    /// `spare` is the memory of the last copy of `fds`, for the next one.
    Poll {
        fds: Vec<libc::pollfd>,
        places: HashMap<c_int, usize>,
        spare: Vec<libc::pollfd>,
    },
}

fn last_error() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

impl Poller {
    /// Makes a poller. Returns `None` if the system refuses it.
    pub(super) fn new(method: Method) -> Option<Poller> {
        match method {
            Method::Poll => {
                Some(Poller::Poll { fds: Vec::new(), places: HashMap::new(), spare: Vec::new() })
            }
            Method::Epoll => {
                // SAFETY: the call takes a flag. Nobody else has the descriptor that it returns.
                let fd = unsafe {
                    let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
                    (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))?
                };
                let events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS];
                Some(Poller::Epoll { fd, events })
            }
        }
    }

    /// Returns a copy of the epoll descriptor; `None` for poll(2).
    pub(super) fn duplicate(&self) -> Option<OwnedFd> {
        match self {
            Poller::Epoll { fd, .. } => fd.try_clone().ok(),
            Poller::Poll { .. } => None,
        }
    }

    pub(super) fn method(&self) -> Method {
        match self {
            Poller::Epoll { .. } => Method::Epoll,
            Poller::Poll { .. } => Method::Poll,
        }
    }

    /// Changes what is watched at a descriptor. The error is the system's `errno`.
    pub(super) fn change(&mut self, fd: c_int, before: Wanted, after: Wanted) -> Result<(), c_int> {
        if before == after {
            return Ok(());
        }
        match self {
            Poller::Epoll { fd: epoll, .. } => change_epoll(epoll.as_raw_fd(), fd, before, after),
            Poller::Poll { fds, places, .. } => {
                change_poll(fds, places, fd, after);
                Ok(())
            }
        }
    }

    /// Takes out what a wait needs, so that other threads may change meanwhile what is watched.
    ///
    /// With epoll, a change takes effect during the wait; with poll(2), from the next wait on.
    pub(super) fn take_wait(&mut self) -> Wait {
        match self {
            Poller::Epoll { fd, events } => Wait::Epoll(fd.as_raw_fd(), std::mem::take(events)),
            Poller::Poll { fds, spare, .. } => {
                let mut copy = std::mem::take(spare);
                copy.clear();
                copy.extend_from_slice(fds);
                Wait::Poll(copy)
            }
        }
    }

    /// Puts back the memory of a wait that has ended.
    pub(super) fn put_back(&mut self, wait: Wait) {
        match (self, wait) {
            (Poller::Epoll { events, .. }, Wait::Epoll(_, taken)) => *events = taken,
            (Poller::Poll { spare, .. }, Wait::Poll(taken)) => *spare = taken,
            _ => {}
        }
    }
}

/// The memory of a wait, from [`Poller::take_wait`].
pub(super) enum Wait {
    /// The descriptor stays open during the wait, because the base lives while its loop runs.
    Epoll(c_int, Vec<libc::epoll_event>),
    Poll(Vec<libc::pollfd>),
}

impl Wait {
    /// Waits for at most `millis` milliseconds, or without a limit if it is -1. The error is the
    /// system's `errno`.
    pub(super) fn wait(&mut self, millis: c_int, ready: &mut Vec<Ready>) -> Result<(), c_int> {
        match self {
            Wait::Epoll(fd, events) => wait_epoll(*fd, events, millis, ready),
            Wait::Poll(fds) => wait_poll(fds, millis, ready),
        }
    }
}

fn change_epoll(epoll: c_int, fd: c_int, before: Wanted, after: Wanted) -> Result<(), c_int> {
    let bit = |what: c_short, bit: c_int| if after.what & what != 0 { bit as u32 } else { 0 };
    let events = bit(EV_READ, libc::EPOLLIN)
        | bit(EV_WRITE, libc::EPOLLOUT)
        | bit(EV_CLOSED, libc::EPOLLRDHUP)
        | bit(EV_ET, libc::EPOLLET);
    let mut event = libc::epoll_event { events, u64: fd as u64 };
    let mut ask = |op: c_int| {
        // SAFETY: `event` is a local variable.
        match unsafe { libc::epoll_ctl(epoll, op, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(last_error()),
        }
    };
    match (before.what, after.what) {
        (_, 0) => match ask(libc::EPOLL_CTL_DEL) {
            // The descriptor was closed before its event was deleted, and its number may be in use
            // again.
            Err(libc::ENOENT | libc::EBADF | libc::EPERM) | Ok(()) => Ok(()),
            error => error,
        },
        (0, _) => match ask(libc::EPOLL_CTL_ADD) {
            // It is still registered: the descriptor was closed, but a copy of it stayed open.
            Err(libc::EEXIST) => ask(libc::EPOLL_CTL_MOD),
            done => done,
        },
        _ => match ask(libc::EPOLL_CTL_MOD) {
            // The descriptor was closed, and another one has its number now.
            Err(libc::ENOENT) => ask(libc::EPOLL_CTL_ADD),
            done => done,
        },
    }
}

fn change_poll(
    fds: &mut Vec<libc::pollfd>,
    places: &mut HashMap<c_int, usize>,
    fd: c_int,
    after: Wanted,
) {
    let bit = |what: c_short, bit: c_short| if after.what & what != 0 { bit } else { 0 };
    let events =
        bit(EV_READ, libc::POLLIN) | bit(EV_WRITE, libc::POLLOUT) | bit(EV_CLOSED, libc::POLLRDHUP);
    match (places.get(&fd).copied(), events) {
        (Some(at), 0) => {
            fds.swap_remove(at);
            places.remove(&fd);
            if let Some(moved) = fds.get(at) {
                places.insert(moved.fd, at);
            }
        }
        (Some(at), _) => fds[at].events = events,
        (None, 0) => {}
        (None, _) => {
            places.insert(fd, fds.len());
            fds.push(libc::pollfd { fd, events, revents: 0 });
        }
    }
}

fn wait_epoll(
    fd: c_int,
    events: &mut Vec<libc::epoll_event>,
    millis: c_int,
    ready: &mut Vec<Ready>,
) -> Result<(), c_int> {
    // SAFETY: `events` has room for `events.len()` events.
    let n = unsafe { libc::epoll_wait(fd, events.as_mut_ptr(), events.len() as c_int, millis) };
    if n < 0 {
        return Err(last_error());
    }
    for event in &events[..n as usize] {
        let has = |bit: c_int| event.events & bit as u32 != 0;
        let what = match has(libc::EPOLLERR) || has(libc::EPOLLHUP) && !has(libc::EPOLLRDHUP) {
            true => EV_READ | EV_WRITE,
            false => {
                let of = |bit, what| if has(bit) { what } else { 0 };
                of(libc::EPOLLIN, EV_READ)
                    | of(libc::EPOLLOUT, EV_WRITE)
                    | of(libc::EPOLLRDHUP, EV_CLOSED)
            }
        };
        let edge = if what != 0 { EV_ET } else { 0 };
        ready.push((event.u64 as c_int, what | edge));
    }
    if n as usize == events.len() && events.len() < MOST_EVENTS {
        events.resize(2 * events.len(), libc::epoll_event { events: 0, u64: 0 });
    }
    Ok(())
}

fn wait_poll(fds: &mut [libc::pollfd], millis: c_int, ready: &mut Vec<Ready>) -> Result<(), c_int> {
    // SAFETY: `fds` has `fds.len()` entries.
    let n = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, millis) };
    if n < 0 {
        return Err(last_error());
    }
    for entry in fds.iter().filter(|entry| entry.revents != 0) {
        let has = |bit: c_short| entry.revents & bit != 0;
        // The program learns of an error by its next read or write.
        let both = has(libc::POLLHUP) || has(libc::POLLERR) || has(libc::POLLNVAL);
        let of = |bit, what| if both && what != EV_CLOSED || has(bit) { what } else { 0 };
        let what = of(libc::POLLIN, EV_READ)
            | of(libc::POLLOUT, EV_WRITE)
            | of(libc::POLLRDHUP, EV_CLOSED);
        if what != 0 {
            ready.push((entry.fd, what));
        }
    }
    Ok(())
}

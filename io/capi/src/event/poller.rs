//! What tells that descriptors are ready: epoll, or poll for what epoll refuses.
//!
//! A program that waits for files tells libevent by `EVENT_NOEPOLL` or its configuration to use
//! poll(2), which says of a file that it is ready; epoll refuses one.

use std::collections::HashMap;
use std::ffi::{CStr, c_int, c_short};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::fds::Wanted;
use super::layout::{EV_CLOSED, EV_ET, EV_READ, EV_WRITE};

/// Events that one look takes, at first and at most.
const EVENTS: usize = 32;
const MOST_EVENTS: usize = 4_096;

/// How descriptors are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Epoll,
    Poll,
}

impl Method {
    /// In the order in which they are tried.
    pub(super) const ALL: [Method; 2] = [Method::Epoll, Method::Poll];

    pub(super) fn name(self) -> &'static CStr {
        match self {
            Method::Epoll => c"epoll",
            Method::Poll => c"poll",
        }
    }

    /// The variable of the environment that forbids it.
    pub(super) fn forbidden_by(self) -> &'static CStr {
        match self {
            Method::Epoll => c"EVENT_NOEPOLL",
            Method::Poll => c"EVENT_NOPOLL",
        }
    }

    /// `event_method_feature`: 1: edges; 2: adding takes the same time however many there are; 4:
    /// any kind of descriptor; 8: the end of the peer is told by itself.
    pub(super) fn features(self) -> c_int {
        match self {
            Method::Epoll => 1 | 2 | 8,
            Method::Poll => 4,
        }
    }
}

/// A descriptor, and what it is ready for.
pub(super) type Ready = (c_int, c_short);

/// See the module.
pub(super) enum Poller {
    Epoll {
        fd: OwnedFd,
        events: Vec<libc::epoll_event>,
    },
    /// `spare`: room for a copy.
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
    /// `None`: the system refuses it.
    pub(super) fn new(method: Method) -> Option<Poller> {
        match method {
            Method::Poll => {
                Some(Poller::Poll { fds: Vec::new(), places: HashMap::new(), spare: Vec::new() })
            }
            Method::Epoll => {
                // SAFETY: the call takes a flag; its answer is a descriptor that nobody else has.
                let fd = unsafe {
                    let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
                    (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))?
                };
                let events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS];
                Some(Poller::Epoll { fd, events })
            }
        }
    }

    /// A copy of the descriptor of the system's poller, if it has one.
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

    /// Asks for something else of a descriptor than before. An error is that of the system.
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

    /// What is needed to wait while others change what is watched: with epoll that counts at once,
    /// with poll from the next wait on.
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

    /// The wait is over.
    pub(super) fn give_back(&mut self, wait: Wait) {
        match (self, wait) {
            (Poller::Epoll { events, .. }, Wait::Epoll(_, taken)) => *events = taken,
            (Poller::Poll { spare, .. }, Wait::Poll(taken)) => *spare = taken,
            _ => {}
        }
    }
}

/// See [`Poller::take_wait`].
pub(super) enum Wait {
    /// The descriptor is open as long as the base is there, which waits.
    Epoll(c_int, Vec<libc::epoll_event>),
    Poll(Vec<libc::pollfd>),
}

impl Wait {
    /// Waits for so many milliseconds; -1: without limit. An error is that of the system.
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
        // SAFETY: the pointer is to an event of ours.
        match unsafe { libc::epoll_ctl(epoll, op, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(last_error()),
        }
    };
    match (before.what, after.what) {
        (_, 0) => match ask(libc::EPOLL_CTL_DEL) {
            // Closed before it was deleted, and the number perhaps given to another.
            Err(libc::ENOENT | libc::EBADF | libc::EPERM) | Ok(()) => Ok(()),
            error => error,
        },
        (0, _) => match ask(libc::EPOLL_CTL_ADD) {
            // Of a descriptor that was closed while a copy of it stayed open.
            Err(libc::EEXIST) => ask(libc::EPOLL_CTL_MOD),
            done => done,
        },
        _ => match ask(libc::EPOLL_CTL_MOD) {
            // It was closed, and is another one now.
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
    // SAFETY: so many events are ours to be written.
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
    // SAFETY: the pointer is to so many entries of ours.
    let n = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, millis) };
    if n < 0 {
        return Err(last_error());
    }
    for entry in fds.iter().filter(|entry| entry.revents != 0) {
        let has = |bit: c_short| entry.revents & bit != 0;
        // Errors are found out by a read or write.
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

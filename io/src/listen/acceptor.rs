//! One listening socket in its reactor, which accepts (N3).
//!
//! Accepting is budgeted: a flood of connections does not keep a worker from its other work. When
//! the process has no descriptor left, the acceptor gives up the one that it keeps in reserve,
//! accepts with it, closes what it got, and takes the reserve again: the peers see a clean close
//! instead of waiting, and the acceptor goes on by itself when descriptors are free again.
//!
//! One that is closed first accepts what waits in the system, for closing it would reset those
//! connections, whose peers have been told that they are connected. One whose events are refused,
//! as the runtime of its color has ended, is closed (N11): otherwise peers would be connected, and
//! wait for ever.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use dapple::sync::{
    Arc, AtomicBool, AtomicU64, Mutex, MutexGuard, OnceLock, Ordering, PoisonError, Weak,
};
use dapple::{Color, Cx, Site};
use mio::unix::SourceFd;
use mio::{Interest, Token};

use super::bound::{Bound, Counted, Hungry};
use super::unlink::Unlink;
use crate::Addr;
use crate::reactor::{
    Io, News, OrElse, ReactorShared, Readiness, Registered, Seen, runtime_has_ended,
};
use crate::stream::Stream;
use crate::stream::socket::Socket;
use crate::sys;

/// Connections accepted in one event.
const BUDGET: usize = 32;

/// Connections that are accepted at most when it closes.
const LAST: usize = 8 * 1024;

/// After what time an acceptor that could not even shed tries again.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) type OnAccept = dyn Fn(Stream, &mut Cx) + Send + Sync;

/// Where the connections of an acceptor live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deals {
    /// At the worker that has accepted them.
    Here,
    /// At the workers in turn.
    Out,
}

/// What all acceptors of a listener have in common.
pub(super) struct Common {
    pub(super) io: Io,
    pub(super) bound: Arc<Bound>,
    pub(super) is_paused: AtomicBool,
    pub(super) shed: AtomicU64,
    pub(super) site: Site,
    pub(super) on_accept: Box<OnAccept>,
}

/// See the module.
pub(super) struct Acceptor {
    this: Weak<Acceptor>,
    common: Arc<Common>,
    reactor: Arc<ReactorShared>,
    token: OnceLock<Token>,
    color: Color,
    deals: Deals,
    is_queued: AtomicBool,
    /// See `bound`.
    is_hungry: AtomicBool,
    /// Reached in events of the color, and by `close`; `None`: closed.
    socket: Mutex<Option<Sockets>>,
}

struct Sockets {
    listener: socket2::Socket,
    reserve: Option<File>,
    /// The name in the file system that goes with it.
    unlink: Option<Unlink>,
}

impl Registered for Acceptor {
    fn ready(&self, _: Readiness, _: Seen, _: &mut Cx) {
        self.look();
    }

    fn tell(&self, news: News) {
        match news {
            News::Draining => {}
            News::Refused => {
                tracing::warn!("the runtime of a listener's color has ended: it listens no more");
                self.close();
            }
            // The `Listener` may outlive the reactor.
            News::Closed => self.close(),
        }
    }
}

impl Hungry for Acceptor {
    fn is_hungry(&self) -> &AtomicBool {
        &self.is_hungry
    }

    fn has_room(&self) {
        self.look();
    }
}

/// What an accept has come to.
enum Outcome {
    Accepted(socket2::Socket, Addr),
    /// Nobody waits, or nobody is to be accepted now.
    Nothing,
    /// A connection broke before it was accepted, or was shed.
    Broken,
    /// Accepting failed, and cannot be tried again at once.
    Failed(io::Error),
}

impl Acceptor {
    /// Has a listening socket accept for a listener, on `color`, at a worker.
    pub(super) fn start(
        common: &Arc<Common>,
        worker: usize,
        color: Color,
        deals: Deals,
        listener: socket2::Socket,
        unlink: Option<Unlink>,
    ) -> io::Result<Arc<Acceptor>> {
        let fd = listener.as_raw_fd();
        let sockets = Sockets { listener, reserve: reserve(), unlink };
        let acceptor = Arc::new_cyclic(|this| Acceptor {
            this: this.clone(),
            common: Arc::clone(common),
            reactor: Arc::clone(common.io.reactor(worker)),
            token: OnceLock::new(),
            color,
            deals,
            is_queued: AtomicBool::new(false),
            is_hungry: AtomicBool::new(false),
            socket: Mutex::new(Some(sockets)),
        });
        common.bound.join(Arc::downgrade(&acceptor) as Weak<dyn Hungry>);
        {
            // Until it is registered, nobody closes it.
            let _open = acceptor.socket();
            let entry = Arc::clone(&acceptor) as Arc<dyn Registered>;
            let (known, read) = (&acceptor.token, Interest::READABLE);
            acceptor.reactor.register(entry, known, &mut SourceFd(&fd), Some(fd), read)?;
        }
        // If nobody serves the color, that is found out now.
        acceptor.look();
        let is_open = acceptor.socket().is_some();
        is_open.then_some(acceptor).ok_or_else(runtime_has_ended)
    }

    /// Has an event look whether somebody waits.
    pub(super) fn look(&self) {
        let Some(token) = self.token.get().copied() else { return };
        // SeqCst, with `accept_some`: see there.
        if !self.is_queued.swap(true, Ordering::SeqCst) {
            let (color, accepts) = (&self.color, self.accepts(token));
            color.runtime().post_from(self.common.site, color, accepts);
        }
    }

    /// What an event of the color does.
    fn accepts(&self, token: Token) -> impl FnOnce(&mut Cx) + Send + 'static {
        let (or_else, this) = (OrElse::new(&self.reactor, token), self.this.clone());
        move |cx| {
            or_else.disarm();
            if let Some(this) = this.upgrade() {
                this.accept_some(cx);
            }
        }
    }

    fn socket(&self) -> MutexGuard<'_, Option<Sockets>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes it, and leaves who waits in the system.
    pub(super) fn close(&self) {
        if let Some(token) = self.token.get() {
            self.reactor.forget(*token);
        }
        let socket = self.socket().take();
        if let Some(Sockets { listener, .. }) = &socket {
            // Another process may have it, too, so that closing it does not end this.
            self.reactor.unwatch(listener.as_raw_fd());
        }
        drop(socket);
    }

    /// Closes it after what waits in the system has been accepted, and handed over by an event of
    /// the color.
    pub(super) fn close_gently(&self) {
        if self.reactor.is_inherited() {
            // They are the parent's.
            return self.close();
        }
        if let Some(token) = self.token.get() {
            self.reactor.forget(*token);
        }
        // Nobody finds it any more, before those who have are accepted.
        let unlink = self.socket().as_mut().and_then(|sockets| sockets.unlink.take());
        drop(unlink);
        let mut accepted = Vec::new();
        for _ in 0..LAST {
            match self.accept_one() {
                Outcome::Accepted(socket, peer) => accepted.push((socket, peer)),
                Outcome::Broken => {}
                Outcome::Nothing | Outcome::Failed(_) => break,
            }
        }
        self.close();
        for (socket, peer) in accepted {
            // They are there, whatever the bound.
            let stream = self.place(socket, peer, None);
            let common = Arc::clone(&self.common);
            let accepts = move |cx: &mut Cx| (common.on_accept)(stream, cx);
            self.color.runtime().post_from(self.common.site, &self.color, accepts);
        }
    }

    /// A copy of the socket; `None`: it is closed.
    pub(super) fn copy(&self) -> io::Result<Option<OwnedFd>> {
        let socket = self.socket();
        let copy = |sockets: &Sockets| sockets.listener.try_clone().map(OwnedFd::from);
        socket.as_ref().map(copy).transpose()
    }

    /// Closes it, and leaves who waits in the system, and the name, to another process.
    pub(super) fn leave(&self) {
        if let Some(unlink) = self.socket().as_mut().and_then(|sockets| sockets.unlink.take()) {
            unlink.leave();
        }
        self.close();
    }

    /// A connection that was accepted, where it is to live.
    fn place(&self, socket: socket2::Socket, peer: Addr, counted: Option<Counted>) -> Stream {
        if peer.ip().is_some() {
            // It fails only if the peer is gone already, which the first read will tell.
            let _ = socket.set_tcp_nodelay(true);
        }
        let io = &self.common.io;
        let worker = match self.deals {
            Deals::Here => io.place(),
            Deals::Out => io.next_place(),
        };
        Stream::new(Socket::counted(socket, counted), peer, io.reactor(worker))
    }

    /// One connection, if there is one. The lock is not held when it is handed over.
    fn accept_one(&self) -> Outcome {
        let mut socket = self.socket();
        let Some(sockets) = socket.as_mut() else { return Outcome::Nothing };
        match sys::accept(sockets.listener.as_fd()) {
            Ok((socket, peer)) => Outcome::Accepted(socket, Addr::of_system(&peer)),
            Err(error) if is_out_of_descriptors(&error) => self.shed_one(sockets),
            Err(error) => Outcome::of(error),
        }
    }

    /// Accepts with the descriptor in reserve, and closes.
    fn shed_one(&self, sockets: &mut Sockets) -> Outcome {
        if sockets.reserve.take().is_none() {
            sockets.reserve = reserve();
            return Outcome::Failed(io::ErrorKind::ResourceBusy.into());
        }
        let accepted = sys::accept(sockets.listener.as_fd()).map(drop);
        sockets.reserve = reserve();
        let shed = &self.common.shed;
        match accepted {
            Ok(()) => {
                if shed.fetch_add(1, Ordering::Relaxed).is_multiple_of(1000) {
                    tracing::warn!("no descriptor is left: connections are closed unserved");
                }
                Outcome::Broken
            }
            Err(error) => Outcome::of(error),
        }
    }

    fn accept_some(&self, cx: &mut Cx) {
        let Some(token) = self.token.get().copied() else { return };
        // SeqCst, as is what follows, `Listener::resume` and `look`: who resumes takes the pause
        // back, and then looks whether an event is queued; this says that none is, and then looks
        // whether there is a pause. One of the two sees the other.
        self.is_queued.store(false, Ordering::SeqCst);
        for _ in 0..BUDGET {
            if self.common.is_paused.load(Ordering::SeqCst) {
                return;
            }
            let Some(counted) = self.common.bound.enter(self) else { return };
            match self.accept_one() {
                Outcome::Accepted(socket, peer) => {
                    let accepted = self.place(socket, peer, Some(counted));
                    let call = AssertUnwindSafe(|| (self.common.on_accept)(accepted, cx));
                    if let Err(payload) = catch_unwind(call) {
                        // What else waits is not to wait for the next connection.
                        self.look();
                        resume_unwind(payload);
                    }
                }
                Outcome::Nothing => return,
                Outcome::Broken => {}
                Outcome::Failed(error) => {
                    tracing::debug!(%error, "cannot accept for now");
                    // It counts as queued, or each connection that comes would have one more.
                    if !self.is_queued.swap(true, Ordering::SeqCst) {
                        cx.post_after(PAUSE, &self.color, self.accepts(token));
                    }
                    return;
                }
            }
        }
        self.look();
    }
}

impl Outcome {
    fn of(error: io::Error) -> Outcome {
        match error.kind() {
            io::ErrorKind::WouldBlock => Outcome::Nothing,
            _ if is_of_one_connection(&error) => Outcome::Broken,
            _ => Outcome::Failed(error),
        }
    }
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Errors that accept(2) reports for a connection that broke before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | HostUnreachable
            | TimedOut
    )
}

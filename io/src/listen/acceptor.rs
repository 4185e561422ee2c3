//! One listening socket in its reactor, which accepts connections (N3).
//!
//! *Budget.* One event accepts at most [`BUDGET`] connections, so that a flood of them does not
//! keep a worker from its other work.
//!
//! *Shedding.* When the process has no descriptor left, the acceptor closes the one that it keeps
//! in reserve, accepts a connection with it, closes that connection, and opens the reserve again.
//! The peers see a clean close instead of waiting. The acceptor recovers by itself when descriptors
//! are free again.
//!
//! *Closing.* An acceptor that is closed first accepts the connections that wait in the system.
//! Closing the socket would reset them, although their peers have been told that they are
//! connected. If an event of the acceptor is refused, because the runtime of its color has ended,
//! the acceptor closes at once (N11). Otherwise peers would be connected, and would wait forever.

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
use crate::reactor::{Io, News, ReactorShared, RefusalGuard, Registered, runtime_has_ended};
use crate::readiness::{Readiness, Seen};
use crate::stream::Stream;
use crate::stream::socket::Socket;
use crate::sys;

/// The most connections that one event accepts.
const BUDGET: usize = 32;

/// The most waiting connections that an acceptor accepts when it closes.
const LAST: usize = 8 * 1024;

/// The delay before an acceptor tries again after it could neither accept nor shed a connection.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) type OnAccept = dyn Fn(Stream, &mut Cx) + Send + Sync;

/// The workers that an acceptor's connections are given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deals {
    /// The worker that has accepted the connection.
    Here,
    /// The workers in turn, without that of a `Here` that has other workers.
    Out,
}

/// The part that all acceptors of a listener share.
pub(super) struct Common {
    pub(super) io: Io,
    pub(super) bound: Arc<Bound>,
    pub(super) is_paused: AtomicBool,
    pub(super) shed: AtomicU64,
    pub(super) site: Site,
    pub(super) on_accept: Box<OnAccept>,
}

/// An acceptor; see the module's documentation.
pub(super) struct Acceptor {
    this: Weak<Acceptor>,
    common: Arc<Common>,
    reactor: Arc<ReactorShared>,
    token: OnceLock<Token>,
    color: Color,
    deals: Deals,
    is_queued: AtomicBool,
    /// The acceptor has found no room for a connection; see [`Hungry::is_hungry`].
    is_hungry: AtomicBool,
    /// The sockets, used by events of the color, and by the functions that start, copy, leave or
    /// close; `None` once they are closed.
    socket: Mutex<Option<Sockets>>,
}

struct Sockets {
    listener: socket2::Socket,
    reserve: Option<File>,
    /// Removes the socket's name from the file system when it is dropped.
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
                tracing::warn!("a listener was closed, because the runtime of its color has ended");
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

/// The outcome of an attempt to accept.
enum Outcome {
    Accepted(socket2::Socket, Addr),
    /// No connection waits, or the acceptor is closed.
    Nothing,
    /// A connection broke before it was accepted, or was shed.
    Broken,
    /// Accepting has failed, and cannot be tried again at once.
    Failed(io::Error),
}

impl Acceptor {
    /// Starts an acceptor for a listening socket, with its events on `color` and its registration
    /// at `worker`.
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
            // The lock keeps others from closing the socket before it is registered.
            let _open = acceptor.socket();
            let entry = Arc::clone(&acceptor) as Arc<dyn Registered>;
            let (known, read) = (&acceptor.token, Interest::READABLE);
            acceptor.reactor.register(entry, known, &mut SourceFd(&fd), Some(fd), read)?;
        }
        // If the runtime of the color has ended, this event is refused, which closes the socket.
        acceptor.look();
        let is_open = acceptor.socket().is_some();
        is_open.then_some(acceptor).ok_or_else(runtime_has_ended)
    }

    /// Queues an event that accepts waiting connections, unless one is queued already.
    pub(super) fn look(&self) {
        let Some(token) = self.token.get().copied() else { return };
        // SeqCst: pairs with the accesses in `accept_some`, whose comment has the argument.
        if !self.is_queued.swap(true, Ordering::SeqCst) {
            let (color, accepts) = (&self.color, self.accepts(token));
            color.runtime().post_from(self.common.site, color, accepts);
        }
    }

    /// Returns the closure of an event that accepts.
    fn accepts(&self, token: Token) -> impl FnOnce(&mut Cx) + Send + 'static {
        let (guard, this) = (RefusalGuard::new(&self.reactor, token), self.this.clone());
        move |cx| {
            guard.disarm();
            if let Some(this) = this.upgrade() {
                this.accept_some(cx);
            }
        }
    }

    fn socket(&self) -> MutexGuard<'_, Option<Sockets>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the socket. Connections that wait in the system are not accepted.
    pub(super) fn close(&self) {
        if let Some(token) = self.token.get() {
            self.reactor.forget(*token);
        }
        let socket = self.socket().take();
        if let Some(Sockets { listener, .. }) = &socket {
            // If another process has the socket too, closing it here does not end this
            // registration.
            self.reactor.unwatch(listener.as_raw_fd());
        }
        drop(socket);
    }

    /// Accepts the connections that wait in the system, closes the socket, and posts an event of
    /// the color for each connection, which hands it over.
    pub(super) fn close_gently(&self) {
        if self.reactor.is_inherited() {
            // This is a forked child, and the waiting connections are the parent's.
            return self.close();
        }
        if let Some(token) = self.token.get() {
            self.reactor.forget(*token);
        }
        // The name goes first, so that no further peer finds the socket while the waiting ones are
        // accepted.
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
            // These connections exist already, so the bound does not count them.
            let stream = self.make_stream(socket, peer, None);
            let common = Arc::clone(&self.common);
            let accepts = move |cx: &mut Cx| (common.on_accept)(stream, cx);
            self.color.runtime().post_from(self.common.site, &self.color, accepts);
        }
    }

    /// Returns a copy of the socket, or `None` if it is closed.
    pub(super) fn copy(&self) -> io::Result<Option<OwnedFd>> {
        let socket = self.socket();
        let copy = |sockets: &Sockets| sockets.listener.try_clone().map(OwnedFd::from);
        socket.as_ref().map(copy).transpose()
    }

    /// Closes the socket, and leaves its name and the connections that wait in the system to
    /// another process.
    pub(super) fn hand_over(&self) {
        if let Some(unlink) = self.socket().as_mut().and_then(|sockets| sockets.unlink.take()) {
            unlink.disown();
        }
        self.close();
    }

    /// Makes the stream of an accepted connection, at the worker that serves it.
    fn make_stream(&self, socket: socket2::Socket, peer: Addr, counted: Option<Counted>) -> Stream {
        if peer.ip().is_some() {
            // This fails only if the peer is gone already, which the first read reports.
            let _ = socket.set_tcp_nodelay(true);
        }
        let io = &self.common.io;
        let worker = match self.deals {
            Deals::Here => io.watcher(),
            Deals::Out => io.next_watcher(),
        };
        Stream::new(Socket::counted(socket, counted), peer, io.reactor(worker))
    }

    /// Accepts one connection, if one waits. The lock is released before the connection is handed
    /// over.
    fn accept_one(&self) -> Outcome {
        let mut socket = self.socket();
        let Some(sockets) = socket.as_mut() else { return Outcome::Nothing };
        match sys::accept(sockets.listener.as_fd()) {
            Ok((socket, peer)) => Outcome::Accepted(socket, Addr::of_system(&peer)),
            Err(error) if is_out_of_descriptors(&error) => self.shed_one(sockets),
            Err(error) => Outcome::of(error),
        }
    }

    /// Accepts a connection with the descriptor that was in reserve, and closes it.
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
                    tracing::warn!(
                        "the process is out of file descriptors: connections are closed unserved"
                    );
                }
                Outcome::Broken
            }
            Err(error) => Outcome::of(error),
        }
    }

    fn accept_some(&self, cx: &mut Cx) {
        let Some(token) = self.token.get().copied() else { return };
        // SeqCst, here and for the load of `is_paused` below, pairs with `Listener::resume` and
        // `look`. `resume` stores `is_paused` and then swaps `is_queued`. This function stores
        // `is_queued` and then loads `is_paused`. So either `resume` queues an event, or this
        // function sees that the pause has ended.
        self.is_queued.store(false, Ordering::SeqCst);
        for _ in 0..BUDGET {
            if self.common.is_paused.load(Ordering::SeqCst) {
                return;
            }
            let Some(counted) = self.common.bound.enter(self) else { return };
            match self.accept_one() {
                Outcome::Accepted(socket, peer) => {
                    let accepted = self.make_stream(socket, peer, Some(counted));
                    let call = AssertUnwindSafe(|| (self.common.on_accept)(accepted, cx));
                    if let Err(payload) = catch_unwind(call) {
                        // The connections that wait already must not wait for the next one to come.
                        self.look();
                        resume_unwind(payload);
                    }
                }
                Outcome::Nothing => return,
                Outcome::Broken => {}
                Outcome::Failed(error) => {
                    tracing::debug!(%error, "cannot accept connections for now");
                    // The timer counts as queued. Otherwise each connection that comes would start
                    // another one.
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

/// Returns `true` for errors that accept(2) reports because a connection broke before it was
/// accepted.
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

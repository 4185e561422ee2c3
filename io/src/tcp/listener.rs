//! Accepting connections (N3).
//!
//! Accepting is budgeted: a flood of connections does not keep a worker from its other work. When
//! the process has no descriptor left, the listener gives up the one that it keeps in reserve,
//! accepts with it, closes what it got, and takes the reserve again: the peers see a clean close
//! instead of waiting, and the listener goes on by itself when descriptors are free again.
//!
//! A listener that is dropped first accepts what waits in the system, for closing it would reset
//! those connections, whose peers have been told that they are connected. One whose events are
//! refused, as the runtime of its color has ended, is closed (N11): otherwise peers would be
//! connected, and wait for ever.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use dapple::sync::{
    Arc, AtomicBool, AtomicU64, Mutex, MutexGuard, OnceLock, Ordering, PoisonError, Weak,
};
use dapple::{Color, Cx};
use mio::{Interest, Token};
use socket2::{Domain, Protocol as IpProtocol, Socket, Type};

use super::ConnOptions;
use super::link::{self, Connection, Protocol};
use crate::reactor::{Io, News, OrElse, Readiness, Ready, Site};

/// Connections accepted in one event.
const BUDGET: usize = 32;

/// Connections that wait in the system to be accepted.
const BACKLOG: i32 = 1024;

/// After what time a listener that could not even shed tries again.
const PAUSE: Duration = Duration::from_millis(20);

/// Who accepts.
#[derive(Clone, Debug)]
pub enum Accepting {
    /// Each worker has a listener of its own on the same port (`SO_REUSEPORT`), with a color of its
    /// own; the system deals connections out. A connection lives where it was accepted.
    PerWorker,
    /// One listener accepts for all, on this color; connections are dealt out to the workers in
    /// turn.
    OnColor(Color),
}

/// A connection that was accepted, or made by [`Io::adopt`], and that no protocol has yet.
#[derive(Debug)]
pub struct TcpStream {
    pub(super) stream: mio::net::TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) site: Arc<Site>,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").finish_non_exhaustive()
    }
}

impl TcpStream {
    /// The address of the peer.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Has `protocol` talk over it, on `color`.
    pub fn serve<P: Protocol>(
        self,
        color: &Color,
        options: ConnOptions,
        protocol: P,
    ) -> Connection<P> {
        link::serve(self, color, options, protocol)
    }
}

impl TcpStream {
    /// Serves each stream by a protocol that holds its own connection: the connection does not live
    /// longer for that, and ends with its stream.
    pub fn serve_weakly<P: Protocol>(
        self,
        color: &Color,
        options: ConnOptions,
        protocol: P,
    ) -> Weak<Connection<P>> {
        link::serve_weakly(self, color, options, protocol)
    }
}

type OnAccept = dyn Fn(TcpStream, &mut Cx) + Send + Sync;

/// What listens on an address; dropping it stops that, and leaves the connections alone. Those that
/// the system has accepted by then are still handed to `on_accept`.
#[must_use = "a listener stops when it is dropped"]
pub struct Listener {
    acceptors: Vec<Arc<Acceptor>>,
    address: SocketAddr,
}

impl Listener {
    /// The address, with the port that the system has chosen if it was asked to.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Connections that were closed unserved because the process had no descriptor left.
    pub fn shed(&self) -> u64 {
        self.acceptors.iter().map(|a| a.shed.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        for acceptor in &self.acceptors {
            acceptor.close_gently();
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

/// One listening socket and its reactor.
struct Acceptor {
    this: Weak<Acceptor>,
    io: Io,
    site: Arc<Site>,
    token: OnceLock<Token>,
    color: Color,
    deal_out: bool,
    queued: AtomicBool,
    shed: AtomicU64,
    /// Reached in events of the color, and by `close`; `None`: closed.
    socket: Mutex<Option<Sockets>>,
    on_accept: Arc<OnAccept>,
}

struct Sockets {
    listener: mio::net::TcpListener,
    reserve: Option<File>,
}

impl Ready for Acceptor {
    fn ready(&self, _: Readiness, cx: &mut Cx) {
        if !self.queued.swap(true, Ordering::AcqRel)
            && let Some(token) = self.token.get().copied()
        {
            self.post(token, cx);
        }
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

impl Acceptor {
    /// What an event of the color does.
    fn accepts(&self, token: Token) -> impl FnOnce(&mut Cx) + Send + 'static {
        let (or_else, this) = (OrElse::new(&self.site, token), self.this.clone());
        move |cx| {
            or_else.disarm();
            if let Some(this) = this.upgrade() {
                this.accept_some(cx);
            }
        }
    }

    fn post(&self, token: Token, cx: &mut Cx) {
        cx.post(&self.color, self.accepts(token));
    }

    fn socket(&self) -> MutexGuard<'_, Option<Sockets>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        if let Some(token) = self.token.get() {
            self.site.forget(*token);
        }
        let socket = self.socket().take();
        drop(socket);
    }

    /// Closes it after what waits in the system has been accepted, and handed over by an event of
    /// the color.
    fn close_gently(&self) {
        if let Some(token) = self.token.get() {
            self.site.forget(*token);
        }
        let accepted: Vec<_> = (0..2 * BACKLOG)
            .map_while(|_| match self.accept_one() {
                Err(error) if is_of_one_connection(&error) => Some(None),
                outcome => outcome.ok().map(Some),
            })
            .flatten()
            .collect();
        let socket = self.socket().take();
        drop(socket);
        for (stream, peer) in accepted {
            let accepted = self.place(stream, peer);
            let on_accept = Arc::clone(&self.on_accept);
            self.color.post(move |cx| on_accept(accepted, cx));
        }
    }

    /// A connection that was accepted, where it is to live.
    fn place(&self, stream: mio::net::TcpStream, peer: SocketAddr) -> TcpStream {
        // It fails only if the peer is gone already, which the first read will tell.
        let _ = stream.set_nodelay(true);
        let worker = if self.deal_out { self.io.next_place() } else { self.io.place() };
        TcpStream { stream, peer, site: Arc::clone(self.io.site(worker)) }
    }

    /// One connection, if there is one. The lock is not held when it is handed over.
    fn accept_one(&self) -> io::Result<(mio::net::TcpStream, SocketAddr)> {
        let mut socket = self.socket();
        let Some(sockets) = socket.as_mut() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        match sockets.listener.accept() {
            Err(error) if is_out_of_descriptors(&error) => {
                self.shed_one(sockets)?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            result => result,
        }
    }

    /// Accepts with the descriptor in reserve, and closes.
    fn shed_one(&self, sockets: &mut Sockets) -> io::Result<()> {
        if sockets.reserve.take().is_none() {
            sockets.reserve = reserve();
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let accepted = sockets.listener.accept().map(drop);
        sockets.reserve = reserve();
        if accepted.is_ok() && self.shed.fetch_add(1, Ordering::Relaxed).is_multiple_of(1000) {
            tracing::warn!("no descriptor is left: connections are closed unserved");
        }
        accepted
    }
}

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

impl Acceptor {
    fn accept_some(&self, cx: &mut Cx) {
        let Some(token) = self.token.get().copied() else {
            return;
        };
        self.queued.store(false, Ordering::Release);
        for _ in 0..BUDGET {
            match self.accept_one() {
                Ok((stream, peer)) => {
                    let accepted = self.place(stream, peer);
                    let call = AssertUnwindSafe(|| (self.on_accept)(accepted, cx));
                    if let Err(payload) = catch_unwind(call) {
                        // What else waits is not to wait for the next connection.
                        self.again(token, cx);
                        resume_unwind(payload);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if is_of_one_connection(&e) => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot accept for now");
                    cx.post_after(PAUSE, &self.color, self.accepts(token));
                    return;
                }
            }
        }
        self.again(token, cx);
    }

    fn again(&self, token: Token, cx: &mut Cx) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.post(token, cx);
        }
    }
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

impl Io {
    /// Listens on `address`, and calls `on_accept` with each connection, which has TCP_NODELAY set.
    ///
    /// # Errors
    ///
    /// What the system says: `AddrInUse`, `PermissionDenied`, `AddrNotAvailable`. When the runtime
    /// has ended, or that of the color.
    pub fn listen<F>(
        &self,
        address: SocketAddr,
        accepting: Accepting,
        on_accept: F,
    ) -> io::Result<Listener>
    where
        F: Fn(TcpStream, &mut Cx) + Send + Sync + 'static,
    {
        let on_accept: Arc<OnAccept> = Arc::new(on_accept);
        let workers = self.driver().sites().len();
        let (listeners, shared_port) = match accepting {
            Accepting::PerWorker => (workers, workers > 1),
            Accepting::OnColor(_) => (1, false),
        };
        if shared_port && address.port() != 0 {
            // Another process of the same user could share the port; that is never what is meant.
            // Nobody listens on this one: who connects before the others do is refused, and not
            // connected and forgotten.
            drop(bind(address, false)?);
        }
        // All of them, before anybody can connect to one of them.
        let mut all = Listener { acceptors: Vec::new(), address };
        let mut sockets = Vec::new();
        for _ in 0..listeners {
            let socket = bind(all.address, shared_port)?;
            let bound = socket.local_addr()?.as_socket();
            all.address = bound.ok_or_else(|| io::Error::other("bound to no address"))?;
            sockets.push(socket);
        }
        // Dropped, and so closed, if a later one fails.
        for (index, socket) in sockets.into_iter().enumerate() {
            socket.listen(BACKLOG)?;
            let listener = mio::net::TcpListener::from_std(socket.into());
            let (worker, color, deal_out) = match &accepting {
                Accepting::PerWorker => (index, self.handle().new_color(), false),
                Accepting::OnColor(color) => (self.place(), color.clone(), true),
            };
            let acceptor = Arc::new_cyclic(|this| Acceptor {
                this: this.clone(),
                io: self.clone(),
                site: Arc::clone(self.site(worker)),
                token: OnceLock::new(),
                color,
                deal_out,
                queued: AtomicBool::new(false),
                shed: AtomicU64::new(0),
                socket: Mutex::new(Some(Sockets { listener, reserve: reserve() })),
                on_accept: Arc::clone(&on_accept),
            });
            let token = {
                let mut socket = acceptor.socket();
                let listener = &mut socket.as_mut().expect("nobody closed it").listener;
                let (entry, fd) = (Arc::clone(&acceptor) as Arc<dyn Ready>, listener.as_raw_fd());
                let known = &acceptor.token;
                acceptor.site.register(entry, known, listener, Some(fd), Interest::READABLE)?
            };
            all.acceptors.push(Arc::clone(&acceptor));
            // If nobody serves the color, that is found out now.
            acceptor.color.post(acceptor.accepts(token));
            if acceptor.socket().is_none() {
                return Err(io::Error::other("the runtime has ended"));
            }
        }
        Ok(all)
    }

    /// Takes a connected stream of the standard library, to live at the current worker or at the
    /// next one in turn.
    ///
    /// # Errors
    ///
    /// What the system says, if the stream is not connected any more.
    pub fn adopt(&self, stream: std::net::TcpStream) -> io::Result<TcpStream> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let peer = stream.peer_addr()?;
        let site = Arc::clone(self.site(self.place()));
        Ok(TcpStream { stream: mio::net::TcpStream::from_std(stream), peer, site })
    }
}

/// A socket that is bound to an address, and does not listen yet.
fn bind(address: SocketAddr, shared_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(IpProtocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    socket.set_reuse_address(true)?;
    if shared_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

//! Listening, on TCP and on Unix sockets (N3, N10).
//!
//! [`Io::listen`] is for one address of TCP; [`Io::listener`] for several, for Unix sockets, for
//! descriptors that another process has opened ([`inherited`]), and for what else is to be said. A
//! [`Listener`] can be paused, and bounds how many connections there are.

// One listening socket in its reactor.
mod acceptor;
// How many connections there are at most.
mod bound;
// Descriptors that the process has been started with, or starts another one with.
mod inherited;
// The name of a Unix socket.
mod unlink;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use dapple::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use dapple::{Color, Cx, Site};
use socket2::{Domain, Protocol, Socket, Type};

use self::acceptor::{Acceptor, Common, Deals};
use self::bound::Bound;
use self::unlink::remove_stale;
use crate::Addr;
use crate::reactor::Io;
use crate::stream::Stream;

pub(crate) use self::bound::Counted;
pub use self::inherited::{Inherited, inherited, pass_on};
pub(crate) use self::unlink::Unlink;

/// Connections that wait in the system to be accepted, unless it is told otherwise.
const BACKLOG: u32 = 1024;

/// Which workers accept connections.
#[derive(Clone, Debug)]
pub enum Accepting {
    /// Each worker has a listener of its own on the same port (`SO_REUSEPORT`), with a color of its
    /// own; the system deals connections out. A connection lives where it was accepted, unless its
    /// color is watched elsewhere (see
    /// [`Color::settle_watcher`](dapple::Color::settle_watcher)). The thread of a
    /// [`Here`](dapple::Here) that has other workers has no listener. (A Unix socket, and an
    /// adopted descriptor, have one listener, as with `OnColor`, on a color of its own.)
    PerWorker,
    /// One listener accepts for all, on this color. Connections that are served on colors of their
    /// own are dealt out to the workers in turn; those that are served on one color live together.
    OnColor(Color),
}

/// What listens; see [`Io::listener`]. Dropping it stops that, and leaves the connections alone.
/// Those that the system has accepted by then are still handed to `on_accept`.
#[must_use = "a listener stops when it is dropped"]
pub struct Listener {
    common: Arc<Common>,
    /// With the number of its address.
    acceptors: Vec<(usize, Arc<Acceptor>)>,
    addresses: Vec<Addr>,
}

impl Listener {
    /// The address of TCP, with the port that the system has chosen if it was asked to; the first
    /// one if there are several.
    ///
    /// # Panics
    ///
    /// When it listens on Unix sockets only; see [`addrs`](Self::addrs).
    #[track_caller]
    pub fn local_addr(&self) -> SocketAddr {
        let first = self.addresses.iter().find_map(Addr::ip);
        first.expect("the listener has no address of TCP: see `addrs`")
    }

    /// All addresses, in the order in which they were given: those to bind, then those of adopted
    /// descriptors, each once.
    pub fn addrs(&self) -> &[Addr] {
        &self.addresses
    }

    /// Accepts no more, until the listener is [resumed](Self::resume). Peers that connect meanwhile
    /// wait in the system, as many as its backlog holds. One that is being accepted on another
    /// thread at this moment may still come; from an event of the listener's color, none does.
    #[doc(alias = "evconnlistener_disable")]
    pub fn pause(&self) {
        self.common.is_paused.store(true, Ordering::SeqCst);
    }

    /// Ends a [pause](Self::pause).
    #[doc(alias = "evconnlistener_enable")]
    pub fn resume(&self) {
        self.common.is_paused.store(false, Ordering::SeqCst);
        self.acceptors.iter().for_each(|(_, acceptor)| acceptor.look());
    }

    /// Says whether it is [paused](Self::pause).
    pub fn is_paused(&self) -> bool {
        self.common.is_paused.load(Ordering::SeqCst)
    }

    /// Copies of its sockets, for another process that is to listen on them, too: those of each of
    /// its [addresses](Self::addrs), in that order. See [`pass_on`].
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left.
    pub fn sockets(&self) -> io::Result<Vec<Vec<OwnedFd>>> {
        let mut copies: Vec<Vec<OwnedFd>> = self.addresses.iter().map(|_| Vec::new()).collect();
        for (address, acceptor) in &self.acceptors {
            copies[*address].extend(acceptor.copy()?);
        }
        Ok(copies)
    }

    /// Stops, and leaves everything to another process that has its [sockets](Self::sockets):
    /// connections that wait in the system to be accepted, and the names of Unix sockets.
    pub fn leave(mut self) {
        self.acceptors.drain(..).for_each(|(_, acceptor)| acceptor.leave());
    }

    /// How many connections there are that the listener has accepted. A connection is gone when its
    /// stream has been closed. For each worker that looks at this moment whether somebody waits,
    /// one more may be counted.
    pub fn connections(&self) -> usize {
        self.common.bound.count()
    }

    /// Connections that were closed unserved because the process had no descriptor left.
    pub fn shed(&self) -> u64 {
        self.common.shed.load(Ordering::Relaxed)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        for (_, acceptor) in &self.acceptors {
            acceptor.close_gently();
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// What a [`Listener`] is to be like; see [`Io::listener`].
#[derive(Debug)]
#[must_use = "nothing listens before `start`"]
pub struct ListenerBuilder {
    io: Io,
    addresses: Vec<Addr>,
    adopted: Vec<(OwnedFd, Name)>,
    accepting: Accepting,
    backlog: u32,
    only_v6: Option<bool>,
    shares_port: bool,
    most: Option<usize>,
    begins_paused: bool,
}

impl ListenerBuilder {
    /// Listens on this address. It may be called several times.
    ///
    /// A Unix socket gets a name in the file system, which is removed when the listener is dropped;
    /// a name that a process has left which has ended is replaced.
    pub fn bind(mut self, address: impl Into<Addr>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Listens on a descriptor that is bound, and perhaps listens already: of another process (see
    /// [`inherited`]), or of a library. It may be called several times. Several of one address that
    /// are as many as the workers are theirs, one each.
    #[doc(alias = "from_raw_fd")]
    pub fn adopt(mut self, listening: impl Into<OwnedFd>) -> Self {
        self.adopted.push((listening.into(), Name::Stays));
        self
    }

    /// Listens on a descriptor that another process has listened on, which
    /// [leaves](Listener::leave) it to this one. As [`adopt`](Self::adopt); but the name of a Unix
    /// socket is removed when the listener is dropped.
    pub fn take_over(mut self, listening: impl Into<OwnedFd>) -> Self {
        self.adopted.push((listening.into(), Name::Goes));
        self
    }

    /// Sets who accepts; by default [`Accepting::PerWorker`].
    pub fn accepting(mut self, accepting: Accepting) -> Self {
        self.accepting = accepting;
        self
    }

    /// Sets how many connections may wait in the system to be accepted; by default 1,024. The
    /// system has a limit of its own (`net.core.somaxconn`).
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Sets whether an IPv6 socket takes connections of IPv6 only (`IPV6_V6ONLY`). By default the
    /// system decides; `[::]` takes both on Linux.
    #[doc(alias = "IPV6_V6ONLY")]
    pub fn only_v6(mut self, only: bool) -> Self {
        self.only_v6 = Some(only);
        self
    }

    /// Shares the ports with other processes of the same user that ask for that, too
    /// (`SO_REUSEPORT`): so a new version of a program can begin before the old one has ended.
    #[doc(alias = "SO_REUSEPORT")]
    pub fn share_port(mut self) -> Self {
        self.shares_port = true;
        self
    }

    /// Sets how many connections there may be at once; by default any number. When there are so
    /// many, others wait in the system until one has ended.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.most = Some(connections);
        self
    }

    /// Has the listener begin [paused](Listener::pause).
    pub fn paused(mut self) -> Self {
        self.begins_paused = true;
        self
    }

    /// Begins to listen, and calls `on_accept` with each connection; one of TCP has TCP_NODELAY
    /// set.
    ///
    /// # Errors
    ///
    /// What the system says: `AddrInUse`, `PermissionDenied`, `AddrNotAvailable`; `InvalidInput`
    /// if there is nothing to listen on. When the runtime has ended, or that of the color.
    #[track_caller]
    pub fn start<F>(self, on_accept: F) -> io::Result<Listener>
    where
        F: Fn(Stream, &mut Cx) + Send + Sync + 'static,
    {
        if self.addresses.is_empty() && self.adopted.is_empty() {
            let message = "a listener needs an address, or a descriptor";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let common = Arc::new(Common {
            io: self.io.clone(),
            bound: Bound::new(self.most),
            is_paused: AtomicBool::new(self.begins_paused),
            shed: AtomicU64::new(0),
            site: Site::caller(),
            on_accept: Box::new(on_accept),
        });
        let mut begun = Begun(Vec::new());
        let mut addresses = Vec::new();
        // All of them, before anybody can connect to one of them.
        let mut bound = Vec::new();
        for address in &self.addresses {
            let sockets = self.bind_all(address)?;
            addresses.push(sockets.address.clone());
            bound.push(sockets);
        }
        let workers = self.io.handle().workers() - self.io.first_place();
        for (fd, name) in self.adopted {
            let adopted = adopt(fd, name)?;
            let known = bound.iter_mut().find(|known| known.address == adopted.address);
            match known {
                Some(known) => known.sockets.extend(adopted.sockets),
                None => {
                    addresses.push(adopted.address.clone());
                    bound.push(adopted);
                }
            }
        }
        for (number, Bindings { sockets, mut unlink, .. }) in bound.into_iter().enumerate() {
            let is_shared = sockets.len() > 1 && sockets.len() == workers;
            for (index, socket) in sockets.into_iter().enumerate() {
                socket.listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))?;
                let (worker, color, deals) = match &self.accepting {
                    Accepting::PerWorker if is_shared => {
                        let worker = self.io.first_place() + index;
                        (worker, self.io.handle().new_color(), Deals::Here)
                    }
                    Accepting::PerWorker => {
                        (self.io.place(), self.io.handle().new_color(), Deals::Out)
                    }
                    Accepting::OnColor(color) => {
                        (self.io.place_of(color), color.clone(), Deals::Out)
                    }
                };
                let unlink = unlink.take();
                let acceptor = Acceptor::start(&common, worker, color, deals, socket, unlink)?;
                begun.0.push((number, acceptor));
            }
        }
        let acceptors = std::mem::take(&mut begun.0);
        Ok(Listener { common, acceptors, addresses })
    }

    /// The sockets of one address: one for each worker, or one.
    fn bind_all(&self, address: &Addr) -> io::Result<Bindings> {
        let Some(wanted) = address.ip() else { return bind_unix(address) };
        let workers = self.io.handle().workers() - self.io.first_place();
        let count = match self.accepting {
            Accepting::PerWorker => workers,
            Accepting::OnColor(_) => 1,
        };
        let shares = Shares::Port(count > 1 || self.shares_port);
        if count > 1 && !self.shares_port && wanted.port() != 0 {
            // Another process of the same user could share the port; that is not meant unless it
            // is asked for. Nobody listens on this one: who connects before the others do is
            // refused, and not connected and forgotten.
            drop(self.bind_ip(wanted, Shares::Port(false))?);
        }
        let first = self.bind_ip(wanted, shares)?;
        let bound = first.local_addr()?.as_socket();
        let bound = bound.ok_or_else(|| io::Error::other("bound to no address"))?;
        let mut sockets = vec![first];
        for _ in 1..count {
            sockets.push(self.bind_ip(bound, shares)?);
        }
        Ok(Bindings { address: bound.into(), sockets, unlink: None })
    }

    /// A socket that is bound to an address, and does not listen yet.
    fn bind_ip(&self, address: SocketAddr, Shares::Port(shares): Shares) -> io::Result<Socket> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        if shares {
            socket.set_reuse_port(true)?;
        }
        if let Some(only) = self.only_v6.filter(|_| address.is_ipv6()) {
            socket.set_only_v6(only)?;
        }
        socket.bind(&address.into())?;
        Ok(socket)
    }
}

/// Acceptors that are closed if a later one cannot begin.
struct Begun(Vec<(usize, Arc<Acceptor>)>);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.iter().for_each(|(_, acceptor)| acceptor.close());
    }
}

/// Whether a port may have other sockets.
#[derive(Clone, Copy)]
enum Shares {
    Port(bool),
}

/// What was bound to one address.
struct Bindings {
    address: Addr,
    sockets: Vec<Socket>,
    unlink: Option<Unlink>,
}

/// What becomes of the name of an adopted Unix socket when the listener is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Stays,
    Goes,
}

/// A socket that was bound elsewhere.
fn adopt(fd: OwnedFd, name: Name) -> io::Result<Bindings> {
    let socket = Socket::from(fd);
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    let address = Addr::of_system(&socket.local_addr()?);
    // Without a name there is none to remove.
    let path = address.path().filter(|_| name == Name::Goes);
    let unlink = path.and_then(|path| Unlink::new(path).ok());
    Ok(Bindings { address, sockets: vec![socket], unlink })
}

fn bind_unix(address: &Addr) -> io::Result<Bindings> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let unlink = bind_replacing(&socket, address)?;
    // At once: a socket that nobody listens at looks like one that a dead process has left.
    socket.listen(1)?;
    Ok(Bindings { address: address.clone(), sockets: vec![socket], unlink })
}

/// Binds a socket. One that gets a name in the file system replaces a name that nobody is behind,
/// and the name goes when what is returned is dropped.
pub(crate) fn bind_replacing(socket: &Socket, address: &Addr) -> io::Result<Option<Unlink>> {
    let system = address.to_system()?;
    match (socket.bind(&system), address.path()) {
        (Ok(()), path) => path.map(Unlink::new).transpose(),
        (Err(error), Some(path)) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            socket.bind(&system)?;
            Unlink::new(path).map(Some)
        }
        (Err(error), _) => Err(error),
    }
}

impl Io {
    /// Listens on `address`, and calls `on_accept` with each connection, which has TCP_NODELAY set.
    /// For more, see [`listener`](Self::listener).
    ///
    /// # Errors
    ///
    /// What the system says: `AddrInUse`, `PermissionDenied`, `AddrNotAvailable`. When the runtime
    /// has ended, or that of the color.
    #[track_caller]
    pub fn listen<F>(
        &self,
        address: SocketAddr,
        accepting: Accepting,
        on_accept: F,
    ) -> io::Result<Listener>
    where
        F: Fn(Stream, &mut Cx) + Send + Sync + 'static,
    {
        self.listener().bind(address).accepting(accepting).start(on_accept)
    }

    /// Listens on one or several addresses, of TCP or of Unix sockets.
    ///
    /// # Examples
    ///
    /// Two addresses, and 1,000 connections at most:
    ///
    /// ```
    /// use std::{io::Write, net::{SocketAddr, TcpStream}, os::unix::net::UnixStream, sync::mpsc};
    /// use dapple_io::{Addr, Io};
    /// let rt = dapple_io::runtime().build()?;
    /// let io = Io::of(&rt.handle());
    /// let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
    /// let (tx, rx) = mpsc::channel();
    /// # let name = std::env::temp_dir().join(format!("dapple-doc-{}", std::process::id()));
    /// # let path = name.as_path();
    /// let listener = io
    ///     .listener()
    ///     .bind(local)
    ///     .bind(Addr::unix(path))
    ///     .max_connections(1_000)
    ///     .start(move |stream, _| tx.send(stream.peer_addr().ip().is_some()).unwrap())?;
    /// TcpStream::connect(listener.local_addr())?;
    /// assert_eq!(rx.recv().unwrap(), true);
    /// UnixStream::connect(path)?;
    /// assert_eq!(rx.recv().unwrap(), false);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "evconnlistener_new_bind")]
    pub fn listener(&self) -> ListenerBuilder {
        ListenerBuilder {
            io: self.clone(),
            addresses: Vec::new(),
            adopted: Vec::new(),
            accepting: Accepting::PerWorker,
            backlog: BACKLOG,
            only_v6: None,
            shares_port: false,
            most: None,
            begins_paused: false,
        }
    }
}

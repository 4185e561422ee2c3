//! Listening on TCP and on Unix sockets (N3, N10).
//!
//! [`Io::listen`] listens on one TCP address. [`Io::listener`] is for several addresses, Unix
//! sockets, descriptors that another process has opened ([`inherited`]), and all other settings. A
//! [`Listener`] can be paused, and can bound the number of its connections.

// One listening socket in its reactor.
mod acceptor;
// The bound on the number of connections.
mod bound;
// Descriptors that the process was started with, or passes on to another one.
mod inherited;
// The name of a Unix socket in the file system.
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

/// The default number of connections that may wait in the system to be accepted.
const BACKLOG: u32 = 1024;

/// The workers that accept connections.
///
/// See [`Io::listen`] for an example.
#[derive(Clone, Debug)]
pub enum Accepting {
    /// Each worker has a listening socket of its own on the same port (`SO_REUSEPORT`), with a
    /// color of its own.
    ///
    /// The system distributes the connections. A connection is watched by the worker that has
    /// accepted it, unless its color is watched elsewhere (see
    /// [`Color::settle_watcher`](dapple::Color::settle_watcher)). The thread of a
    /// [`Here`](dapple::Here) that has other workers has no listening socket. Each Unix socket and
    /// each adopted descriptor accepts for all workers, as with `OnColor`, on a color of its own
    /// (for the exception, see [`adopt`](ListenerBuilder::adopt)).
    PerWorker,
    /// Each address has one listening socket, which accepts for all workers, on this color.
    /// Connections that are served on colors of their own are given to the workers in turn.
    /// Connections that are served on one color are watched by one worker.
    OnColor(Color),
}

/// A set of listening sockets, made by [`Io::listener`].
///
/// Dropping it stops listening, and does not affect the connections. Connections that wait in the
/// system by then are still passed to `on_accept`, at most 8,192 for each socket.
#[must_use = "a listener stops when it is dropped"]
pub struct Listener {
    common: Arc<Common>,
    /// The acceptors, each with the index of its address in `addresses`.
    acceptors: Vec<(usize, Arc<Acceptor>)>,
    addresses: Vec<Addr>,
}

impl Listener {
    /// Returns the first TCP address that the listener has, with the port that the system has
    /// chosen if port 0 was asked for.
    ///
    /// # Panics
    ///
    /// Panics if the listener has no TCP address; see [`addrs`](Self::addrs).
    #[track_caller]
    pub fn local_addr(&self) -> SocketAddr {
        let first = self.addresses.iter().find_map(Addr::ip);
        first.expect("the listener has no TCP address; see `addrs`")
    }

    /// Returns all addresses, each once. The addresses to bind come first, followed by those of
    /// adopted descriptors, each in the order in which they were given.
    pub fn addrs(&self) -> &[Addr] {
        &self.addresses
    }

    /// Accepts no further connections until the listener is [resumed](Self::resume).
    ///
    /// Peers that connect meanwhile wait in the system, as many as its backlog allows. A connection
    /// that another thread is accepting during the call may still be passed to `on_accept`. If an
    /// event of the listener's color makes the call, there is no such connection.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{net::TcpStream, sync::mpsc};
    /// use dapple_io::{Io, tcp::Accepting};
    /// let rt = dapple_io::runtime().build()?;
    /// let (tx, rx) = mpsc::channel();
    /// let local = "127.0.0.1:0".parse().unwrap();
    /// let listener = Io::of(&rt.handle())
    ///     .listen(local, Accepting::PerWorker, move |stream, _| tx.send(stream).unwrap())?;
    /// listener.pause();
    /// let client = TcpStream::connect(listener.local_addr())?;     // waits in the system
    /// assert!(rx.try_recv().is_err());
    /// listener.resume();
    /// assert_eq!(rx.recv().unwrap().peer_addr(), client.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// Returns `true` if the listener is [paused](Self::pause).
    pub fn is_paused(&self) -> bool {
        self.common.is_paused.load(Ordering::SeqCst)
    }

    /// Returns copies of the listener's sockets, for another process that also listens on them.
    /// There is one list for each of the [addresses](Self::addrs), in their order. See [`pass_on`].
    ///
    /// # Errors
    ///
    /// Returns the system's error if a socket cannot be copied, for example because the process has
    /// no descriptor left.
    ///
    /// # Examples
    ///
    /// A new listener takes over from an old one. Between processes, [`pass_on`] and [`inherited`]
    /// pass the descriptors:
    ///
    /// ```
    /// use std::{os::unix::net::UnixStream, sync::mpsc};
    /// use dapple_io::{Addr, Io};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("socket");
    /// let rt = dapple_io::runtime().build()?;
    /// let io = Io::of(&rt.handle());
    /// let old = io.listener().bind(Addr::unix(&path)).start(|_, _| println!("the old one"))?;
    /// let sockets = old.sockets()?.into_iter().flatten();
    /// let (tx, rx) = mpsc::channel();
    /// let new = sockets
    ///     .fold(io.listener(), |builder, socket| builder.take_over(socket))
    ///     .start(move |_, _| tx.send("the new one").unwrap())?;
    /// old.hand_over();
    /// UnixStream::connect(&path)?;
    /// assert_eq!(rx.recv().unwrap(), "the new one");
    /// drop(new);
    /// assert!(!path.exists());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn sockets(&self) -> io::Result<Vec<Vec<OwnedFd>>> {
        let mut copies: Vec<Vec<OwnedFd>> = self.addresses.iter().map(|_| Vec::new()).collect();
        for (address, acceptor) in &self.acceptors {
            copies[*address].extend(acceptor.copy()?);
        }
        Ok(copies)
    }

    /// Stops listening, and leaves everything to another process that has copies of the
    /// [sockets](Self::sockets). The names of Unix sockets stay, and connections that wait in the
    /// system are not accepted here.
    ///
    /// See [`sockets`](Self::sockets) for an example.
    pub fn hand_over(mut self) {
        self.acceptors.drain(..).for_each(|(_, acceptor)| acceptor.hand_over());
    }

    /// Returns the number of connections that the listener has accepted and whose streams have not
    /// been closed yet. Each worker that is looking for waiting connections during the call may add
    /// one.
    pub fn connections(&self) -> usize {
        self.common.bound.count()
    }

    /// Returns the number of connections that were closed unserved because the process had no
    /// descriptor left.
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

/// The settings of a [`Listener`], made by [`Io::listener`].
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
    /// Adds an address to listen on. It may be called several times.
    ///
    /// A Unix socket gets a name in the file system, which is removed when the listener is dropped.
    /// A name that was left by a process that has ended is replaced.
    pub fn bind(mut self, address: impl Into<Addr>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Adds a descriptor to listen on, which is bound and may listen already. It may come from
    /// another process (see [`inherited`]) or from a library. It may be called several times.
    ///
    /// With [`Accepting::PerWorker`], if as many descriptors of one address are adopted as there
    /// are workers, each worker gets one of them.
    ///
    /// See [`inherited`] for an example.
    #[doc(alias = "from_raw_fd")]
    pub fn adopt(mut self, listening: impl Into<OwnedFd>) -> Self {
        self.adopted.push((listening.into(), Name::Stays));
        self
    }

    /// Adds a descriptor to listen on that another process [hands over](Listener::hand_over) to
    /// this one. Unlike [`adopt`](Self::adopt), it also takes over the name of a Unix socket, which
    /// is removed when the listener is dropped.
    ///
    /// See [`Listener::sockets`] for an example.
    pub fn take_over(mut self, listening: impl Into<OwnedFd>) -> Self {
        self.adopted.push((listening.into(), Name::Goes));
        self
    }

    /// Sets which workers accept connections. The default is [`Accepting::PerWorker`].
    pub fn accepting(mut self, accepting: Accepting) -> Self {
        self.accepting = accepting;
        self
    }

    /// Sets the number of connections that may wait in the system to be accepted. The default is
    /// 1,024. The system has a limit of its own (`net.core.somaxconn`).
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Sets whether an IPv6 socket accepts connections of IPv6 only (`IPV6_V6ONLY`). By default the
    /// system decides; on Linux, `[::]` accepts both.
    #[doc(alias = "IPV6_V6ONLY")]
    pub fn only_v6(mut self, only: bool) -> Self {
        self.only_v6 = Some(only);
        self
    }

    /// Shares the ports with other processes of the same user that also ask for it
    /// (`SO_REUSEPORT`). A new version of a program can then start before the old one has ended.
    #[doc(alias = "SO_REUSEPORT")]
    pub fn share_port(mut self) -> Self {
        self.shares_port = true;
        self
    }

    /// Sets the most connections that may exist at once. By default there is no limit. At the
    /// limit, further connections wait in the system until one has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{net::{SocketAddr, TcpStream}, sync::mpsc};
    /// # let rt = dapple_io::runtime().build()?;
    /// # let io = dapple_io::Io::of(&rt.handle());
    /// # let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
    /// let (tx, rx) = mpsc::channel();
    /// let listener = io
    ///     .listener()
    ///     .bind(local)
    ///     .max_connections(1)
    ///     .start(move |stream, _| tx.send(stream).unwrap())?;
    /// let address = listener.local_addr();
    /// let clients = (TcpStream::connect(address)?, TcpStream::connect(address)?);
    /// let first = rx.recv().unwrap();
    /// assert!(rx.try_recv().is_err(), "the second one waits in the system");
    /// drop(first);
    /// rx.recv().unwrap();
    /// # drop(clients);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.most = Some(connections);
        self
    }

    /// Makes the listener start [paused](Listener::pause).
    ///
    /// See [`Listener::pause`] for an example.
    pub fn paused(mut self) -> Self {
        self.begins_paused = true;
        self
    }

    /// Starts to listen, and calls `on_accept` with each connection. TCP connections have
    /// TCP_NODELAY set.
    ///
    /// See [`Io::listener`] for an example.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if there is nothing to listen on, or if an address is unnamed, or has
    /// an empty path, or a path or name that is too long. Returns the system's error if a socket
    /// cannot be bound or cannot listen, for example `AddrInUse`, `PermissionDenied` or
    /// `AddrNotAvailable`. Returns an error if the runtime has ended, or that of the color that
    /// accepts.
    #[track_caller]
    pub fn start<F>(self, on_accept: F) -> io::Result<Listener>
    where
        F: Fn(Stream, &mut Cx) + Send + Sync + 'static,
    {
        if self.addresses.is_empty() && self.adopted.is_empty() {
            let message = "a listener needs an address or a descriptor";
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
        // All addresses are bound before any TCP socket listens, so no TCP peer is connected if an
        // address cannot be bound.
        let mut bound = Vec::new();
        for address in &self.addresses {
            let sockets = self.bind_all(address)?;
            addresses.push(sockets.address.clone());
            bound.push(sockets);
        }
        let workers = self.io.handle().workers() - self.io.first_watcher();
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
                        let worker = self.io.first_watcher() + index;
                        (worker, self.io.handle().new_color(), Deals::Here)
                    }
                    Accepting::PerWorker => {
                        (self.io.watcher(), self.io.handle().new_color(), Deals::Out)
                    }
                    Accepting::OnColor(color) => {
                        (self.io.watcher_of(color), color.clone(), Deals::Out)
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

    /// Binds the sockets of one address: one for each worker, or a single one.
    fn bind_all(&self, address: &Addr) -> io::Result<Bindings> {
        let Some(wanted) = address.ip() else { return bind_unix(address) };
        let workers = self.io.handle().workers() - self.io.first_watcher();
        let count = match self.accepting {
            Accepting::PerWorker => workers,
            Accepting::OnColor(_) => 1,
        };
        let shares = Shares::Port(count > 1 || self.shares_port);
        if count > 1 && !self.shares_port && wanted.port() != 0 {
            // The real sockets set `SO_REUSEPORT`, with which another process of the same user
            // could share the port. That is meant only with `share_port`. So this probe, without
            // the option, checks that no socket has the port. It does not listen: a peer that
            // connects before the real sockets listen is refused, rather than connected and lost.
            drop(self.bind_ip(wanted, Shares::Port(false))?);
        }
        let first = self.bind_ip(wanted, shares)?;
        let bound = first.local_addr()?.as_socket();
        let bound =
            bound.ok_or_else(|| io::Error::other("the socket is bound to no IP address"))?;
        let mut sockets = vec![first];
        for _ in 1..count {
            sockets.push(self.bind_ip(bound, shares)?);
        }
        Ok(Bindings { address: bound.into(), sockets, unlink: None })
    }

    /// Returns a socket that is bound to an address, and does not listen yet.
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

/// The acceptors that have started, which are closed if a later one cannot start.
struct Begun(Vec<(usize, Arc<Acceptor>)>);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.iter().for_each(|(_, acceptor)| acceptor.close());
    }
}

/// Whether other sockets may be bound to the same port.
#[derive(Clone, Copy)]
enum Shares {
    Port(bool),
}

/// The sockets that were bound to one address.
struct Bindings {
    address: Addr,
    sockets: Vec<Socket>,
    unlink: Option<Unlink>,
}

/// The fate of an adopted Unix socket's name when the listener is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Stays,
    Goes,
}

/// Takes over a socket that was bound elsewhere.
fn adopt(fd: OwnedFd, name: Name) -> io::Result<Bindings> {
    let socket = Socket::from(fd);
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    let address = Addr::of_system(&socket.local_addr()?);
    // A name that is gone already need not be removed.
    let path = address.path().filter(|_| name == Name::Goes);
    let unlink = path.and_then(|path| Unlink::new(path).ok());
    Ok(Bindings { address, sockets: vec![socket], unlink })
}

fn bind_unix(address: &Addr) -> io::Result<Bindings> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let unlink = bind_replacing(&socket, address)?;
    // The socket listens at once, because a bound socket that does not listen looks like one that a
    // dead process has left.
    socket.listen(1)?;
    Ok(Bindings { address: address.clone(), sockets: vec![socket], unlink })
}

/// Binds a socket. If its name in the file system exists already and nothing listens behind it, the
/// name is replaced. Dropping the returned value removes the name.
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
    /// Listens on a TCP address, and calls `on_accept` with each connection, which has TCP_NODELAY
    /// set. For further settings, see [`listener`](Self::listener).
    ///
    /// # Errors
    ///
    /// Returns the system's error if a socket cannot be bound or cannot listen, for example
    /// `AddrInUse`, `PermissionDenied` or `AddrNotAvailable`. Returns an error if the runtime has
    /// ended, or that of the color that accepts.
    ///
    /// # Examples
    ///
    /// A server that greets its clients:
    ///
    /// ```
    /// use std::net::TcpStream;
    /// use dapple_io::{Io, tcp::{Accepting, Conn, ConnOptions, Protocol}};
    /// use dapple::Cx;
    ///
    /// struct Hello;
    /// impl Protocol for Hello {
    ///     fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         conn.send(b"hello");
    ///         conn.close();
    ///     }
    ///     fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
    /// }
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let local = "127.0.0.1:0".parse().unwrap();
    /// let listener = Io::of(&rt.handle()).listen(local, Accepting::PerWorker, |stream, cx| {
    ///     stream.serve(&cx.new_color(), ConnOptions::default(), Hello);
    /// })?;
    /// let client = TcpStream::connect(listener.local_addr())?;
    /// assert_eq!(std::io::read_to_string(client)?, "hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// Returns a builder of a listener on one or several addresses, of TCP or of Unix sockets.
    ///
    /// # Examples
    ///
    /// Two addresses, and at most 1,000 connections:
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

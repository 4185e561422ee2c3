//! Connecting by address or by name, with a time limit (N10).
//!
//! [`Io::connect_then`] is in callback style, [`Io::connect`] is for tasks, and [`Io::connector`]
//! has further settings. A name is looked up ([`Io::lookup`]). Its addresses are tried one after
//! the other, and in parallel if an attempt takes longer than 250 ms.

// Look-ups of host names.
mod names;
// The order and the timing of the attempts.
mod race;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use dapple::{Color, Cx, JoinHandle, Site, clock};
use socket2::{Domain, Socket, Type};

use self::race::{Next, Race};
use crate::Addr;
use crate::reactor::Io;
use crate::stream::{AsyncStream, Stream};
use crate::sys;

pub(crate) use self::names::Line;

/// The default time limit for connecting.
const LIMIT: Duration = Duration::from_secs(30);

/// The type of the sockets: they do not block, and are closed by exec(2) from the start.
const STREAM: Type = Type::STREAM.nonblocking().cloexec();

/// The delay before a Unix socket is tried again whose backlog was full.
const AGAIN: Duration = Duration::from_millis(5);

/// The target of a connection: an [`Addr`], or the name of a host and a port.
///
/// # Examples
///
/// ```
/// use dapple_io::connect::Target;
/// use std::net::SocketAddr;
/// let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
/// let targets: [Target; 4] = [
///     address.into(),
///     dapple_io::Addr::unix("/run/app.sock").into(),
///     ("example.org", 80).into(),
///     "example.org:80".into(),            // the port is read when it connects
/// ];
/// assert_eq!(targets[3].to_string(), "example.org:80");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(To);

#[derive(Clone, Debug, PartialEq, Eq)]
enum To {
    Addr(Addr),
    Host(String, u16),
    Text(String),
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Target {
        Target(To::Addr(address.into()))
    }
}

impl From<Addr> for Target {
    fn from(address: Addr) -> Target {
        Target(To::Addr(address))
    }
}

impl From<(&str, u16)> for Target {
    fn from((host, port): (&str, u16)) -> Target {
        Target(To::Host(host.to_owned(), port))
    }
}

impl From<(String, u16)> for Target {
    fn from((host, port): (String, u16)) -> Target {
        Target(To::Host(host, port))
    }
}

/// Converts text of the form `host:port`, in which an IPv6 address stands in brackets.
impl From<&str> for Target {
    fn from(text: &str) -> Target {
        Target(To::Text(text.to_owned()))
    }
}

/// Converts text of the form `host:port`, in which an IPv6 address stands in brackets.
impl From<String> for Target {
    fn from(text: String) -> Target {
        Target(To::Text(text))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            To::Addr(address) => address.fmt(f),
            To::Host(host, port) => write!(f, "{host}:{port}"),
            To::Text(text) => f.write_str(text),
        }
    }
}

/// A handle of an operation that ends with a callback, such as connecting.
///
/// Dropping the handle does not cancel the operation.
///
/// # Examples
///
/// ```
/// # let rt = dapple_io::runtime().build()?;
/// # let (io, color) = (dapple_io::Io::of(&rt.handle()), rt.handle().new_color());
/// # let (tx, rx) = std::sync::mpsc::channel::<()>();
/// rt.handle().post(&color, move |cx| {
///     let color = cx.color().unwrap();
///     let pending = io.connect_then("example.org:80", &color, move |_, _| tx.send(()).unwrap());
///     pending.cancel();
/// });
/// assert!(rx.recv().is_err(), "the callback was dropped uncalled");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Pending(JoinHandle<()>);

impl Pending {
    /// Cancels the operation: its callback is dropped uncalled, unless it is queued or has run.
    #[doc(alias = "abort")]
    pub fn cancel(&self) {
        self.0.abort();
    }
}

/// The settings of a connection to be made; see [`Io::connector`].
#[derive(Clone, Debug)]
#[must_use = "call `connect` or `then` to connect"]
pub struct Connector {
    io: Io,
    target: Target,
    limit: Duration,
    from: Option<SocketAddr>,
}

impl Connector {
    /// Sets the time limit for connecting, including the look-up of the name. The default is 30 s.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sets the local address to connect from, with a port, or 0 for a port that the system
    /// chooses.
    ///
    /// Addresses of the other family are then not tried.
    ///
    /// # Examples
    ///
    /// ```
    /// # let rt = dapple_io::runtime().build()?;
    /// # let io = dapple_io::Io::of(&rt.handle());
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let from: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    /// let stream = rt.block_on(io.connector(server.local_addr()?).from(from).connect())?;
    /// assert_eq!(stream.local_addr()?.ip().unwrap().ip(), from.ip());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "bind")]
    pub fn from(mut self, address: SocketAddr) -> Self {
        self.from = Some(address);
        self
    }

    /// Connects, and returns a stream for tasks.
    ///
    /// `TCP_NODELAY` is set.
    ///
    /// # Errors
    ///
    /// Returns `TimedOut` if connecting takes longer than the limit, `InvalidInput` if the target
    /// is no host with a port, or has no address of the family that is connected
    /// [from](Self::from), and `NotFound` if the host has no address. Otherwise, returns the
    /// system's error, such as `ConnectionRefused` or `HostUnreachable`, or an error if the runtime
    /// has ended. If all addresses of a host fail, the error is that of the first failure.
    pub async fn connect(self) -> io::Result<AsyncStream> {
        match self.connect_limited().await? {
            Connected::AtOnce(stream) => stream.into_async(),
            Connected::Watched(stream) => Ok(stream),
        }
    }

    async fn connect_limited(self) -> io::Result<Connected> {
        let handle = self.io.handle().clone();
        let limit = self.limit;
        match handle.timeout(limit, self.connect_unlimited()).await {
            Ok(outcome) => outcome,
            Err(elapsed) => Err(elapsed.into()),
        }
    }

    /// Connects, and posts `then` to a color with the stream.
    ///
    /// `TCP_NODELAY` is set. `then` gets the errors that [`connect`](Self::connect) returns. The
    /// returned handle can [cancel](Pending::cancel) the operation.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::{sync::mpsc, time::Duration};
    /// # let rt = dapple_io::runtime().build()?;
    /// # let (io, color) = (dapple_io::Io::of(&rt.handle()), rt.handle().new_color());
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let (address, (tx, rx)) = (server.local_addr()?, mpsc::channel());
    /// let connector = io.connector(address).within(Duration::from_secs(3));
    /// connector.then(&color, move |stream, _| tx.send(stream).unwrap());
    /// assert_eq!(rx.recv().unwrap()?.peer_addr(), address);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn then<F>(self, color: &Color, then: F) -> Pending
    where
        F: FnOnce(io::Result<Stream>, &mut Cx) + Send + 'static,
    {
        let (handle, on, site) = (self.io.handle().clone(), color.clone(), Site::caller());
        Pending(handle.spawn(color, async move {
            let outcome = self.connect_limited().await.map(|connected| match connected {
                Connected::AtOnce(stream) => stream,
                Connected::Watched(stream) => stream.into_stream(),
            });
            on.runtime().post_from(site, &on, move |cx| then(outcome, cx));
        }))
    }

    async fn connect_unlimited(self) -> io::Result<Connected> {
        let addresses = match &self.target.0 {
            To::Addr(address) => match address.ip() {
                Some(ip) => vec![ip],
                None => return self.connect_unix(address).await,
            },
            To::Host(host, port) => self.io.lookup(host, *port).await?,
            To::Text(text) => {
                let (host, port) = split(text)?;
                self.io.lookup(host, port).await?
            }
        };
        if addresses.is_empty() {
            let message = "the host has no address";
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        match self.candidates(addresses)[..] {
            [] => {
                let message = "the host has no address of the local address's family";
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            }
            [only] => self.connect_ip(only).await,
            ref several => self.race(several.to_vec()).await,
        }
    }

    /// Returns the addresses that have the family of the local address, if one is set.
    fn candidates(&self, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        if let Some(from) = self.from {
            addresses.retain(|address| address.is_ipv6() == from.is_ipv6());
        }
        addresses
    }

    async fn race(&self, addresses: Vec<SocketAddr>) -> io::Result<Connected> {
        let (mut race, mut running) = (Race::new(addresses), Vec::new());
        loop {
            let until = match race.next(clock::now()) {
                Next::Begin(address) => {
                    running.push(Box::pin(self.connect_ip(address)));
                    continue;
                }
                Next::Wait(until) => until,
                Next::Lost(error) => return Err(error),
            };
            let mut sleep = until.map(|until| self.io.handle().sleep_until(until));
            let first = std::future::poll_fn(|cx| {
                if let Some(ended) = poll_any(&mut running, cx) {
                    return Poll::Ready(Some(ended));
                }
                match &mut sleep {
                    Some(sleep) => Pin::new(sleep).poll(cx).map(|()| None),
                    None => Poll::Pending,
                }
            });
            match first.await {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => race.failed(error, clock::now()),
                None => {}
            }
        }
    }

    async fn connect_ip(&self, address: SocketAddr) -> io::Result<Connected> {
        let socket = Socket::new(Domain::for_address(address), STREAM, None)?;
        if let Some(from) = self.from {
            socket.set_reuse_address(true)?;
            socket.bind(&from.into())?;
        }
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Err(error) if !is_under_way(&error) => return Err(error),
            _ => {}
        }
        // A connection to a peer on this machine is made by now. A failure is found below.
        if socket.peer_addr().is_ok() {
            return Ok(Connected::AtOnce(self.stream(socket, address.into())));
        }
        let stream = self.stream(socket, address.into()).into_async()?;
        stream.connected().await.map(Connected::Watched)
    }

    async fn connect_unix(&self, address: &Addr) -> io::Result<Connected> {
        let system = address.to_system()?;
        loop {
            let socket = Socket::new(Domain::UNIX, STREAM, None)?;
            match socket.connect(&system) {
                Ok(()) => return Ok(Connected::AtOnce(self.stream(socket, address.clone()))),
                // The backlog is full, and the system does not tell when it has room again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.io.handle().sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn stream(&self, socket: Socket, peer: Addr) -> Stream {
        Stream::new(socket.into(), peer, self.io.reactor(self.io.watcher()))
    }
}

/// A stream that is connected.
#[derive(Debug)]
enum Connected {
    AtOnce(Stream),
    /// A stream that is registered with its reactor, as the connection took some time.
    Watched(AsyncStream),
}

impl Connected {
    #[cfg(test)]
    fn peer_addr(&self) -> Addr {
        match self {
            Connected::AtOnce(stream) => stream.peer_addr(),
            Connected::Watched(stream) => stream.peer_addr(),
        }
    }
}

/// Polls all futures, and removes the first that has ended.
fn poll_any<F: Future>(running: &mut Vec<Pin<Box<F>>>, cx: &mut Context<'_>) -> Option<F::Output> {
    for at in 0..running.len() {
        if let Poll::Ready(output) = running[at].as_mut().poll(cx) {
            drop(running.swap_remove(at));
            return Some(output);
        }
    }
    None
}

fn is_under_way(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS) || error.kind() == io::ErrorKind::WouldBlock
}

/// Returns the host and the port of `host:port`.
fn split(text: &str) -> io::Result<(&str, u16)> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    // An IPv6 address without brackets has no port.
    let is_plain = |host: &str| !host.contains(':') || host.starts_with('[');
    parts.filter(|(host, _)| is_plain(host)).ok_or_else(|| {
        let message =
            format!("{text:?} is not a host with a port, such as example.org:80 or [::1]:80");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

impl Io {
    /// Connects to an address, or to a host by name, and returns a stream for tasks.
    ///
    /// `TCP_NODELAY` is set. The time limit is 30 s; [`connector`](Self::connector) sets another
    /// one.
    ///
    /// See [`AsyncStream`] for an example.
    ///
    /// # Errors
    ///
    /// Returns `TimedOut` if connecting takes longer than 30 s, `InvalidInput` if the target is no
    /// host with a port, and `NotFound` if the host has no address. Otherwise, returns the system's
    /// error, such as `ConnectionRefused` or `HostUnreachable`, or an error if the runtime has
    /// ended. If all addresses of a host fail, the error is that of the first failure.
    pub async fn connect(&self, target: impl Into<Target>) -> io::Result<AsyncStream> {
        self.connector(target).connect().await
    }

    /// Connects to an address, or to a host by name, and posts `then` to a color with the stream.
    ///
    /// `then` usually [serves](Stream::serve) the stream there. It gets the errors that
    /// [`connect`](Self::connect) returns. `TCP_NODELAY` is set. The time limit is 30 s;
    /// [`connector`](Self::connector) sets another one. The returned handle can
    /// [cancel](Pending::cancel) the operation.
    ///
    /// # Examples
    ///
    /// A client that sends a greeting:
    ///
    /// ```
    /// use dapple_io::{Io, stream::{Conn, ConnOptions, Protocol}};
    /// use dapple::Cx;
    /// # use std::{io::Read, net::TcpListener, time::Duration};
    /// struct Hello;
    /// impl Protocol for Hello {
    ///     fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         conn.send(b"hello");
    ///         conn.close();
    ///     }
    ///     fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}
    /// }
    /// # let server = TcpListener::bind("127.0.0.1:0")?;
    /// # let port = server.local_addr()?.port();
    /// let rt = dapple_io::runtime().build()?;
    /// let io = Io::of(&rt.handle());
    /// let color = rt.handle().new_color();
    /// io.connect_then(("localhost", port), &color, |stream, cx| match stream {
    ///     Ok(stream) => _ = stream.serve(&cx.color().unwrap(), ConnOptions::default(), Hello),
    ///     Err(error) => println!("{error}"),
    /// });
    /// # let mut all = String::new();
    /// # server.accept()?.0.read_to_string(&mut all)?;
    /// # assert_eq!(all, "hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "tcpconnect")]
    #[doc(alias = "uv_tcp_connect")]
    #[doc(alias = "bufferevent_socket_connect_hostname")]
    pub fn connect_then<F>(&self, target: impl Into<Target>, color: &Color, then: F) -> Pending
    where
        F: FnOnce(io::Result<Stream>, &mut Cx) + Send + 'static,
    {
        self.connector(target).then(color, then)
    }

    /// Returns a [`Connector`], for a connection with another time limit or from a local address.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = server.local_addr()?;
    /// let stream = rt.block_on(io.connector(address).within(Duration::from_secs(3)).connect())?;
    /// assert_eq!(stream.peer_addr(), address);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connector(&self, target: impl Into<Target>) -> Connector {
        Connector { io: self.clone(), target: target.into(), limit: LIMIT, from: None }
    }

    /// Takes over a connected stream of the standard library, of TCP or of a Unix socket.
    ///
    /// The current worker watches the stream, or the next worker in turn if the caller is on none.
    /// A stream that is served on a color is watched by the worker that watches the color's other
    /// streams, if there are any. A stream of TCP gets `TCP_NODELAY`.
    ///
    /// See [`CxExt::io`](crate::CxExt::io) for an example.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the descriptor is a socket, but no stream socket. Otherwise,
    /// returns the system's error, for example if the stream is no longer connected.
    pub fn adopt(&self, stream: impl Into<OwnedFd>) -> io::Result<Stream> {
        let socket = Socket::from(stream.into());
        if socket.r#type()? != Type::STREAM {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the descriptor is not a stream socket",
            ));
        }
        let peer = Addr::of_system(&socket.peer_addr()?);
        socket.set_nonblocking(true)?;
        if peer.ip().is_some() {
            socket.set_tcp_nodelay(true)?;
        }
        Ok(Stream::new(
            crate::stream::socket::Socket::shared(socket),
            peer,
            self.reactor(self.watcher()),
        ))
    }
}

impl Io {
    /// Takes over two pipes as one stream: one that is read, and one that is written.
    ///
    /// One of them may be missing. The worker that watches them is chosen as for
    /// [`adopt`](Self::adopt). The pipes are non-blocking from then on, also for other processes
    /// that share them.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if both pipes are missing. Otherwise, returns the system's error.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let (read, write) = std::io::pipe()?;
    /// let mut loops = io.adopt_pipes(Some(read.into()), Some(write.into()))?.into_async()?;
    /// rt.block_on(async {
    ///     loops.write_all(b"hello").await?;
    ///     let mut back = [0; 5];
    ///     loops.read_exact(&mut back).await?;
    ///     assert_eq!(&back, b"hello");
    ///     Ok::<_, std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "uv_pipe_open")]
    pub fn adopt_pipes(&self, from: Option<OwnedFd>, to: Option<OwnedFd>) -> io::Result<Stream> {
        if from.is_none() && to.is_none() {
            let message = "a stream of pipes needs at least one pipe";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        for pipe in from.iter().chain(&to) {
            sys::set_nonblocking(pipe.as_fd())?;
        }
        let pipes = crate::stream::socket::Socket::pipes(from, to)?;
        Ok(Stream::new(pipes, Addr::unnamed(), self.reactor(self.watcher())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an address that does not answer, as its backlog is full.
    fn silent() -> (Socket, Vec<std::net::TcpStream>, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut filling = Vec::new();
        let limit = Duration::from_millis(300);
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, limit) {
            filling.push(stream);
        }
        (socket, filling, address)
    }

    #[test]
    fn n10_an_address_that_does_not_answer_holds_up_the_next_for_the_attempt_delay() {
        let rt = crate::runtime().workers(1).build().unwrap();
        let io = Io::of(&rt.handle());
        let (_socket, _filling, silent) = silent();
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let live = server.local_addr().unwrap();
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let connector = io.connector(live);
        let begin = clock::now();
        let stream = rt.block_on(connector.race(vec![silent, live])).unwrap();
        assert!(stream.peer_addr() == live && clock::now() - begin >= race::ATTEMPT_DELAY);
        // A refused attempt does not delay the next one, and the error is that of the first
        // attempt.
        let stream = rt.block_on(connector.race(vec![gone, gone, live, silent])).unwrap();
        assert!(stream.peer_addr() == live);
        let error = rt.block_on(connector.race(vec![gone, gone])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        // The limit covers all attempts.
        let limit = Duration::from_millis(100);
        let error = rt.block_on(io.connector(silent).within(limit).connect()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_host_and_a_port() {
        assert_eq!(split("example.org:80").unwrap(), ("example.org", 80));
        assert_eq!(split("[::1]:80").unwrap(), ("[::1]", 80));
        for wrong in ["example.org", "example.org:", "example.org:http", "::1:80", "x:65536", ""] {
            assert_eq!(split(wrong).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{wrong}");
        }
    }
}

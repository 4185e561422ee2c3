//! Datagrams over UDP and over Unix sockets (N10).
//!
//! A [`DatagramSocket`] has two uses. A [`DatagramProtocol`], or a closure, serves it on a color,
//! or tasks await it as [`AsyncDatagrams`].
//!
//! A protocol is called with the datagrams of a batch that one system call has received. One event
//! receives batches until no datagram is left or the event's budget is spent. What the protocol
//! sends goes to an [`Outbox`], which is sent at the end of each batch.

// Datagram sockets for async tasks.
mod async_datagrams;
// Datagrams that wait to be sent.
mod outbox;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use dapple::sync::Arc;
use dapple::{Color, Colored, Cx, Site};
use socket2::{Domain, SockAddr, Socket, Type};

use self::outbox::Family;
use crate::fd::{Interest, Ready, Registration};
use crate::listen::{Unlink, bind_replacing};
use crate::reactor::Io;
use crate::sys::{self, BATCH};
use crate::{Addr, ColoredExt, thread};

pub use self::async_datagrams::AsyncDatagrams;
pub use self::outbox::Outbox;

/// The most batches that one event receives before other events have their turn.
const BATCHES: usize = 4;

/// The most flushes at the end of a batch. Each flush may report errors, for which the protocol may
/// send more datagrams. What is queued after the last flush is dropped, unless the socket is full.
const FLUSHES: usize = 4;

/// The limits of a socket that a protocol serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramOptions {
    /// The longest datagram that is received whole, in bytes. A longer one is [cut
    /// off](Datagram::is_truncated). The default is 65,535, which no UDP datagram exceeds. Zero
    /// counts as one byte. Each worker that receives datagrams keeps a buffer for 32 of the
    /// longest.
    pub max_datagram: usize,
    /// The most bytes that wait to be sent while the socket is full. Each datagram counts its
    /// length and 160 bytes. A datagram that exceeds the limit is dropped and counted. The default
    /// is 1 MiB.
    pub max_queued: usize,
}

impl Default for DatagramOptions {
    fn default() -> Self {
        DatagramOptions { max_datagram: 65_535, max_queued: 1024 * 1024 }
    }
}

/// A datagram that was received.
#[derive(Debug)]
pub struct Datagram<'a> {
    bytes: &'a [u8],
    from: &'a SockAddr,
    is_truncated: bool,
}

impl<'a> Datagram<'a> {
    /// Returns the bytes of the datagram.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the address of the datagram's sender.
    pub fn from(&self) -> Addr {
        Addr::of_system(self.from)
    }

    /// Returns `true` if the datagram was longer than
    /// [`max_datagram`](DatagramOptions::max_datagram), so that the rest of it is lost.
    pub fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// Sends a reply to the sender of this datagram. See [`DatagramSocket`] for an example.
    pub fn reply(&self, bytes: &[u8], out: &mut Outbox) {
        out.reply(bytes, self.from);
    }
}

/// The callbacks that serve a datagram socket.
///
/// All calls run on the socket's color. What they send goes out at the end of the event, or of each
/// batch of received datagrams. If a call panics, the socket is closed without a call of
/// [`on_close`](Self::on_close). Nothing else is affected.
///
/// # Examples
///
/// A protocol that answers each datagram with its number:
///
/// ```
/// use std::net::UdpSocket;
/// use dapple_io::{Io, datagram::{Datagram, DatagramOptions, DatagramProtocol, Outbox}};
/// use dapple::Cx;
///
/// struct Numbers(u8);
///
/// impl DatagramProtocol for Numbers {
///     fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox, _: &mut Cx) {
///         self.0 += 1;
///         datagram.reply(&[self.0], out);
///     }
/// }
///
/// let rt = dapple_io::runtime().build()?;
/// let socket = Io::of(&rt.handle()).bind_udp("127.0.0.1:0".parse().unwrap())?;
/// let address = socket.local_addr().ip().expect("it is of UDP");
/// socket.serve(&rt.handle().new_color(), DatagramOptions::default(), Numbers(0));
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// for n in 1..=2 {
///     client.send_to(b"hello", address)?;
///     let mut answer = [0];
///     client.recv(&mut answer)?;
///     assert_eq!(answer, [n]);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait DatagramProtocol: Send + 'static {
    /// Called when a datagram has been received.
    fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox, cx: &mut Cx);

    /// Called when the socket was full, and all datagrams that waited in the outbox have been sent
    /// or dropped since. The default does nothing.
    fn on_room(&mut self, _out: &mut Outbox, _cx: &mut Cx) {}

    /// Called when the system has refused a datagram, when receiving has failed, or when the socket
    /// could not be registered. On a connected socket, `ConnectionRefused` reports that nobody
    /// received an earlier datagram. The default does nothing.
    fn on_error(&mut self, _error: io::Error, _out: &mut Outbox, _cx: &mut Cx) {}

    /// Called last, when the socket is closed. The default does nothing.
    fn on_close(&mut self, _cx: &mut Cx) {}
}

/// A datagram socket, of UDP or of the Unix family, that nothing serves yet.
///
/// # Examples
///
/// An echo server:
///
/// ```
/// use std::net::{SocketAddr, UdpSocket};
/// use dapple_io::{Io, datagram::DatagramSocket};
/// let rt = dapple_io::runtime().build()?;
/// let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
/// let socket = DatagramSocket::bind(&Io::of(&rt.handle()), local)?;
/// let address = socket.local_addr().ip().expect("it is of UDP");
/// socket.on_datagrams(&rt.handle().new_color(), |datagram, out, _| {
///     datagram.reply(datagram.bytes(), out);
/// });
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.send_to(b"hello", address)?;
/// let mut answer = [0; 10];
/// assert_eq!(client.recv(&mut answer)?, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "UdpSocket")]
#[doc(alias = "recv_from")]
#[doc(alias = "recvmmsg")]
#[doc(alias = "UnixDatagram")]
#[doc(alias = "uv_udp_init")]
#[derive(Debug)]
pub struct DatagramSocket {
    io: Io,
    socket: Socket,
    local: Addr,
    unlink: Option<Unlink>,
}

impl DatagramSocket {
    /// Returns a socket that is bound to `address`, of UDP or of a Unix socket.
    ///
    /// UDP port 0 lets the system choose a port. A Unix socket gets a name in the file system,
    /// which is removed when the socket is dropped. A name that was left by a process that has
    /// ended is replaced.
    ///
    /// # Errors
    ///
    /// Returns the system's error if the socket cannot be made or bound, for example `AddrInUse`,
    /// `AddrNotAvailable` or `PermissionDenied`. Returns `InvalidInput` if `address` is unnamed or
    /// has an empty path, or a path or name that is too long.
    ///
    /// # Examples
    ///
    /// A Unix socket with a name in the file system:
    ///
    /// ```
    /// use dapple_io::{Addr, Io, datagram::DatagramSocket};
    /// use std::{os::unix::net::UnixDatagram, sync::mpsc};
    /// # let directory = tempfile::tempdir()?;
    /// let rt = dapple_io::runtime().build()?;
    /// let path = directory.path().join("socket");
    /// let socket = DatagramSocket::bind(&Io::of(&rt.handle()), Addr::unix(&path))?;
    /// let (tx, rx) = mpsc::channel();
    /// socket.on_datagrams(&rt.handle().new_color(), move |datagram, _, _| {
    ///     tx.send(datagram.bytes().to_vec()).unwrap();
    /// });
    /// UnixDatagram::unbound()?.send_to(b"hello", &path)?;
    /// assert_eq!(rx.recv().unwrap(), b"hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind(io: &Io, address: impl Into<Addr>) -> io::Result<DatagramSocket> {
        let address = address.into();
        let domain = address.ip().map_or(Domain::UNIX, Domain::for_address);
        let socket = Socket::new(domain, Type::DGRAM, None)?;
        let unlink = bind_replacing(&socket, &address)?;
        DatagramSocket::new(io, socket, unlink)
    }

    /// Takes over a socket of the standard library, or of another process.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the descriptor is a socket of another type, and the system's error
    /// if it is not a socket or cannot be made non-blocking.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_io::{Io, datagram::DatagramSocket};
    /// use std::net::UdpSocket;
    /// let rt = dapple_io::runtime().build()?;
    /// let io = Io::of(&rt.handle());
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let address = socket.local_addr()?;
    /// assert_eq!(DatagramSocket::adopt(&io, socket)?.local_addr().ip(), Some(address));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn adopt(io: &Io, socket: impl Into<OwnedFd>) -> io::Result<DatagramSocket> {
        let socket = Socket::from(socket.into());
        if socket.r#type()? != Type::DGRAM {
            let message = "the descriptor is not a datagram socket";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        DatagramSocket::new(io, socket, None)
    }

    fn new(io: &Io, socket: Socket, unlink: Option<Unlink>) -> io::Result<DatagramSocket> {
        socket.set_nonblocking(true)?;
        socket.set_cloexec(true)?;
        let local = Addr::of_system(&socket.local_addr()?);
        Ok(DatagramSocket { io: io.clone(), socket, local, unlink })
    }

    /// Connects the socket to an address. It then receives only datagrams from that address, and
    /// [`Outbox::send`] sends to it.
    ///
    /// # Errors
    ///
    /// Returns the system's error if connecting fails, and `InvalidInput` if `address` is unnamed
    /// or has an empty path, or a path or name that is too long.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let peer = std::net::UdpSocket::bind("127.0.0.1:0")?;
    /// let socket = io.bind_udp("127.0.0.1:0".parse().unwrap())?;
    /// socket.connect(peer.local_addr()?)?;
    /// let served = socket.on_datagrams(&rt.handle().new_color(), |_, _, _| ());
    /// served.with(|_, out, _| out.send(b"hello"));      // to the peer
    /// let mut buffer = [0; 10];
    /// assert_eq!(peer.recv(&mut buffer)?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect(&self, address: impl Into<Addr>) -> io::Result<()> {
        self.socket.connect(&address.into().to_system()?)
    }

    /// Returns the address that the socket was bound to when this value was made.
    pub fn local_addr(&self) -> &Addr {
        &self.local
    }

    /// Calls `f`, on `color`, with each datagram that the socket receives, until the socket is
    /// [closed](Datagrams::close). See the [type](Self) for an example.
    #[track_caller]
    pub fn on_datagrams<F>(self, color: &Color, f: F) -> Datagrams<impl DatagramProtocol + use<F>>
    where
        F: FnMut(Datagram<'_>, &mut Outbox, &mut Cx) + Send + 'static,
    {
        struct ByClosure<F>(F);
        impl<F> DatagramProtocol for ByClosure<F>
        where
            F: FnMut(Datagram<'_>, &mut Outbox, &mut Cx) + Send + 'static,
        {
            fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox, cx: &mut Cx) {
                (self.0)(datagram, out, cx);
            }
        }
        self.serve(color, DatagramOptions::default(), ByClosure(f))
    }

    /// Serves the socket with `protocol`, on `color`, until the socket is
    /// [closed](Datagrams::close).
    ///
    /// If the socket cannot be registered with a poller, the protocol's
    /// [`on_error`](DatagramProtocol::on_error) and [`on_close`](DatagramProtocol::on_close) are
    /// called.
    ///
    /// # Examples
    ///
    /// A protocol that gets at most 100 bytes of each datagram:
    ///
    /// ```
    /// use std::{net::UdpSocket, sync::mpsc};
    /// use dapple_io::{Io, datagram::{Datagram, DatagramOptions, DatagramProtocol, Outbox}};
    /// use dapple::Cx;
    ///
    /// struct Lengths(mpsc::Sender<(usize, bool)>);
    ///
    /// impl DatagramProtocol for Lengths {
    ///     fn on_datagram(&mut self, datagram: Datagram<'_>, _: &mut Outbox, _: &mut Cx) {
    ///         self.0.send((datagram.bytes().len(), datagram.is_truncated())).unwrap();
    ///     }
    /// }
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let socket = Io::of(&rt.handle()).bind_udp("127.0.0.1:0".parse().unwrap())?;
    /// let address = socket.local_addr().ip().expect("it is of UDP");
    /// let options = DatagramOptions { max_datagram: 100, ..DatagramOptions::default() };
    /// let (tx, rx) = mpsc::channel();
    /// socket.serve(&rt.handle().new_color(), options, Lengths(tx));
    /// UdpSocket::bind("127.0.0.1:0")?.send_to(&[7; 500], address)?;
    /// assert_eq!(rx.recv().unwrap(), (100, true));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn serve<P: DatagramProtocol>(
        self,
        color: &Color,
        options: DatagramOptions,
        protocol: P,
    ) -> Datagrams<P> {
        let (site, socket) = (Site::caller(), Arc::new(self.socket));
        let family = match self.local.ip() {
            Some(_) => Family::Ip,
            None => Family::Unix,
        };
        let service = Service {
            protocol,
            out: Outbox::new(Arc::clone(&socket), family, options.max_queued),
            slot: options.max_datagram.max(1),
            registration: None,
            asks: Asks::ToRead,
            unlink: self.unlink,
        };
        let service = Colored::new_from(site, color, service);
        let (me, io) = (service.clone(), self.io);
        // The first event of the service registers the socket, on the color, so no readiness can
        // precede it.
        service.post_from(site, move |service, cx| {
            let calls = move |service: &mut Service<P>, ready: Ready, cx: &mut Cx| {
                service.run(cx, |service, cx| service.is_ready(ready, cx));
            };
            match me.on_ready(&io, socket, Interest::READABLE, calls) {
                Ok(registration) => service.registration = Some(registration),
                Err(error) => {
                    service.protocol.on_error(error, &mut service.out, cx);
                    service.close(cx);
                }
            }
        });
        Datagrams { service, local: self.local }
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A handle of a datagram socket that a protocol serves. Dropping it does not close the socket.
///
/// # Examples
///
/// ```
/// let rt = dapple_io::runtime().build()?;
/// let io = dapple_io::Io::of(&rt.handle());
/// let receiver = std::net::UdpSocket::bind("127.0.0.1:0")?;
/// let address = receiver.local_addr()?;
/// let socket = io.bind_udp("127.0.0.1:0".parse().unwrap())?;
/// let served = socket.on_datagrams(&rt.handle().new_color(), |_, _, _| ());
/// served.with(move |_, out, _| out.send_to(b"hello", address));
/// served.close();      // behind the event that sends
/// let mut buffer = [0; 10];
/// assert_eq!(receiver.recv(&mut buffer)?, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Datagrams<P: DatagramProtocol> {
    service: Colored<Service<P>>,
    local: Addr,
}

impl<P: DatagramProtocol> Datagrams<P> {
    /// Posts `f` to the socket's color, with access to the protocol and its outbox. `f` is dropped
    /// if the socket is closed by then, or if the runtime of its color has ended. See the
    /// [type](Self) for an example.
    #[track_caller]
    pub fn with(&self, f: impl FnOnce(&mut P, &mut Outbox, &mut Cx) + Send + 'static) {
        self.service.post(move |service, cx| {
            service.run(cx, |service, cx| f(&mut service.protocol, &mut service.out, cx));
        });
    }

    /// Closes the socket. Datagrams that the system does not take at once are dropped. See the
    /// [type](Self) for an example.
    #[track_caller]
    pub fn close(&self) {
        self.with(|_, out, _| out.close());
    }

    /// Returns the address that the socket was bound to when the [`DatagramSocket`] was made.
    pub fn local_addr(&self) -> &Addr {
        &self.local
    }

    /// Returns the color of the socket.
    pub fn color(&self) -> &Color {
        self.service.color()
    }
}

impl<P: DatagramProtocol> Clone for Datagrams<P> {
    fn clone(&self) -> Self {
        Datagrams { service: self.service.clone(), local: self.local.clone() }
    }
}

impl<P: DatagramProtocol> fmt::Debug for Datagrams<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagrams").field("color", self.color()).finish_non_exhaustive()
    }
}

/// A socket and its protocol, which the color guards.
struct Service<P: DatagramProtocol> {
    protocol: P,
    out: Outbox,
    /// The bytes of the buffer that each received datagram gets.
    slot: usize,
    /// The registration, whose callback owns a handle of this service. Taking it out breaks that
    /// cycle.
    registration: Option<Registration>,
    asks: Asks,
    /// Removes the socket's name from the file system when it is dropped.
    unlink: Option<Unlink>,
}

/// The readiness that the service asks its poller for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    ToRead,
    /// The socket is full, so the service also waits for room.
    ToReadAndWrite,
}

impl<P: DatagramProtocol> Service<P> {
    /// Calls `happens`, then flushes the outbox, and closes the socket if asked to. A panic closes
    /// it too.
    fn run(&mut self, cx: &mut Cx, happens: impl FnOnce(&mut Self, &mut Cx)) {
        if self.out.socket.is_none() {
            return;
        }
        /// Closes the socket when it is dropped during a panic.
        struct Panics<'a, P: DatagramProtocol>(&'a mut Service<P>);
        impl<P: DatagramProtocol> Drop for Panics<'_, P> {
            fn drop(&mut self) {
                (self.0.out.socket, self.0.registration, self.0.unlink) = (None, None, None);
            }
        }
        let guard = Panics(self);
        happens(guard.0, cx);
        guard.0.flush(cx);
        if guard.0.out.is_closing {
            guard.0.close(cx);
        }
        std::mem::forget(guard);
    }

    fn close(&mut self, cx: &mut Cx) {
        if self.out.socket.take().is_some() {
            self.out.clear();
            (self.registration, self.unlink) = (None, None);
            self.protocol.on_close(cx);
        }
    }

    fn is_ready(&mut self, ready: Ready, cx: &mut Cx) {
        if ready.is_writable() && self.out.is_full {
            self.out.flush();
            self.tell_errors(cx);
            if !self.out.is_full {
                self.protocol.on_room(&mut self.out, cx);
            }
        }
        self.receive(cx);
    }

    /// Receives batches, and sends after each what the protocol has queued.
    fn receive(&mut self, cx: &mut Cx) {
        let mut buffer = thread::state(|state| state.datagrams.take());
        buffer.resize((BATCH * self.slot).max(buffer.len()), 0);
        let mut received = Vec::with_capacity(BATCH);
        for _ in 0..BATCHES {
            let open = self.out.socket.clone().filter(|_| !self.out.is_closing);
            let Some(socket) = open else { break };
            received.clear();
            let came = sys::receive_many(socket.as_fd(), &mut buffer, self.slot, &mut received);
            if let Err(error) = came {
                if error.kind() != io::ErrorKind::WouldBlock
                    && error.kind() != io::ErrorKind::Interrupted
                {
                    self.protocol.on_error(error, &mut self.out, cx);
                }
                break;
            }
            for (one, slot) in received.iter().zip(buffer.chunks(self.slot)) {
                if self.out.is_closing {
                    break;
                }
                let bytes = &slot[..one.length];
                let datagram = Datagram { bytes, from: &one.from, is_truncated: one.is_truncated };
                self.protocol.on_datagram(datagram, &mut self.out, cx);
            }
            self.flush(cx);
            if received.len() < BATCH {
                break;
            }
        }
        thread::state(|state| state.datagrams.set(buffer));
    }

    /// Sends what is queued, unless the socket is known to be full. A protocol may queue more for
    /// each error, so there are at most [`FLUSHES`] rounds.
    fn flush(&mut self, cx: &mut Cx) {
        for _ in 0..FLUSHES {
            if !self.out.is_full {
                self.out.flush();
            }
            self.tell_errors(cx);
            if self.out.is_empty() || self.out.is_full {
                break;
            }
        }
        if !self.out.is_full && !self.out.is_empty() {
            self.out.clear();
        }
        let asks = if self.out.is_full { Asks::ToReadAndWrite } else { Asks::ToRead };
        if let Some(registration) = self.registration.as_ref().filter(|_| asks != self.asks) {
            registration.set_interest(match asks {
                Asks::ToRead => Interest::READABLE,
                Asks::ToReadAndWrite => Interest::READABLE | Interest::WRITABLE,
            });
            self.asks = asks;
        }
    }

    /// Reports to the protocol the datagrams that the system has refused.
    fn tell_errors(&mut self, cx: &mut Cx) {
        for error in std::mem::take(&mut self.out.errors) {
            self.protocol.on_error(error, &mut self.out, cx);
        }
    }
}

impl Io {
    /// Returns a UDP socket that is bound to `address`, with a port that the system chooses if
    /// `address` has port 0. See [`DatagramSocket::bind`].
    ///
    /// # Errors
    ///
    /// Returns the system's error if the socket cannot be made or bound, for example `AddrInUse`,
    /// `AddrNotAvailable` or `PermissionDenied`.
    pub fn bind_udp(&self, address: SocketAddr) -> io::Result<DatagramSocket> {
        DatagramSocket::bind(self, address)
    }
}

//! Datagrams: UDP, and Unix sockets (N10).
//!
//! A [`DatagramSocket`] is served by a [`DatagramProtocol`], or by a closure, on a color, in
//! batches of one call of the system each; or it is for tasks ([`AsyncDatagrams`]).
//!
//! In one event datagrams are received until the system has no more or the event's budget is spent;
//! what the protocol sends goes to an [`Outbox`], and leaves at the end of each batch.

// For tasks.
mod async_datagrams;
// What waits to be sent.
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

/// Batches that one event takes before others have their turn.
const BATCHES: usize = 4;

/// How often what the protocol sends for an error is sent before it is dropped.
const FLUSHES: usize = 4;

/// Limits of what is served over a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramOptions {
    /// Longest datagram that is received, in bytes; what is longer comes
    /// [cut](Datagram::is_cut). By default 65,535, which no datagram of UDP exceeds. Each worker
    /// keeps room for 32 of the longest.
    pub max_datagram: usize,
    /// Most bytes that wait to be sent while the socket is full, each datagram counting 160 bytes
    /// more than it has; what comes beyond that is dropped and counted. By default 1 MiB.
    pub max_queued: usize,
}

impl Default for DatagramOptions {
    fn default() -> Self {
        DatagramOptions { max_datagram: 65_535, max_queued: 1024 * 1024 }
    }
}

/// A datagram that has come.
#[derive(Debug)]
pub struct Datagram<'a> {
    bytes: &'a [u8],
    from: &'a SockAddr,
    is_cut: bool,
}

impl<'a> Datagram<'a> {
    /// The bytes of the datagram.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The address of who has sent the datagram.
    pub fn from(&self) -> Addr {
        Addr::of_system(self.from)
    }

    /// Says whether the datagram was longer than
    /// [`max_datagram`](DatagramOptions::max_datagram): the rest is lost.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Sends a datagram back to who has sent this one.
    pub fn reply(&self, bytes: &[u8], out: &mut Outbox) {
        out.reply(bytes, self.from);
    }
}

/// What serves a socket of datagrams. All calls run on its color; what they send leaves at the end
/// of the event, or of each batch.
///
/// A protocol that panics loses its socket, and nothing else.
pub trait DatagramProtocol: Send + 'static {
    /// A datagram has come.
    fn on_datagram(&mut self, datagram: Datagram<'_>, out: &mut Outbox, cx: &mut Cx);

    /// What was waiting in the out-box has been sent, after the socket was full. The default does
    /// nothing.
    fn on_room(&mut self, _out: &mut Outbox, _cx: &mut Cx) {}

    /// The system has refused a datagram, or tells of one that nobody has received
    /// (`ConnectionRefused`, on a connected socket). The default does nothing.
    fn on_error(&mut self, _error: io::Error, _out: &mut Outbox, _cx: &mut Cx) {}

    /// The socket is closed. The last call. The default does nothing.
    fn on_close(&mut self, _cx: &mut Cx) {}
}

/// A socket of datagrams, of UDP or of the Unix family, that nobody serves yet.
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
    /// A socket that is bound to an address: of UDP, with port 0 for one that the system chooses,
    /// or of a Unix socket. That gets a name in the file system, which is removed with the socket;
    /// a name that a process has left which has ended is replaced.
    ///
    /// # Errors
    ///
    /// What the system says: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`.
    pub fn bind(io: &Io, address: impl Into<Addr>) -> io::Result<DatagramSocket> {
        let address = address.into();
        let domain = address.ip().map_or(Domain::UNIX, Domain::for_address);
        let socket = Socket::new(domain, Type::DGRAM, None)?;
        let unlink = bind_replacing(&socket, &address)?;
        DatagramSocket::new(io, socket, unlink)
    }

    /// Takes a socket of the standard library, or of another process.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is no socket of datagrams; otherwise what the system says.
    pub fn adopt(io: &Io, socket: impl Into<OwnedFd>) -> io::Result<DatagramSocket> {
        let socket = Socket::from(socket.into());
        if socket.r#type()? != Type::DGRAM {
            let message = "that is no socket of datagrams";
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

    /// Connects the socket to an address: only datagrams from there come, and [`Outbox::send`]
    /// sends there.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn connect(&self, address: impl Into<Addr>) -> io::Result<()> {
        self.socket.connect(&address.into().to_system()?)
    }

    /// The address that the socket was bound to when this was made.
    pub fn local_addr(&self) -> &Addr {
        &self.local
    }

    /// Calls `f`, on `color`, with each datagram that comes to the socket, until the socket is
    /// [closed](Datagrams::close).
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

    /// Has `protocol` serve the socket, on `color`, until that is [closed](Datagrams::close).
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
        // The first event registers the socket, on the color: nothing can come before it.
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

/// A socket that is served; a handle of it. Dropping it does not close the socket.
pub struct Datagrams<P: DatagramProtocol> {
    service: Colored<Service<P>>,
    local: Addr,
}

impl<P: DatagramProtocol> Datagrams<P> {
    /// Posts `f`, which gets the protocol and its out-box on the socket's color. If the socket is
    /// closed by then, or the runtime of its color has ended, `f` is dropped.
    #[track_caller]
    pub fn with(&self, f: impl FnOnce(&mut P, &mut Outbox, &mut Cx) + Send + 'static) {
        self.service.post(move |service, cx| {
            service.run(cx, |service, cx| f(&mut service.protocol, &mut service.out, cx));
        });
    }

    /// Closes the socket. What the system does not take at once is dropped.
    #[track_caller]
    pub fn close(&self) {
        self.with(|_, out, _| out.close());
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> &Addr {
        &self.local
    }

    /// The color of the socket.
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

/// A socket and its protocol: what the color guards.
struct Service<P: DatagramProtocol> {
    protocol: P,
    out: Outbox,
    /// Bytes that a datagram has room for.
    slot: usize,
    /// It keeps the service, until it is taken out.
    registration: Option<Registration>,
    asks: Asks,
    /// The name in the file system that goes with it.
    unlink: Option<Unlink>,
}

/// What the system is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    ToRead,
    /// The socket is full, and the system tells when it is not.
    ToReadAndWrite,
}

impl<P: DatagramProtocol> Service<P> {
    /// Does something, and what follows. A panic of the protocol closes the socket.
    fn run(&mut self, cx: &mut Cx, happens: impl FnOnce(&mut Self, &mut Cx)) {
        if self.out.socket.is_none() {
            return;
        }
        /// Closes the socket unless all went well.
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

    /// Receives batches, and sends what comes of each.
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
                let datagram = Datagram { bytes, from: &one.from, is_cut: one.is_cut };
                self.protocol.on_datagram(datagram, &mut self.out, cx);
            }
            self.flush(cx);
            if received.len() < BATCH {
                break;
            }
        }
        thread::state(|state| state.datagrams.set(buffer));
    }

    /// Sends what waits, unless the socket is known to be full. A protocol that sends again and
    /// again what is refused is not followed for ever.
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

    /// Tells what the system has refused.
    fn tell_errors(&mut self, cx: &mut Cx) {
        for error in std::mem::take(&mut self.out.errors) {
            self.protocol.on_error(error, &mut self.out, cx);
        }
    }
}

impl Io {
    /// A socket of UDP that is bound to an address. See [`DatagramSocket::bind`].
    ///
    /// # Errors
    ///
    /// What the system says: `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`.
    pub fn bind_udp(&self, address: SocketAddr) -> io::Result<DatagramSocket> {
        DatagramSocket::bind(self, address)
    }
}

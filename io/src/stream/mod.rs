//! Streams of bytes (TCP, Unix sockets, the pipes of a child), and connections over them, in
//! callback style and for async tasks.
//!
//! A [`Stream`] comes from a [listener](crate::tcp::Listener), from
//! [`Io::connect_then`](crate::Io::connect_then), or from [`Io::adopt`](crate::Io::adopt). A
//! [`Protocol`] talks over a [`Conn`], within the limits of [`ConnOptions`]. A
//! [`Transport`](crate::transport::Transport) delivers framed messages in order. An [`AsyncStream`]
//! is for tasks.
//!
//! A connection's events run on its color. One event reads until the system has no more bytes or
//! the event's budget is spent, lets the protocol answer into the out-buffer, and writes the
//! out-buffer at once at its end (N6).

// Streams for async tasks.
mod async_stream;
// The input that is not yet consumed, and the output that is not yet written.
mod buffer;
// A connection as its protocol sees it.
mod conn;
// The state of the two directions of a socket.
mod direction;
// The driver of a connection: readiness, timeouts, the end.
mod link;
// A pair of pipes in the place of a socket.
mod pipes;
// The trait of protocols in callback style.
mod protocol;
// The registration of a connection, and its timer.
mod registration;
// A socket or a pair of pipes.
pub(crate) mod socket;
// A connection's state and its next action: a step function.
mod state;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use dapple::sync::{Arc, Weak};
use dapple::{Color, Site};

use self::socket::Socket;
use crate::Addr;
use crate::reactor::ReactorShared;

pub use async_stream::AsyncStream;
pub use conn::{Conn, TakenInput};
pub use link::Connection;
pub use protocol::Protocol;

/// A connected stream that nothing reads yet. Dropping it closes it.
///
/// # Examples
///
/// A server that computes its answers on all cores, and sends them in the order of the messages:
///
/// ```
/// use std::{io::{Read, Write}, os::unix::net::UnixStream};
/// use dapple_io::{Io, transport::{Message, TransportOptions}};
/// use dapple::Sequencer;
/// let rt = dapple_io::runtime().build()?;
/// let (ours, mut client) = UnixStream::pair()?;
/// let (stream, color) = (Io::of(&rt.handle()).adopt(ours)?, rt.handle().new_color());
/// let answers = Sequencer::new(&color, |(message, answer): (Message, Vec<u8>), _| {
///     _ = message.reply(&answer);      // fails if the client is gone
/// });
/// stream.deliver(&color, TransportOptions::default(), move |message, cx| {
///     let place = answers.reserve();
///     cx.post_uncolored(move |_| {
///         let answer = message.bytes().to_ascii_uppercase();
///         place.complete((message, answer));
///     });
/// });
/// client.write_all(b"\0\0\0\x03one\0\0\0\x03two")?;
/// let mut all = [0; 14];
/// client.read_exact(&mut all)?;
/// assert_eq!(&all, b"\0\0\0\x03ONE\0\0\0\x03TWO");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Stream {
    pub(crate) socket: Arc<Socket>,
    pub(crate) peer: Addr,
    pub(crate) reactor: Arc<ReactorShared>,
}

impl Stream {
    pub(crate) fn new(socket: Socket, peer: Addr, reactor: &Arc<ReactorShared>) -> Stream {
        Stream { socket: Arc::new(socket), peer, reactor: Arc::clone(reactor) }
    }

    /// Returns the address of the peer.
    pub fn peer_addr(&self) -> Addr {
        self.peer.clone()
    }

    /// Returns the local address.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub fn local_addr(&self) -> io::Result<Addr> {
        self.socket.local_addr()
    }

    /// Returns the socket, which is non-blocking, for another library or another process.
    ///
    /// # Errors
    ///
    /// Returns `Unsupported` for a pair of pipes, and otherwise the system's error.
    ///
    /// # Examples
    ///
    /// A thread that uses the socket with blocking calls:
    ///
    /// ```
    /// use std::{io::Write, net::TcpStream};
    /// use dapple_io::{Io, tcp::Accepting};
    /// let rt = dapple_io::runtime().build()?;
    /// let local = "127.0.0.1:0".parse().unwrap();
    /// let listener = Io::of(&rt.handle()).listen(local, Accepting::PerWorker, |stream, _| {
    ///     std::thread::spawn(move || {
    ///         let mut socket = TcpStream::from(stream.into_fd()?);
    ///         socket.set_nonblocking(false)?;
    ///         socket.write_all(b"hello")
    ///     });
    /// })?;
    /// let client = TcpStream::connect(listener.local_addr())?;
    /// assert_eq!(std::io::read_to_string(client)?, "hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "into_raw_fd")]
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        let socket = self.socket.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        // Other owners may still have the socket for a moment, so the descriptor is duplicated. The
        // listener that accepted the socket no longer counts it.
        socket.as_fd().try_clone_to_owned()
    }

    /// Has `protocol` talk over the stream, on `color`, and returns a handle of the connection.
    ///
    /// # Examples
    ///
    /// A protocol that greets its client, and says goodbye when the program is about to end:
    ///
    /// ```
    /// use std::os::unix::net::UnixStream;
    /// use dapple_io::{Io, stream::{Conn, ConnOptions, Protocol}};
    /// use dapple::Cx;
    ///
    /// struct Polite;
    /// impl Protocol for Polite {
    ///     fn on_open(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         conn.send(b"hello, ");
    ///     }
    ///     fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         conn.consume(conn.input().len());
    ///     }
    ///     fn on_drain(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         conn.send(b"goodbye");
    ///         conn.close();
    ///     }
    /// }
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let io = Io::of(&rt.handle());
    /// let (ours, client) = UnixStream::pair()?;
    /// io.adopt(ours)?.serve(&rt.handle().new_color(), ConnOptions::default(), Polite);
    /// io.drain_connections();
    /// assert_eq!(std::io::read_to_string(client)?, "hello, goodbye");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn serve<P: Protocol>(
        self,
        color: &Color,
        options: ConnOptions,
        protocol: P,
    ) -> Connection<P> {
        link::serve(self, color, Site::caller(), options, protocol)
    }

    /// Has a protocol talk over the stream, on `color`, where the protocol gets a weak handle of
    /// its own connection.
    ///
    /// `make` gets the weak handle and makes the protocol. The protocol may pass the handle to
    /// others that have something to send later. The weak handle does not keep the connection
    /// alive.
    ///
    /// # Examples
    ///
    /// A greeting that comes 2 ms later:
    ///
    /// ```
    /// use std::{io::Read, net::TcpStream, sync::Weak, time::Duration};
    /// use dapple_io::stream::{Conn, ConnOptions, Connection, Protocol};
    /// use dapple_io::tcp::Accepting;
    /// use dapple::Cx;
    ///
    /// struct Late { me: Weak<Connection<Late>> }
    ///
    /// impl Protocol for Late {
    ///     fn on_open(&mut self, conn: &mut Conn, cx: &mut Cx) {
    ///         let me = self.me.clone();
    ///         cx.post_after(Duration::from_millis(2), &cx.color().unwrap(), move |_| {
    ///             if let Some(me) = me.upgrade() {
    ///                 me.with(|_, conn, _| {
    ///                     conn.send(b"hello");
    ///                     conn.close();
    ///                 });
    ///             }
    ///         });
    ///     }
    ///     fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
    ///         conn.consume(conn.input().len());
    ///     }
    /// }
    ///
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let local = "127.0.0.1:0".parse().unwrap();
    /// let listener = io.listen(local, Accepting::PerWorker, |stream, cx| {
    ///     stream.serve_with(&cx.new_color(), ConnOptions::default(), |me| Late { me });
    /// })?;
    /// let mut greeting = String::new();
    /// TcpStream::connect(listener.local_addr())?.read_to_string(&mut greeting)?;
    /// assert_eq!(greeting, "hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn serve_with<P: Protocol>(
        self,
        color: &Color,
        options: ConnOptions,
        make: impl FnOnce(Weak<Connection<P>>) -> P,
    ) -> Connection<P> {
        Connection::clone(&link::serve_with(self, color, Site::caller(), options, make))
    }

    /// Has `protocol` talk over the stream, on `color`, and returns a weak handle of the
    /// connection.
    ///
    /// The weak handle can be upgraded for as long as the connection exists. A protocol that needs
    /// the handle itself is made by [`serve_with`](Self::serve_with).
    ///
    /// See [`serve_with`](Self::serve_with) for an example of a weak handle.
    #[track_caller]
    pub fn serve_weakly<P: Protocol>(
        self,
        color: &Color,
        options: ConnOptions,
        protocol: P,
    ) -> Weak<Connection<P>> {
        let site = Site::caller();
        Arc::downgrade(&link::serve_with(self, color, site, options, |_| protocol))
    }
}

/// The descriptor, for example to set options of the socket. For a pair of pipes, it is the one
/// that is read.
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The limits of a connection (N5). Each has a default.
///
/// # Examples
///
/// A limit of 8 bytes for a message that is not complete:
///
/// ```
/// use std::{io::Write, os::unix::net::UnixStream, sync::mpsc};
/// use dapple_io::{Io, stream::{CloseReason, Conn, ConnOptions, Protocol}};
/// use dapple::Cx;
///
/// struct Waits(mpsc::Sender<bool>);
/// impl Protocol for Waits {
///     fn on_data(&mut self, _: &mut Conn, _: &mut Cx) {}       // the end has not arrived
///     fn on_close(&mut self, reason: &CloseReason, _: &mut Cx) {
///         self.0.send(matches!(reason, CloseReason::InputLimit)).unwrap();
///     }
/// }
///
/// let rt = dapple_io::runtime().build()?;
/// let (tell, told) = mpsc::channel();
/// let (ours, mut client) = UnixStream::pair()?;
/// let options = ConnOptions { max_input: 8, ..ConnOptions::default() };
/// let stream = Io::of(&rt.handle()).adopt(ours)?;
/// stream.serve(&rt.handle().new_color(), options, Waits(tell));
/// client.write_all(b"much too long")?;
/// # drop(client);
/// assert!(told.recv().unwrap());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnOptions {
    /// The time without traffic after which the connection closes, while no input is incomplete and
    /// no output waits. By default 60 s.
    pub idle_timeout: Duration,
    /// The time limit for a message, from its first byte until it is consumed. More bytes do not
    /// prolong it. By default 10 s.
    pub frame_timeout: Duration,
    /// The time limit for waiting output, of which the peer takes nothing. By default 30 s.
    pub write_timeout: Duration,
    /// The time limit for the peer to close its side after ours has been closed. The connection
    /// reads and discards what the peer still sends, so that the peer gets the last answer. By
    /// default 2 s.
    pub linger_timeout: Duration,
    /// The maximum length of input that the protocol may leave unconsumed, in bytes. A connection
    /// whose protocol leaves more is closed, unless it is congested or paused, or has asked to come
    /// back. By default 64 KiB.
    pub max_input: usize,
    /// The maximum number of descriptors that a peer on a Unix socket has passed and that have not
    /// been [taken](Conn::take_fds). A connection whose peer passes more is closed. By default 0:
    /// the system then closes all descriptors that the peer passes.
    pub max_fds: usize,
    /// The length of output, in bytes, at which the connection is [congested](Conn::is_congested),
    /// so that the protocol should make no more. There is room again when half of this length is
    /// left. By default 256 KiB.
    pub high_water: usize,
}

impl Default for ConnOptions {
    fn default() -> Self {
        ConnOptions {
            idle_timeout: Duration::from_secs(60),
            frame_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            linger_timeout: Duration::from_secs(2),
            max_input: 64 * 1024,
            max_fds: 0,
            high_water: 256 * 1024,
        }
    }
}

/// The reason why a connection ended.
///
/// # Examples
///
/// A protocol that [rejects](Conn::reject) a peer that sends anything but digits:
///
/// ```
/// use std::{io::Write, os::unix::net::UnixStream, sync::mpsc};
/// use dapple_io::{Io, stream::{CloseReason, Conn, ConnOptions, Protocol}};
/// use dapple::Cx;
///
/// struct Digits(mpsc::Sender<&'static str>);
/// impl Protocol for Digits {
///     fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
///         match conn.input().iter().all(u8::is_ascii_digit) {
///             true => conn.consume(conn.input().len()),
///             false => conn.reject("not a digit"),
///         }
///     }
///     fn on_close(&mut self, reason: &CloseReason, _: &mut Cx) {
///         if let CloseReason::Protocol(rule) = reason {
///             self.0.send(rule).unwrap();
///         }
///     }
/// }
///
/// let rt = dapple_io::runtime().build()?;
/// let (tell, told) = mpsc::channel();
/// let (ours, mut client) = UnixStream::pair()?;
/// let stream = Io::of(&rt.handle()).adopt(ours)?;
/// stream.serve(&rt.handle().new_color(), ConnOptions::default(), Digits(tell));
/// client.write_all(b"12x")?;
/// # drop(client);
/// assert_eq!(told.recv().unwrap(), "not a digit");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The protocol closed the connection, or both sides have ended.
    Closed,
    /// The peer closed its side, and the connection ended for that reason. A transport that drains
    /// also ends with this reason.
    Peer,
    /// There was no traffic for [`ConnOptions::idle_timeout`].
    IdleTimeout,
    /// A message took longer than [`ConnOptions::frame_timeout`].
    FrameTimeout,
    /// The peer took no output for [`ConnOptions::write_timeout`].
    WriteTimeout,
    /// The protocol left more input than [`ConnOptions::max_input`].
    InputLimit,
    /// The peer broke the rules of the protocol, as the text says.
    Protocol(&'static str),
    /// The system reported an error.
    Io(io::Error),
    /// The protocol panicked. [`Protocol::on_close`] is not called in this case.
    Panicked,
}

//! Streams of bytes: TCP, Unix sockets, the pipes of a child; and connections over them, in
//! callback style and for async tasks.
//!
//! A [`Stream`] comes from a [listener](crate::tcp::Listener), from
//! [`Io::connect_then`](crate::Io::connect_then), or from [`Io::adopt`](crate::Io::adopt). A
//! [`Protocol`] talks over a [`Conn`], within the limits of [`ConnOptions`]; a
//! [`Transport`](crate::transport::Transport) delivers framed messages in order; an
//! [`AsyncStream`] is for tasks.
//!
//! A connection's events run on its color. In one event it is read until the system has no more or
//! the event's budget is spent, the protocol answers into the out-buffer, and at the end of the
//! event that is written at once (N6).

// For async tasks.
mod async_stream;
// What is read and not yet understood, what is to be written.
mod buffer;
// What a protocol sees of its connection.
mod conn;
// What is known of the two directions of its socket.
mod direction;
// What drives it: readiness, timeouts, the end.
mod link;
// A pair of pipes, in the place of a socket.
mod pipes;
// Where it is registered, and its timer.
mod place;
// What bytes go through.
pub(crate) mod socket;
// What it knows, and what it does next: a step function.
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
pub use link::{Connection, Protocol};

/// A stream that is connected, and that nobody reads yet. If it is dropped, it closes.
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

    /// The address of the peer.
    pub fn peer_addr(&self) -> Addr {
        self.peer.clone()
    }

    /// The address on this side.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<Addr> {
        self.socket.local_addr()
    }

    /// Gives the socket back, for another library or another process. It does not block.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a pair of pipes.
    #[doc(alias = "into_raw_fd")]
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        let socket = self.socket.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        // Others may have it for a moment, so it is copied; the listener that has accepted it
        // counts it no more.
        socket.as_fd().try_clone_to_owned()
    }

    /// Has `protocol` talk over the stream, on `color`.
    #[track_caller]
    pub fn serve<P: Protocol>(
        self,
        color: &Color,
        options: ConnOptions,
        protocol: P,
    ) -> Connection<P> {
        link::serve(self, color, Site::caller(), options, protocol)
    }

    /// Has a protocol talk over the stream, on `color`. `make` makes the protocol, and gets a weak
    /// handle of the protocol's own connection: the protocol may give that to others, who have
    /// something to send later. The handle does not keep the connection alive.
    ///
    /// # Examples
    ///
    /// A greeting that comes a moment later:
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
    /// connection, which can be upgraded as long as the connection is there. See
    /// [`serve_with`](Self::serve_with).
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

/// The descriptor, for options of the socket; of a pair of pipes, the one that is read.
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Limits of a connection (N5). Every one has a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnOptions {
    /// How long nothing may happen while nothing is expected: no input waits to be completed,
    /// no output to be written. By default 60 s.
    pub idle_timeout: Duration,
    /// How long a message may take from its first byte to its last. More bytes do not
    /// prolong it. By default 10 s.
    pub frame_timeout: Duration,
    /// How long the peer may take nothing of the output that waits. By default 30 s.
    pub write_timeout: Duration,
    /// How long the peer may take to close its side after the connection has been closed on ours,
    /// so that it gets the last answer though it is still sending. By default 2 s.
    pub linger_timeout: Duration,
    /// Most bytes of input that wait to be understood; a protocol that leaves more is closed. By
    /// default 64 KiB.
    pub max_input: usize,
    /// Most descriptors that a peer on a Unix socket may have passed, and that have not been
    /// [taken](Conn::take_fds); one that passes more is closed. By default 0: the system closes
    /// what it passes.
    pub max_fds: usize,
    /// Output, in bytes, from which on a connection is [congested](Conn::is_congested): the
    /// protocol should make no more. There is room again when half of it has been written. By
    /// default 256 KiB.
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

/// Why a connection ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The protocol closed it, and the output was written.
    Closed,
    /// The peer closed it.
    Peer,
    /// Nothing happened for too long.
    IdleTimeout,
    /// A message took too long.
    FrameTimeout,
    /// The peer took nothing for too long.
    WriteTimeout,
    /// More input was left than is allowed.
    InputLimit,
    /// The peer broke the rules of the protocol.
    Protocol(&'static str),
    /// The system has reported an error.
    Io(io::Error),
    /// The protocol panicked.
    Panicked,
}

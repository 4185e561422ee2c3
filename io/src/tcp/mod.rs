//! TCP: listeners; connections in callback style, with a buffer on each side; streams for async
//! tasks.
//!
//! [`Io::listen`](crate::Io::listen) accepts; a [`Protocol`] talks over a [`Conn`], within the limits of
//! [`ConnOptions`]. A [`Transport`] delivers framed messages in order, to a domain or to a handler on the connection's
//! color.
//!
//! A connection's events run on its color. In one event it is read until the system has no more or
//! the event's budget is spent, the protocol answers into the out-buffer, and at the end of the
//! event that is written at once (N6).

// What is read and not yet understood, what is to be written.
mod buffer;
// What a protocol sees of its connection.
mod conn;
// What is known of the two directions of its socket.
mod direction;
// What it knows, and what it does next: a step function.
mod state;
// What drives it: readiness, timeouts, the end.
mod link;
// Where it is registered, and its timer.
mod place;
// Accepting, one listener per worker or one for all (N3).
mod listener;
// For async tasks: whether trying may help, and the stream.
mod attempts;
mod stream;
// Framed messages in order (N4): their format, what talks over the connection, and how many are in
// flight.
mod frame;
mod framed;
#[cfg(any(test, dapple_fuzzing))]
pub(crate) mod fuzzing;
mod in_flight;
mod transport;

use std::io;
use std::time::Duration;

pub use conn::{Conn, TakenInput};
pub use link::{Connection, Protocol};
pub use listener::{Accepting, Listener, TcpStream};
pub use stream::AsyncStream;
pub use transport::{Message, SendError, Transport, TransportOptions};

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
    /// The system said so.
    Io(io::Error),
    /// The protocol panicked.
    Panicked,
}

//! The types that a TCP program needs, in one place.
//!
//! They come from [`listen`](crate::listen), [`stream`](crate::stream) and
//! [`transport`](crate::transport). For connecting, see [`connect`](crate::connect).

pub use crate::listen::{Accepting, Listener, ListenerBuilder};
pub use crate::stream::{
    AsyncStream, CloseReason, Conn, ConnOptions, Connection, Protocol, Stream, TakenInput,
};
pub use crate::transport::{Message, SendError, Transport, TransportOptions};

/// The name of a [`Stream`] in a TCP program.
pub type TcpStream = Stream;

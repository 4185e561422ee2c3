//! What a program of TCP needs, in one place: it is all in [`listen`](crate::listen),
//! [`stream`](crate::stream), [`connect`](crate::connect) and [`transport`](crate::transport).

pub use crate::listen::{Accepting, Listener, ListenerBuilder};
pub use crate::stream::{
    AsyncStream, CloseReason, Conn, ConnOptions, Connection, Protocol, Stream, TakenInput,
};
pub use crate::transport::{Message, SendError, Transport, TransportOptions};

/// A [`Stream`]; the name that it has in a program of TCP.
pub type TcpStream = Stream;

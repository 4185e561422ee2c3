//! The reactor of the dapple executor: descriptors, TCP, and signals, each with a color.
//!
//! ```
//! use std::{io::{Read, Write}, net::TcpStream, time::Duration};
//! use dapple_io::tcp::{Accepting, Conn, ConnOptions, Protocol};
//! use dapple::Cx;
//!
//! /// Sends back what it gets.
//! struct Echo;
//! impl Protocol for Echo {
//!     fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
//!         let n = conn.input().len();
//!         let bytes = conn.input().to_vec();
//!         conn.send(&bytes);
//!         conn.consume(n);
//!     }
//! }
//!
//! let rt = dapple_io::runtime().build()?;
//! let io = dapple_io::Io::of(&rt.handle());
//! let listener = io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, |stream, cx| {
//!     // A connection has a color: what belongs to it is serial, and connections run in parallel.
//!     let color = cx.new_color();
//!     stream.serve(&color, ConnOptions::default(), Echo);
//! })?;
//! let mut client = TcpStream::connect(listener.local_addr())?;
//! client.write_all(b"hello")?;
//! let mut answer = [0; 5];
//! client.read_exact(&mut answer)?;
//! assert_eq!(&answer, b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! * [`runtime`]: a [`dapple::Builder`] whose workers sleep in the reactor.
//! * [`Io`]: the way to the reactor: [`Io::on_readable`], [`Io::on_signal`], [`Io::listen`].
//! * [`tcp`]: listeners, buffered connections, and streams for async tasks.
//! * [`TimeoutStream`]: such a stream with limits of time.
//! * `tls`, with the feature of that name: TLS streams by rustls.
//! * `hyper`, with the feature of that name: a bridge to hyper.
//!
//! Readiness that arrives on a worker's poller is posted as an event to a color; callbacks never
//! run inside the poller.
#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks, missing_docs)]

mod addr;
mod callback;
pub mod child;
mod clock_timer;
pub mod codec;
pub mod connect;
pub mod datagram;
mod ext;
mod fd;
#[cfg(any(test, dapple_fuzzing))]
pub mod fuzzing;
#[cfg(feature = "hyper")]
pub mod hyper;
pub mod listen;
mod reactor;
mod signal;
mod stdio;
pub mod stream;
mod sys;
pub mod tcp;
mod thread;
mod timeout;
#[cfg(feature = "tls")]
pub mod tls;
pub mod transport;
pub mod unix;

use dapple::sync::Arc;

pub use addr::Addr;
pub use clock_timer::ClockTimer;
pub use ext::{ColoredExt, CxExt};
pub use fd::{AsyncFd, Interest, Ready, Registration};
pub use reactor::Io;
pub use signal::SignalRegistration;
pub use timeout::TimeoutStream;

/// A builder of a runtime whose workers sleep in a reactor, one `mio::Poll` each.
///
/// # Examples
///
/// ```
/// let rt = dapple_io::runtime().workers(1).build()?;
/// let io = dapple_io::Io::of(&rt.handle());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn runtime() -> dapple::Builder {
    dapple::Runtime::builder().driver(Arc::new(reactor::IoDriver::default()))
}

//! The reactor of the dapple executor: descriptors, streams, datagrams, signals and child
//! processes, each with a color.
//!
//! ```
//! use std::{io::{Read, Write}, net::TcpStream, time::Duration};
//! use dapple_io::tcp::{Accepting, Conn, ConnOptions, Protocol};
//! use dapple::Cx;
//!
//! /// Sends back its input. While the peer takes nothing, it leaves the input where it is.
//! struct Echo;
//! impl Protocol for Echo {
//!     fn on_data(&mut self, conn: &mut Conn, _: &mut Cx) {
//!         if !conn.is_congested() {
//!             let bytes = conn.input().to_vec();
//!             conn.send(&bytes);
//!             conn.consume(bytes.len());
//!         }
//!     }
//! }
//!
//! let rt = dapple_io::runtime().build()?;
//! let io = dapple_io::Io::of(&rt.handle());
//! let listener = io.listen("127.0.0.1:0".parse().unwrap(), Accepting::PerWorker, |stream, cx| {
//!     // Each connection has a color: its events are serial, and connections run in parallel.
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
//! * [`runtime`] returns a [`dapple::Builder`] whose workers sleep in the reactor. [`Io`] is the
//!   handle of the reactor.
//! * [`listen`] and [`connect`] make streams of TCP and of Unix sockets. [`stream`] is about their
//!   use, in callback style ([`stream::Protocol`]) and by tasks ([`stream::AsyncStream`]). [`tcp`]
//!   has all types that a TCP program needs. [`unix`] passes descriptors, and returns the peer's
//!   credentials.
//! * [`codec`] cuts a stream into messages. [`transport`] delivers messages in order, to colors and
//!   to domains.
//! * [`datagram`] is for UDP, and for datagrams of Unix sockets.
//! * [`Io::on_ready`] and [`Io::on_readable`] call back on any descriptor, and [`AsyncFd`] awaits
//!   one. [`ColoredExt`] has callbacks that get a value of a color.
//! * [`Io::on_signal`] calls back on signals. [`child`] is about child processes. [`Io::stdio`] is
//!   the terminal as a stream.
//! * [`Io::post_at_wall`] and [`Io::post_after_boot`] are timers by other clocks than the
//!   executor's.
//! * [`TimeoutStream`] is a stream for tasks with time limits. Three features add a module of their
//!   own name: `tls` (TLS streams by rustls), `hyper` (a bridge to hyper) and `dashboard` (a page
//!   that shows the runtime at work).
//!
//! Readiness that a worker's poller reports is posted as an event to a color. Callbacks never run
//! inside the poller. The examples in `io/examples` are whole programs.
#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks, missing_docs)]

mod addr;
mod callback;
pub mod child;
mod clock_timer;
pub mod codec;
pub mod connect;
#[cfg(feature = "dashboard")]
pub mod dashboard;
pub mod datagram;
mod ext;
mod fd;
#[cfg(any(test, dapple_fuzzing))]
pub mod fuzzing;
#[cfg(feature = "hyper")]
pub mod hyper;
pub mod listen;
mod reactor;
mod readiness;
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

/// Returns a builder of a runtime whose workers sleep in a reactor, with one `mio::Poll` each.
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

/// The examples of the porting guide, which compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/PORTING.md")]
struct Porting;

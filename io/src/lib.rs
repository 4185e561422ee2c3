//! The reactor of the dapple executor: descriptors, streams, datagrams, signals and child
//! processes, each with a color.
//!
//! ```
//! use std::{io::{Read, Write}, net::TcpStream, time::Duration};
//! use dapple_io::tcp::{Accepting, Conn, ConnOptions, Protocol};
//! use dapple::Cx;
//!
//! /// Sends back what it gets; while the peer takes nothing, it leaves what comes.
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
//! * [`runtime`]: a [`dapple::Builder`] whose workers sleep in the reactor. [`Io`]: the way to the
//!   reactor.
//! * [`listen`], [`connect`]: streams of TCP and of Unix sockets. [`stream`]: what is done with
//!   them, in callback style ([`stream::Protocol`]) and by tasks ([`stream::AsyncStream`]).
//!   [`tcp`]: all of that for a program of TCP; [`unix`]: descriptors and credentials.
//! * [`codec`]: messages in a stream. [`transport`]: messages delivered in order, to colors and to
//!   domains.
//! * [`datagram`]: UDP, and datagrams of Unix sockets.
//! * [`Io::on_ready`], [`Io::on_readable`]: callbacks on any descriptor; [`AsyncFd`]: any
//!   descriptor, awaited. [`ColoredExt`]: callbacks that get a value of a color.
//! * [`Io::on_signal`]: signals. [`child`]: child processes. [`Io::stdio`]: the terminal as a
//!   stream.
//! * [`Io::post_at_wall`], [`Io::post_after_boot`]: timers by other clocks than the executor's.
//! * [`TimeoutStream`]: a stream for tasks with limits of time. `tls`, with the feature of that
//!   name: TLS streams by rustls. `hyper`, with the feature of that name: a bridge to hyper.
//!   `dashboard`, with the feature of that name: a page that shows the runtime at work.
//!
//! Readiness that arrives on a worker's poller is posted as an event to a color; callbacks never
//! run inside the poller. The examples in `io/examples` are whole programs.
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

/// The examples of the guide to porting compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/PORTING.md")]
struct Porting;

//! Callbacks on descriptors, and descriptors awaited (N2, N10).
//!
//! * [`interest`]: what a registration asks for, and what it is told.
//! * [`slots`]: what is known of the registrations of one descriptor: a step function.
//! * [`entry`]: the descriptor in its reactor, which does what the step function says.
//! * [`registration`]: what the user has of it.
//! * [`async_fd`]: descriptors awaited by tasks; [`edges`], [`attempts`]: what of that streams
//!   share.

mod async_fd;
mod attempts;
pub(crate) mod edges;
pub(crate) mod entry;
mod interest;
mod registration;
mod slots;

pub use async_fd::AsyncFd;
pub use interest::{Interest, Ready};
pub use registration::Registration;

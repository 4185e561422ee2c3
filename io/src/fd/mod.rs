//! Callbacks on descriptors, and descriptors that tasks await (N2, N10).
//!
//! * [`interest`]: the readiness that a registration asks for, and the readiness that it is told
//!   of.
//! * [`slots`]: the state of the registrations of one descriptor, as a step function.
//! * [`entry`]: the descriptor in its reactor, which carries out what the step function decides.
//! * [`registration`]: the user's handle of a registration.
//! * [`async_fd`]: descriptors that tasks await. It shares [`edges`] and [`attempts`] with streams.

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

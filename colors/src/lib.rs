//! The step functions of dapple's colors.
//!
//! Everything here is a plain value with plain transitions: no threads, no atomics, no I/O, no
//! clock, no `unsafe`. A transition takes one step and returns a `#[must_use]` outcome that says
//! what the caller has to do next. The `dapple` executor implements the same transitions with
//! atomics, and its property tests hold the two together; the exhaustive tests of this crate
//! run the step functions through every interleaving of small programs.
//!
//! * [`mailbox`]: the queue of one color, and who may run it (rules C1, C2).
//! * [`turn`]: when a worker's visit to a color ends (rule C9).
#![forbid(unsafe_code)]

pub mod mailbox;
pub mod turn;

pub use mailbox::{Finished, Mailbox, Place, Posted};
pub use turn::{Pace, Turn, TurnBudget, TurnStep};

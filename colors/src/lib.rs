//! The step functions of dapple's colors and domains.
//!
//! Everything here is a plain value with plain transitions: no threads, no atomics, no I/O, no
//! clock, no `unsafe`. A transition takes one step and returns a `#[must_use]` outcome that says
//! what the caller has to do next. The `dapple` executor implements the transitions of colors with
//! atomics, and its property tests compare the two. It runs the transitions of domains as they are,
//! under a lock. The exhaustive tests of this crate run the step functions through every
//! interleaving of small programs.
//!
//! * [`mailbox`]: the queue of one color, and the right to run its events (rules C1, C2).
//! * [`access`]: shared and exclusive access to a color (rule C5).
//! * [`set`]: events that need several colors (rule C6).
//! * [`priority`]: the class of colors that is served next (rule C7).
//! * [`turn`]: the end of a worker's visit to a color (rule C9).
//! * [`context`]: the contexts of a domain, and the legal steps between them (rule I2).
//! * [`domain`]: tickets, entry to the contexts, commit order, poison (rules I1-I9, I12).
//! * [`sequence`]: commit order alone (rule I14).
//! * [`check`]: a checker of small programs of domain events, in every interleaving (rule I13, and
//!   those above).
#![forbid(unsafe_code)]

pub mod access;
pub mod check;
pub mod context;
pub mod domain;
pub mod mailbox;
pub mod priority;
pub mod sequence;
pub mod set;
pub mod turn;

pub use access::{Access, Excluded, Left, Readers};
pub use context::{Context, IllegalStep, Passage};
pub use domain::{Abandoned, Doing, Fate, Mode, Next, Oldest, Order, Pins, Ticket};
pub use mailbox::{Finished, Mailbox, Posted, Reserved};
pub use priority::Priority;
pub use sequence::{Completed, Sequence, SequencePlace};
pub use set::{Arrived, Gathering};
pub use turn::{Pace, Turn, TurnBudget, TurnStep};

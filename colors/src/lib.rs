//! The step functions of dapple's colors and domains.
//!
//! Everything here is a plain value with plain transitions: no threads, no atomics, no I/O, no
//! clock, no `unsafe`. A transition takes one step and returns a `#[must_use]` outcome that says
//! what the caller has to do next. The `dapple` executor implements the transitions of colors with
//! atomics, and its property tests hold the two together; those of domains it runs as they are,
//! under a lock. The exhaustive tests of this crate run the step functions through every
//! interleaving of small programs.
//!
//! * [`mailbox`]: the queue of one color, and who may run it (rules C1, C2).
//! * [`access`]: shared and exclusive events of one color (rule C5).
//! * [`set`]: events that need several colors (rule C6).
//! * [`priority`]: which class of colors is served next (rule C7).
//! * [`turn`]: when a worker's visit to a color ends (rule C9).
//! * [`context`]: what an event may do in a domain, and which steps are legal (rule I2).
//! * [`domain`]: tickets, entry to the contexts, commit order, poison (rules I1-I9, I12).
//! * [`sequence`]: commit order alone (rule I14).
//! * [`check`]: checks small programs of domain events in every interleaving (rule I13, and those
//!   above).
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

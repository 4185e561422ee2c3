//! Checks a small program of events against the rules of domains, in every interleaving.
//!
//! A [`Scenario`] is a first state and some events. An event is a [`Script`] of a few steps, each
//! of them a closure over the state. The search runs the step functions ([`Order`](crate::Order),
//! [`Pins`](crate::Pins)) through every order in which posts, steps, entries and commits can follow
//! one another. It watches these rules:
//!
//! * what each event was allowed to do (I1-I9), including that it keeps to its own context (I2,
//!   I9);
//! * what each event read (I5);
//! * when versions were freed (I11);
//! * what a panic left behind (I12);
//! * at each end, that the state, the reads and the effects are those of the events run one by one
//!   (I13).
//!
//! ```
//! use dapple_colors::{Mode, check::Scenario};
//! let report = Scenario::new(Mode::Snapshot, (10, 0))
//!     .event("transfer", |script| {
//!         script
//!             .global(|e| {
//!                 let s = e.write();
//!                 s.0 -= 5;
//!                 s.1 += 5;
//!                 e.defer("moved 5");
//!             })
//!             .anon(|e| e.see(e.read().0 + e.read().1))
//!     })
//!     .event("audit", |script| {
//!         script.anon(|e| {
//!             e.see(e.read().0 + e.read().1);
//!             e.defer("audited");
//!         })
//!     })
//!     .event("pure", |script| script.none(|e| e.defer("pure")))
//!     .check()
//!     .unwrap();
//! assert!(report.states > 100);
//! ```
//!
//! A failure is a [`Violation`]. It names the rule, the event and the step, and prints the
//! interleaving:
//!
//! ```
//! use dapple_colors::{Mode, check::{Rule, Scenario}};
//! let violation = Scenario::new(Mode::ReadWrite, 0)
//!     .event("upgrade", |script| script.anon(|e| e.see(*e.read())).global(|e| *e.write() += 1))
//!     .check()
//!     .unwrap_err();
//! assert_eq!((violation.rule(), violation.step()), (Rule::I2, Some(2)));
//! assert!(violation.to_string().contains("it cannot go from anon to global"));
//! ```
//!
//! How a search proceeds:
//!
//! * A world is a plain value: the order, the versions, the events with what they deferred, and
//!   what has happened so far. Each world is visited once, nearest first, so the printed
//!   interleaving is a shortest one.
//! * One transition is a post, a closure, a request (to enter, leave, be alone, commit), a deferred
//!   action, or the end of a commit. So an event may pause anywhere, for any number of transitions.
//! * After each transition, everything that the order decides is done.
//!
//! The watch (`watch`) and the one-by-one run (`serial`) follow the text of the rules, and do not
//! use the step functions. Other step functions can be checked in place of these: see [`Steps`].
//!
//! Left out on purpose: room (I15), which bounds how many events there are and not what they do;
//! other domains; time.

mod event;
mod scenario;
mod script;
mod search;
mod serial;
mod steps;
mod story;
mod versions;
mod violation;
mod watch;
mod world;

pub use event::Event;
pub use scenario::{Report, Scenario};
pub use script::Script;
pub use steps::{PinSteps, Steps};
pub use violation::{Rule, Violation};

use std::fmt::Debug;
use std::hash::Hash;

/// The bounds on the state of a scenario.
trait State: Clone + Eq + Hash + Debug {}

impl<S: Clone + Eq + Hash + Debug> State for S {}

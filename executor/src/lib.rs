//! A color-and-context executor with work stealing, for callback-style programs.
//!
//! A callback carries a [`Color`]. Callbacks of one color never run at the same time and keep their
//! order. Callbacks of different colors run in parallel, on all cores. So a program of callbacks
//! that was written for one thread moves to many cores without locks, a few lines at a time:
//! everything starts on the default color, and what is independent gets a color of its own.
//!
//! ```
//! use dapple::{Colored, Runtime};
//!
//! let rt = Runtime::new()?;                       // a worker per core
//! let h = rt.handle();
//! let accounts: Vec<Colored<i64>> =
//!     (0..100).map(|_| Colored::new(&h.new_color(), 0)).collect();
//! for i in 0..10_000usize {
//!     accounts[i % 100].post(move |balance, _| *balance += i as i64);   // 100 colors, no lock
//! }
//! h.post_default(|_| println!("names no color: runs on the default one"));
//! rt.wait_idle();
//! # assert_eq!(rt.metrics().events(), 10_001);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! * [`Runtime`], [`Builder`], [`Handle`]: starting, posting, stopping.
//! * [`Here`]: a runtime whose first worker is the calling thread.
//! * [`Color`], [`Colored`], [`Palette`]: serial identity, data bound to it, keys mapped to it.
//! * [`Domain`]: a state that events reach in contexts: global, anon, none.
//! * [`Sequencer`]: results that are released in order, whatever the order in which they are made.
//! * [`Cx`]: the view of its worker that a callback gets.
//! * [`Timer`]: callbacks that run at a given time.
//! * [`Site`]: the source location where a callback was posted, as reports name it.
//! * [`Metrics`]: histograms and counters.
//! * [`park`]: the seam to a reactor. The crate `dapple-io` has one, with sockets, descriptors and
//!   signals.
//!
//! The rules that the documentation cites (C1, E16 and so on) are in `docs/RULES.md` of the
//! repository.
#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks, missing_docs)]
// Under loom only the modelled modules are compiled, and the models do not use all of them.
#![cfg_attr(loom, allow(dead_code))]

#[cfg(not(loom))]
mod blocking;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod chunks;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod clock;
mod color;
#[cfg(not(loom))]
mod cx;
mod domain;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod event;
mod fork;
#[cfg(all(any(test, dapple_fuzzing), not(loom)))]
pub mod fuzzing;
mod lock;
#[cfg(not(loom))]
mod metrics;
#[cfg(not(loom))]
mod panic;
#[cfg(not(loom))]
pub mod park;
#[cfg(not(loom))]
mod post;
#[cfg(not(loom))]
mod random;
#[cfg(not(loom))]
mod rendezvous;
#[cfg(not(loom))]
mod report;
mod runtime;
#[cfg(not(loom))]
mod sequencer;
#[cfg(all(feature = "sim", not(loom)))]
pub mod sim;
#[cfg(not(loom))]
mod site;
#[cfg(not(loom))]
mod slab;
#[doc(hidden)]
pub mod sync;
mod task;
#[cfg(not(loom))]
mod thread;
#[cfg(not(loom))]
mod timer;
#[cfg(not(loom))]
mod turn;
mod worker;

#[cfg(all(test, loom))]
mod models;

#[cfg(not(loom))]
pub use self::{
    color::{
        Color, ColorBuilder,
        colored::Colored,
        colored_set::{ColoredSet, Exclusive, Part, Shared},
        palette::Palette,
        value::{Reached, ReachedRef},
    },
    cx::Cx,
    domain::{
        AnonCx, Committing, ContextError, Domain, DomainBuilder, Done, DynCx, GlobalCx, InAnon,
        InGlobal, InNone, MayAnon, MayGlobal, NoneCx, NoneOnly, Plain, ReachesAnon, Reaching,
        Refused, Rights, Transactional, register::DomainFigures,
    },
    error::TryPostError,
    metrics::{Distribution, Histogramming, Measure, Metrics, SiteFigures, Stall, WorkerFigures},
    post::{permit::Permit, set::Request},
    rendezvous::{Arrival, Rendezvous, Trigger, Unfired},
    report::{PanicReport, StallReport, TicketStall},
    runtime::{
        Runtime,
        builder::Builder,
        handle::Handle,
        here::{Here, Turn},
        recorder::Recorder,
        shutdown::ShutdownReport,
        thread_hooks::ThreadKind,
    },
    sequencer::{Place, Sequencer},
    site::Site,
    task::{
        error::JoinError,
        join::JoinHandle,
        time::{Elapsed, Sleep, Timeout},
        yields::{YieldNow, yield_now},
    },
    timer::Timer,
    worker::{cores::unpinned, rules::StealPolicy},
};
#[cfg(not(loom))]
pub use dapple_colors::{Context, Doing, Mode, Priority, Ticket, TurnBudget};

/// The examples of the README compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The examples of the guide to simulations compile and run.
#[cfg(all(doctest, feature = "sim"))]
#[doc = include_str!("../../docs/SIMULATION.md")]
struct Simulation;

/// The examples of the guide to contexts compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/CONTEXTS.md")]
struct Contexts;

/// The examples of the guide to colors compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/COLORS.md")]
struct Colors;

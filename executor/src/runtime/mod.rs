//! The runtime: its construction, its shared state, and its end.
//!
//! * [`builder`] takes the settings, [`settings`] stores them, and [`start`] starts the workers.
//! * [`owner`] is the value that owns a runtime, and [`here`] is the one if worker 0 is the user's
//!   thread.
//! * [`thread_hooks`] calls the program when a thread of the runtime starts or ends.
//! * [`core`] is the state that all threads share, with its lifetime.
//! * [`handle`] is the way in, from any thread.
//! * [`recorder`] records into the program's own histograms.
//! * [`quiesce`] detects that nothing is left to run.
//! * [`phase`] is the stage of the runtime's life. [`shutdown`] ends it, and [`disposal`]
//!   disposes of what is queued after the end.

#[cfg(not(loom))]
pub(crate) mod builder;
#[cfg(not(loom))]
pub(crate) mod core;
pub(crate) mod disposal;
#[cfg(not(loom))]
pub(crate) mod handle;
#[cfg(not(loom))]
pub(crate) mod here;
pub(crate) mod phase;
pub(crate) mod quiesce;
#[cfg(not(loom))]
pub(crate) mod recorder;
#[cfg(not(loom))]
pub(crate) mod settings;
#[cfg(not(loom))]
pub(crate) mod shutdown;
#[cfg(not(loom))]
mod start;
#[cfg(not(loom))]
pub(crate) mod thread_hooks;

#[cfg(not(loom))]
pub use self::owner::Runtime;

#[cfg(not(loom))]
mod owner;

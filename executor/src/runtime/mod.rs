//! The runtime: workers that run, until they are shut down.
//!
//! * [`builder`]: what it is told, which [`settings`] keeps; [`start`]: how it starts.
//! * [`owner`]: what its owner has; [`here`]: if a thread of the user's is one of its workers.
//! * [`thread_hooks`]: what a program does when a thread starts or ends.
//! * [`core`]: what all threads share, and how long it lives.
//! * [`handle`]: the way in.
//! * [`recorder`]: histograms of the program's own.
//! * [`quiesce`]: when nothing is left to run.
//! * [`phase`]: how far it has come; [`shutdown`]: the end; [`undertaking`]: what comes after it.

#[cfg(not(loom))]
pub(crate) mod builder;
#[cfg(not(loom))]
pub(crate) mod core;
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
pub(crate) mod undertaking;

#[cfg(not(loom))]
pub use self::owner::Runtime;

#[cfg(not(loom))]
mod owner;

//! The runtime: workers that run, until they are shut down.
//!
//! * [`builder`]: how it starts; [`settings`]: what it was told.
//! * [`thread_hooks`]: what a program does when a thread starts or ends.
//! * [`core`]: what all threads share, and how long it lives.
//! * [`handle`]: the way in.
//! * [`quiesce`]: when nothing is left to run.
//! * [`phase`]: how far it has come; [`shutdown`]: the end; [`undertaking`]: what comes after it.

#[cfg(not(loom))]
pub(crate) mod builder;
#[cfg(not(loom))]
pub(crate) mod core;
#[cfg(not(loom))]
pub(crate) mod handle;
pub(crate) mod phase;
pub(crate) mod quiesce;
#[cfg(not(loom))]
pub(crate) mod settings;
#[cfg(not(loom))]
pub(crate) mod shutdown;
#[cfg(not(loom))]
pub(crate) mod thread_hooks;
pub(crate) mod undertaking;

#[cfg(not(loom))]
pub use self::owner::Runtime;

#[cfg(not(loom))]
mod owner;

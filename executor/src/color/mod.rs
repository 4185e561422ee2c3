//! Colors: the serial identity of events.
//!
//! * [`queue`]: the atomic queue of a color.
//! * [`life`]: the reference count that keeps a color alive.
//! * [`readers`]: shared events of one color, which run concurrently.
//! * [`set`], [`two_phase`]: events that need several colors.
//! * `handle`: the handle, [`Color`]; `builder`: the options of a new color.
//! * [`cell`]: the shared object behind the handles, and how it dies.
//! * `marks`: the class and the flags of a color; [`bound`]: the limit on its events.
//! * [`held`]: the rights of the holder and of the readers, as values.
//! * [`colored`]: data that belongs to a color; [`value`]: the storage of that data;
//!   [`colored_set`]: values of several colors at once; `colored_time`: timers of such data.
//! * [`palette`]: a map from keys to colors.
//! * [`watcher`]: the worker that polls for the descriptors, connections and signals of a color.

#[cfg(not(loom))]
pub(crate) mod bound;
#[cfg(not(loom))]
mod builder;
#[cfg(not(loom))]
pub(crate) mod cell;
#[cfg(not(loom))]
pub(crate) mod colored;
#[cfg(not(loom))]
pub(crate) mod colored_set;
#[cfg(not(loom))]
mod colored_time;
#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
pub(crate) mod held;
pub(crate) mod life;
#[cfg(not(loom))]
pub(crate) mod marks;
#[cfg(not(loom))]
pub(crate) mod palette;
pub(crate) mod queue;
pub(crate) mod readers;
pub(crate) mod set;
pub(crate) mod two_phase;
#[cfg(not(loom))]
pub(crate) mod value;
#[cfg(not(loom))]
pub(crate) mod watcher;

#[cfg(not(loom))]
pub use {builder::ColorBuilder, handle::Color};

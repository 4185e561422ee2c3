//! Colors: the serial identity of events.
//!
//! * [`queue`]: the atomic queue of a color.
//! * [`life`]: who keeps a color.
//! * [`readers`]: shared events that run beside each other.
//! * [`set`], [`two_phase`]: events that need several colors.
//! * `handle`: the handle; `builder`: what it can have.
//! * [`cell`]: the shared object behind the handles, and how it ends.
//! * `marks`: its class; [`bound`]: how many events it may have.
//! * [`colored`]: data that belongs to a color; [`value`]: its cell;
//!   [`colored_set`]: data of several; `colored_time`: its timers.
//! * [`palette`]: keys to colors. `watcher`: which worker watches what calls back on a color.

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

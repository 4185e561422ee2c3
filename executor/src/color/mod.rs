//! Colors: the serial identity of events.
//!
//! * [`queue`]: the atomic queue of a color.
//! * [`life`]: who keeps a color.
//! * [`cell`]: the shared object behind the handles, and how it ends.
//! * [`colored`]: data that belongs to a color.
//! * [`palette`]: keys to colors.

#[cfg(not(loom))]
pub(crate) mod cell;
#[cfg(not(loom))]
pub(crate) mod colored;
#[cfg(not(loom))]
mod handle;
pub(crate) mod life;
#[cfg(not(loom))]
pub(crate) mod palette;
pub(crate) mod queue;

#[cfg(not(loom))]
pub use handle::{Color, ColorBuilder};
#[cfg(not(loom))]
pub(crate) use handle::{outside_event, refuse};

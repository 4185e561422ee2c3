//! The scheduler: workers that run what is queued, take it from each other, and sleep.
//!
//! It knows neither colors nor events, only [`work`]: one word that somebody else runs (see
//! `turn`).
//!
//! * [`work`]: the seam to what is scheduled; [`poller`]: to what a worker sleeps on.
//! * [`fleet`]: the workers of a runtime; [`shared`]: what other threads touch of one;
//!   [`scheduler`]: what only its own thread touches.
//! * [`worker_loop`]: the loop that puts everything together.
//! * [`run_queue`]: what is queued where, and in what order it is served; [`ready`]: what goes
//!   first; [`lanes`]: by class; [`queues`]: the queues themselves; [`private`]: entries that
//!   others touch only in need, with [`fences`].
//! * [`steal`]: taking work from the others, if it pays; [`trial`]: finding out whether it does;
//!   [`machine`]: what is known of the hardware; [`price`]: what a move costs on it;
//!   [`neighbours`]: whom to ask first.
//! * [`affine`]: work that stays with one worker.
//! * [`watch`]: serving what waits behind a stuck worker.
//! * [`sleep`]: the sleep protocol.
//! * [`drain`]: the end.
//! * [`rules`]: what it was told; [`figures`]: averages; [`counters`]: what is counted.
//! * [`cores`](self::cores): pinning.

#[cfg(not(loom))]
mod affine;
#[cfg(not(loom))]
pub(crate) mod cores;
#[cfg(not(loom))]
pub(crate) mod counters;
#[cfg(not(loom))]
mod drain;
pub(crate) mod fences;
#[cfg(not(loom))]
pub(crate) mod figures;
#[cfg(not(loom))]
pub(crate) mod fleet;
#[cfg(not(loom))]
mod lanes;
#[cfg(not(loom))]
pub(crate) mod machine;
#[cfg(not(loom))]
mod neighbours;
#[cfg(not(loom))]
pub(crate) mod poller;
#[cfg(not(loom))]
mod price;
pub(crate) mod private;
#[cfg(not(loom))]
mod queues;
#[cfg(not(loom))]
mod ready;
#[cfg(not(loom))]
pub(crate) mod rules;
#[cfg(not(loom))]
mod run_queue;
#[cfg(not(loom))]
pub(crate) mod scheduler;
#[cfg(not(loom))]
mod shared;
pub(crate) mod sleep;
#[cfg(not(loom))]
pub(crate) mod steal;
#[cfg(not(loom))]
mod trial;
#[cfg(not(loom))]
mod watch;
#[cfg(not(loom))]
pub(crate) mod work;
#[cfg(not(loom))]
pub(crate) mod worker_loop;

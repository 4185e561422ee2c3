//! The scheduler: workers run what is queued, take work from each other, and sleep.
//!
//! It knows neither colors nor events. It schedules entries of one word, behind the traits in
//! [`work`]; their implementation, in `turn`, runs them.
//!
//! * [`work`]: the seam to the scheduled work; [`poller`]: the seam to what a worker sleeps on.
//! * [`fleet`]: the workers of a runtime; [`shared`]: the part of a worker that other threads
//!   touch; [`scheduler`]: the part that only its own thread touches.
//! * [`worker_loop`]: the loop that puts everything together.
//! * [`run_queue`]: which queue an entry goes to, and in what order entries are served; [`ready`]:
//!   ready work, which goes first; [`lanes`]: classes; [`queues`]: the queues themselves;
//!   [`private`]: entries that other threads touch only in need, with [`fences`].
//! * [`steal`]: taking work from other workers, if it pays; [`trial`]: finding out whether it pays;
//!   [`machine`]: the known properties of the hardware; [`price`]: the cost of a move on it;
//!   [`neighbours`]: the order in which to look at other workers.
//! * [`affine`]: work that is bound to one worker.
//! * [`watch`]: serving the work that waits behind a stuck worker.
//! * [`sleep`]: the sleep protocol.
//! * [`drain`]: emptying the queues at the end.
//! * [`rules`]: settings; [`figures`]: averages; [`counters`]: counters.
//! * [`mod@cores`]: pinning of threads.

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

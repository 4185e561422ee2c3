//! A worker: one thread with its run queue, its timers and its poller.
//!
//! * [`entry`]: what stands in a run queue.
//! * [`hold`]: what the holder of a color does without running anything.
//! * [`current`]: what the event that runs has.
//! * [`local`]: what only the worker's own thread touches; [`post`]: posting from there.
//! * [`shared`]: what other threads touch; [`private`]: run-queue entries that they touch only in
//!   need, with [`fences`].
//! * [`run_queue`]: what is queued where; [`lanes`]: by class.
//! * [`turn`]: running a color for a turn; [`run_event`]: one event; [`free`]: running what stands in no color's queue; [`dispose`]: dropping what nobody will run.
//! * [`steal`]: taking work from the others, if it pays; [`trial`]: finding out whether it does;
//!   [`price`]: what a move costs on this machine; [`neighbours`]: whom to ask first.
//! * [`watch`]: serving what waits behind a stuck worker.
//! * [`sleep`]: the sleep protocol.
//! * [`cores`](self::cores): pinning.
//!
//! * [`worker_loop`]: the loop that puts them together.
//!
//! The loop: run what is queued; now and then look at the
//! time, the descriptors and the inbox; when there is nothing, steal; when that fails, sleep.

#[cfg(not(loom))]
pub(crate) mod cores;
#[cfg(not(loom))]
pub(crate) mod current;
#[cfg(not(loom))]
mod dispose;
#[cfg(not(loom))]
pub(crate) mod entry;
pub(crate) mod fences;
#[cfg(not(loom))]
mod free;
#[cfg(not(loom))]
mod hold;
#[cfg(not(loom))]
pub(crate) mod lanes;
#[cfg(not(loom))]
pub(crate) mod local;
#[cfg(not(loom))]
pub(crate) mod neighbours;
#[cfg(not(loom))]
mod post;
#[cfg(not(loom))]
pub(crate) mod price;
pub(crate) mod private;
#[cfg(not(loom))]
pub(crate) mod rules;
#[cfg(not(loom))]
mod run_event;
#[cfg(not(loom))]
mod run_queue;
#[cfg(not(loom))]
pub(crate) mod shared;
pub(crate) mod sleep;
#[cfg(not(loom))]
pub(crate) mod steal;
#[cfg(not(loom))]
mod trial;
#[cfg(not(loom))]
mod turn;
#[cfg(not(loom))]
pub(crate) mod watch;

#[cfg(not(loom))]
pub(crate) use worker_loop::run;

#[cfg(not(loom))]
mod worker_loop;

//! Running: how a worker runs the colors and events that its scheduler gives to it.
//!
//! * [`worker`] is a worker, which a thread enters. [`local`] is the part that only that thread
//!   touches, and [`seat`] is the part that other threads see.
//! * [`host`] implements what the scheduler (`crate::worker`) asks for.
//! * [`entry`] is an entry of a run queue.
//! * [`run`] runs a turn of a color, and [`run_event`] one event. [`uncolored`] runs events that
//!   are in no color's queue, and [`apart`] events that leave their color's queue before they run.
//!   [`discard`] drops entries that never run, and [`guard`] runs code that may panic.
//! * [`holder`] has the actions of a color's holder that run no event.
//! * [`make`] makes events and colors. [`enqueue`] puts events into queues on a worker, and
//!   [`inject`] from other threads. [`outside`] counts the threads that are between the steps of a
//!   post.
//! * [`current`] has the colors of the current event, [`traffic`] the counts of a worker's posts,
//!   [`stall`] the reports of events that run long, [`steps`] the progress of a domain's event, and
//!   [`futures`] the futures of tasks that stay on their thread.

pub(crate) mod apart;
pub(crate) mod current;
mod discard;
mod enqueue;
pub(crate) mod entry;
pub(crate) mod futures;
mod guard;
mod holder;
mod host;
mod inject;
pub(crate) mod local;
mod make;
pub(crate) mod outside;
mod run;
mod run_event;
pub(crate) mod seat;
mod stall;
pub(crate) mod steps;
pub(crate) mod traffic;
mod uncolored;
pub(crate) mod worker;

//! Running: what a worker does with the colors and events that its scheduler gives to it.
//!
//! * [`worker`]: a worker, which a thread enters; [`local`]: what only that thread touches;
//!   [`seat`]: what others see of it besides.
//! * [`host`]: what the scheduler (`crate::worker`) asks for.
//! * [`entry`]: what stands in a run queue.
//! * [`run`]: a turn of a color; [`run_event`]: one event; [`uncolored`]: running what stands in no
//!   color's queue; [`apart`]: events that leave their color's queue before they run;
//!   [`discard`]: dropping what nobody will run; [`guard`]: whatever may panic.
//! * [`holder`]: what the holder of a color does without running anything.
//! * [`make`]: memory and events; [`enqueue`]: putting them into queues on a worker; [`inject`]:
//!   from elsewhere; [`outside`]: who is between the steps of that.
//! * [`current`]: what the event that runs has; [`traffic`]: what is learned of posts; [`stall`]:
//!   events that run long; [`steps`]: how far a domain's event has come;
//!   [`futures`]: what tasks have that stay on their thread.

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

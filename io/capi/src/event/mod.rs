//! libevent's event core.
//!
//! * [`layout`]: what programs have in memory: `struct event`, `struct event_callback`.
//! * [`base`]: a base, and what it knows; [`core`]: adding, deleting and activating events, as
//!   steps under the base's lock; [`run`]: the loop.
//! * [`list`], [`heap`], [`in_order`], [`common`]: where events stand: by priority, by time.
//! * [`fds`], [`poller`]: descriptors; [`signals`]; [`bell`]: what wakes the loop; [`time`].
//! * [`debug`]: misuse that is told.
//! * [`libevent`]: what stays libevent's, and is called.
//! * [`colored`]: events that have a color; [`workers`]: the runtime on which they run;
//!   [`tied`]: bufferevents and listeners that have one.
//! * The exported functions: [`bases`], [`inspect`], [`events`], [`finalizing`], [`upper`],
//!   [`colors`].

mod base;
mod bases;
mod bell;
mod colored;
mod colors;
mod common;
mod core;
mod debug;
mod events;
mod fds;
mod finalizing;
mod heap;
mod in_order;
mod inspect;
mod layout;
mod libevent;
mod list;
mod poller;
mod run;
mod signals;
mod tied;
mod time;
mod upper;
mod workers;

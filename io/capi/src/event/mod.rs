//! The event core of libevent, and colors for its events.
//!
//! * [`layout`]: the memory layout that programs see: `struct event`, `struct event_callback`.
//! * [`base`]: a base and its state. [`core`]: adding, deleting and activating events, step by step
//!   under the base's lock. [`run`]: the loop.
//! * [`list`], [`heap`], [`in_order`], [`common`]: the queues of active and of timed events.
//! * [`fds`], [`poller`]: descriptors. [`signals`]. [`bell`]: wakeups of the loop. [`time`].
//! * [`debug`]: libevent's debug mode, which reports misuse.
//! * [`libevent`]: the functions that remain libevent's and are called from here.
//! * [`colored`]: events with a color. [`workers`]: the runtime that runs them. [`tied`]:
//!   bufferevents and listeners with a color.
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

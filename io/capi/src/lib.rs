//! The C door of dapple: `libdapple_event`.
//!
//! * [`runtime`]: the functions of `dapple.h`: runtimes, colors, posts, timers, descriptors,
//!   signals, offloaded work, domains.
//! * [`event`]: the event core of libevent 2.1, and what `dapple_event.h` adds to it.
//!
//! The latter exports the functions of `event2/event.h` and `event2/event_compat.h` and the few
//! internal ones that libevent's own upper layers call, so that a program of libevent runs on it
//! unchanged, linked or preloaded: bufferevents, listeners, evhttp and evdns are libevent's, and
//! call these. What is not exported stays libevent's, too: locks, memory, the log, evutil.
//!
//! The order in which callbacks run is libevent's (P1). A panic never crosses the door (P3): the
//! process ends with a message that names the call.
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod door;
mod event;
mod runtime;

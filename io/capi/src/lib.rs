//! The C interface of dapple: `libdapple_event`.
//!
//! * [`runtime`]: the functions of `dapple.h`: runtimes, colors, posts, timers, descriptors,
//!   signals, offloaded work and domains.
//! * [`event`]: the event core of libevent 2.1, and what `dapple_event.h` adds to it.
//!
//! [`event`] exports the functions of `event2/event.h` and `event2/event_compat.h`, and the few
//! internal functions of the core that libevent's upper layers call. So a libevent program runs on
//! this library unchanged, whether it is linked to it or started with it preloaded. Bufferevents,
//! listeners, evhttp and evdns remain libevent's and call these functions. Locks, memory functions,
//! the log and evutil also remain libevent's, so this library does not export them.
//!
//! Callbacks run in libevent's order (P1). A panic never crosses into C (P3): the process ends with
//! a message that names the call.
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod door;
mod event;
mod runtime;

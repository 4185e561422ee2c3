//! Debug mode: misuse of events is told, and ends the process, as libevent has it.

use std::ffi::{c_int, c_short};
use std::sync::atomic::{AtomicBool, Ordering};

use super::layout::{Event, flags};
use super::libevent::{fatal, set_number};

static IS_ON: AtomicBool = AtomicBool::new(false);

pub(super) fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

pub(super) fn switch(on: bool) {
    IS_ON.store(on, Ordering::Relaxed);
    set_number(c"event_debug_mode_on_", i32::from(on));
}

/// A base has been made: locks come too late from now on.
pub(super) fn made_a_base() {
    if is_on() {
        set_number(c"event_debug_created_threadable_ctx_", 1);
    }
}

/// A descriptor that is waited for does not block.
pub(super) fn check_nonblocking(fd: c_int) {
    if !is_on() || fd < 0 {
        return;
    }
    // SAFETY: the call takes numbers.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags >= 0 && flags & libc::O_NONBLOCK == 0 {
        fatal(&format!("descriptor {fd} blocks"));
    }
}

/// An event is used: it has been assigned.
pub(super) fn check_assigned(event: &Event, call: &str) {
    if is_on() && !event.has(flags::INIT) {
        fatal(&format!("{call} called on a non-initialized event {:p}", std::ptr::from_ref(event)));
    }
}

/// An event is assigned: it stands nowhere. What is in memory that was never assigned says
/// anything, so only what looks like an event of ours is looked at.
pub(super) fn check_not_added(event: &Event, call: &str) {
    const STANDS: c_short = flags::INSERTED | flags::TIMEOUT | flags::ACTIVE | flags::ACTIVE_LATER;
    const KNOWN: c_short = STANDS | flags::INIT | flags::INTERNAL | flags::FINALIZING;
    let looks_assigned =
        event.has(flags::INIT) && event.callback.flags & !KNOWN == 0 && !event.base.is_null();
    if is_on() && looks_assigned && event.has(STANDS) {
        fatal(&format!("{call} called on an already added event {:p}", std::ptr::from_ref(event)));
    }
}

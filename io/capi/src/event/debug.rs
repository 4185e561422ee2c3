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
/// anything, so it is looked at in debug mode only, and only what looks like an event counts.
pub(super) fn check_not_added(event: *const Event, call: &str) {
    const KNOWN: c_short = flags::STANDS | flags::INIT | flags::INTERNAL | flags::FINALIZING;
    if !is_on() {
        return;
    }
    // SAFETY: it is memory of that size, in which every pattern of bits is a number and a pointer.
    let (has, base) = unsafe { ((*event).callback.flags, (*event).base) };
    let looks_assigned = has & flags::INIT != 0 && has & !KNOWN == 0 && !base.is_null();
    if looks_assigned && has & flags::STANDS != 0 {
        fatal(&format!("{call} called on an already added event {event:p}"));
    }
}

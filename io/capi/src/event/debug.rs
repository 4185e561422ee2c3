//! Debug mode: misuse of events is reported and ends the process, as in libevent.

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

/// Notes that a base has been made. In debug mode, libevent then refuses a late set-up of locks.
pub(super) fn made_a_base() {
    if is_on() {
        set_number(c"event_debug_created_threadable_ctx_", 1);
    }
}

/// Ends the process if a descriptor that is waited for is in blocking mode.
pub(super) fn check_nonblocking(fd: c_int) {
    if !is_on() || fd < 0 {
        return;
    }
    // SAFETY: the call takes only numbers.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags >= 0 && flags & libc::O_NONBLOCK == 0 {
        fatal(&format!("descriptor {fd} is in blocking mode"));
    }
}

/// Ends the process if an event that is used has not been assigned.
pub(super) fn check_assigned(event: &Event, call: &str) {
    if is_on() && !event.has(flags::INIT) {
        fatal(&format!("{call} called on a non-initialized event {:p}", std::ptr::from_ref(event)));
    }
}

/// Ends the process if an event that is being assigned is pending or active.
///
/// Memory that was never assigned may contain any bits. So it is read only in debug mode, and only
/// contents that look like an event count.
pub(super) fn check_not_added(event: *const Event, call: &str) {
    const KNOWN: c_short = flags::STANDS | flags::INIT | flags::INTERNAL | flags::FINALIZING;
    if !is_on() {
        return;
    }
    // SAFETY: the caller's memory has the size of an event, and all bit patterns are valid for a
    // number and for a raw pointer.
    let (has, base) = unsafe { ((*event).callback.flags, (*event).base) };
    let looks_assigned = has & flags::INIT != 0 && has & !KNOWN == 0 && !base.is_null();
    if looks_assigned && has & flags::STANDS != 0 {
        fatal(&format!("{call} called on an already added event {event:p}"));
    }
}

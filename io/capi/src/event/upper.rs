//! The functions of the core that libevent's upper layers call, whose names end with `_`: deferred
//! callbacks, and virtual events, which keep a loop running.
//!
//! The safety rules stand in [`events`](super::events). A callback is memory of the upper layers,
//! which `event_deferred_cb_init_` has initialized.

#![allow(clippy::missing_safety_doc, reason = "the header of `events` states the safety rules")]

use std::ffi::{c_int, c_short, c_void};
use std::ptr::null_mut;

use super::base::{Base, or_current, unless_freed};
use super::core::Even;
use super::layout::{Call, Callback, Event, SelfFn, closure, flags};
use crate::door::door;

/// When more than this number of deferred callbacks were activated in one round of the loop,
/// further ones become active in the next round.
const MOST_DEFERRED: usize = 32;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_deferred_cb_init_(
    callback: *mut Callback,
    priority: u8,
    call: Option<SelfFn>,
    arg: *mut c_void,
) {
    let fresh = Callback {
        next: null_mut(),
        previous: null_mut(),
        flags: 0,
        priority,
        closure: closure::CALLBACK_SELF,
        call: Call { callback: call },
        arg,
    };
    // SAFETY: the caller guarantees that the callback may be written to.
    unsafe { callback.write(fresh) };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_deferred_cb_set_priority_(callback: *mut Callback, priority: u8) {
    // SAFETY: the caller guarantees an initialized callback.
    unsafe { (*callback).priority = priority };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_deferred_cb_schedule_(
    base: *mut Base,
    callback: *mut Callback,
) -> c_int {
    door("event_deferred_cb_schedule_", || {
        // SAFETY: the base that is given, or the current one, is null or live (see `events`).
        let Some(base) = (unsafe { or_current(base).as_ref() }) else { return 0 };
        let mut state = base.lock();
        if state.deferred > MOST_DEFERRED {
            return c_int::from(state.activate_later(callback));
        }
        let is_new = state.activate_callback(callback);
        state.deferred += usize::from(is_new);
        c_int::from(is_new)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_deferred_cb_cancel_(base: *mut Base, callback: *mut Callback) {
    door("event_deferred_cb_cancel_", || {
        // SAFETY: the base that is given, or the current one, is null or live (see `events`).
        if let Some(base) = unsafe { or_current(base).as_ref() } {
            base.lock().cancel(callback, Even::UnlessFinalizing);
        }
    });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_add_virtual_(base: *mut Base) {
    // SAFETY: the caller guarantees a live base (see `events`).
    door("event_base_add_virtual_", || unsafe { (*base).lock().virtual_events.add(1) });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_del_virtual_(base: *mut Base) {
    door("event_base_del_virtual_", || {
        // SAFETY: the caller guarantees a live base (see `events`).
        let mut state = unsafe { (*base).lock() };
        state.virtual_events.add(-1);
        if state.virtual_events.now == 0 {
            state.wake();
        }
    });
}

/// Notes that an event is no longer used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_debug_unassign(event: *mut Event) {
    door("event_debug_unassign", || {
        // SAFETY: the caller guarantees an assigned event (see `events`).
        unsafe {
            if let Some(base) = unless_freed((*event).base) {
                let mut state = base.lock();
                state.forget_listener(event);
                state.forget_color(event.cast());
            }
            (*event).callback.flags &= !flags::INIT;
        }
    });
}

/// Has an event become active in the loop's next round.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_active_later_(event: *mut Event, result: c_int) {
    door("event_active_later_", || {
        // SAFETY: the caller guarantees an assigned event, whose base is null or live (see
        // `events`).
        unsafe {
            let Some(base) = (*event).base.as_ref() else { return };
            let mut state = base.lock();
            match (*event).has(flags::ACTIVE | flags::ACTIVE_LATER) {
                true => (*event).result |= result as c_short,
                false => (*event).result = result as c_short,
            }
            state.activate_later(event.cast());
        }
    });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_callback_activate_(
    base: *mut Base,
    callback: *mut Callback,
) -> c_int {
    // SAFETY: the caller guarantees a live base (see `events`).
    door("event_callback_activate_", || unsafe {
        c_int::from((*base).lock().activate_callback(callback))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_callback_cancel_(base: *mut Base, callback: *mut Callback) -> c_int {
    // SAFETY: the caller guarantees a live base (see `events`).
    door("event_callback_cancel_", || unsafe {
        (*base).lock().cancel(callback, Even::UnlessFinalizing);
    });
    0
}

/// Ends the process if the flags and counts of the base do not agree with its queues.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_assert_ok_(base: *mut Base) {
    // SAFETY: the caller guarantees a live base (see `events`).
    door("event_base_assert_ok_", || unsafe { (*base).lock().check() });
}

//! What libevent's upper layers call of the core, by the names that end with `_`: callbacks that
//! are deferred to the loop, and what keeps a loop running.
//!
//! What the functions rely on stands in [`events`](super::events); a callback is initialised by
//! `event_deferred_cb_init_`, and is the upper layers' memory.

#![allow(clippy::missing_safety_doc, reason = "the module says what all of them rely on")]

use std::ffi::{c_int, c_short, c_void};
use std::ptr::null_mut;

use super::base::{Base, or_current, unless_freed};
use super::core::Even;
use super::layout::{Call, Callback, Event, SelfFn, closure, flags};
use crate::door::door;

/// Deferred callbacks of one round of the loop; what comes after them waits for the next round.
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
    // SAFETY: see the module.
    unsafe { callback.write(fresh) };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_deferred_cb_set_priority_(callback: *mut Callback, priority: u8) {
    // SAFETY: see the module.
    unsafe { (*callback).priority = priority };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_deferred_cb_schedule_(
    base: *mut Base,
    callback: *mut Callback,
) -> c_int {
    door("event_deferred_cb_schedule_", || {
        // SAFETY: see the module.
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
        // SAFETY: see the module.
        if let Some(base) = unsafe { or_current(base).as_ref() } {
            base.lock().cancel(callback, Even::UnlessFinalizing);
        }
    });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_add_virtual_(base: *mut Base) {
    // SAFETY: see the module.
    door("event_base_add_virtual_", || unsafe { (*base).lock().virtual_events.add(1) });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_del_virtual_(base: *mut Base) {
    door("event_base_del_virtual_", || {
        // SAFETY: see the module.
        let mut state = unsafe { (*base).lock() };
        state.virtual_events.add(-1);
        if state.virtual_events.now == 0 {
            state.wake();
        }
    });
}

/// An event is no longer used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_debug_unassign(event: *mut Event) {
    door("event_debug_unassign", || {
        // SAFETY: see the module.
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

/// Activates an event when the loop comes round.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_active_later_(event: *mut Event, result: c_int) {
    door("event_active_later_", || {
        // SAFETY: see the module.
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
    // SAFETY: see the module.
    door("event_callback_activate_", || unsafe {
        c_int::from((*base).lock().activate_callback(callback))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_callback_cancel_(base: *mut Base, callback: *mut Callback) -> c_int {
    // SAFETY: see the module.
    door("event_callback_cancel_", || unsafe {
        (*base).lock().cancel(callback, Even::UnlessFinalizing);
    });
    0
}

/// Ends the process unless what the base knows fits together.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_assert_ok_(base: *mut Base) {
    // SAFETY: see the module.
    door("event_base_assert_ok_", || unsafe { (*base).lock().check() });
}

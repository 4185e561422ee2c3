//! Finalizers: what runs in the loop when an event, or a callback of upper layers, is over.
//!
//! What the functions rely on stands in [`events`](super::events).

#![allow(clippy::missing_safety_doc, reason = "the module says what all of them rely on")]

use std::ffi::{c_int, c_uint};
use std::ptr::null_mut;

use super::base::{Base, State, or_current};
use super::core::{Even, event_of};
use super::layout::{Call, Callback, EV_FINALIZE, Event, FinalizeFn, SelfFn, closure, flags};
use super::libevent::warn;
use crate::door::door;

unsafe fn finalize(event: *mut Event, call: Option<FinalizeFn>, closure: u8) -> c_int {
    // SAFETY: see the module.
    unsafe {
        let Some(base) = event.as_ref().and_then(|event| event.base.as_ref()) else {
            warn("event_finalize: event has no event_base set.");
            return -1;
        };
        let mut state = base.lock();
        state.delete(event, Even::UnlessFinalizing);
        (*event).callback.closure = closure;
        (*event).callback.call = Call { finalize: call };
        state.activate(event, EV_FINALIZE, 1);
        state.begin_finalizing(&raw mut (*event).callback);
    }
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_finalize(
    _: c_uint,
    event: *mut Event,
    call: Option<FinalizeFn>,
) -> c_int {
    // SAFETY: see the module.
    door("event_finalize", || unsafe { finalize(event, call, closure::EVENT_FINALIZE) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_free_finalize(
    _: c_uint,
    event: *mut Event,
    call: Option<FinalizeFn>,
) -> c_int {
    // SAFETY: see the module.
    door("event_free_finalize", || unsafe { finalize(event, call, closure::EVENT_FINALIZE_FREE) })
}

impl State {
    /// Has a callback finalized.
    fn finalize_callback(&mut self, callback: *mut Callback, call: Option<SelfFn>) {
        // SAFETY: see the module.
        unsafe {
            match (*callback).has(flags::INIT) {
                true => self.delete(event_of(callback), Even::UnlessFinalizing),
                false => self.cancel(callback, Even::UnlessFinalizing),
            }
            (*callback).closure = closure::CALLBACK_FINALIZE;
            (*callback).call = Call { callback: call };
            self.activate_callback(callback);
        }
        self.begin_finalizing(callback);
    }

    /// What is active runs a finalizer from now on, and nothing else.
    fn begin_finalizing(&mut self, callback: *mut Callback) {
        // SAFETY: see the module.
        unsafe { (*callback).flags |= flags::FINALIZING };
    }

    /// What was posted first to a color, whose runtime has ended: it is no longer active. Null:
    /// there is nothing. The order matters to upper layers: the finalizer of one end of a pair
    /// hands the lock of both to the other one.
    pub(super) fn next_posted(&mut self) -> *mut Callback {
        let Some(callback) = self.posted.first() else { return null_mut() };
        let callback = callback as *mut Callback;
        self.unpost(callback);
        // SAFETY: what is active is there.
        if unsafe { (*callback).has(flags::FINALIZING) } {
            self.forget_bufferevent(callback);
            self.forget_color(callback);
        }
        callback
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_callback_finalize_(
    base: *mut Base,
    _: c_uint,
    callback: *mut Callback,
    call: Option<SelfFn>,
) {
    // SAFETY: see the module.
    door("event_callback_finalize_", || unsafe {
        (*base).lock().finalize_callback(callback, call);
    });
}

/// What upper layers call when the last of several callbacks is no longer to run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_callback_finalize_many_(
    base: *mut Base,
    count: c_int,
    callbacks: *const *mut Callback,
    call: Option<SelfFn>,
) -> c_int {
    door("event_callback_finalize_many_", || {
        let base = or_current(base);
        if base.is_null() || count < 1 || callbacks.is_null() {
            return -1;
        }
        // SAFETY: see the module; the pointer leads to so many.
        unsafe {
            let all = std::slice::from_raw_parts(callbacks, count as usize);
            let mut state = (*base).lock();
            // What has a color ends on it, after what of it runs now.
            if state.colored(all[0]).is_none() {
                state.forget_bufferevent(all[0]);
            }
            // One of them may run now: it is over when that has returned, so the finalizer is its.
            let runs = all.iter().copied().find(|callback| *callback == state.current);
            for &callback in all.iter().filter(|callback| Some(**callback) != runs) {
                state.cancel(callback, Even::UnlessFinalizing);
            }
            state.finalize_callback(runs.unwrap_or(all[0]), call);
        }
        0
    })
}

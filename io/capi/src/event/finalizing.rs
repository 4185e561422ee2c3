//! The exported functions of finalizers.
//!
//! A finalizer runs in the loop after an event, or a callback of the upper layers, has run for the
//! last time. The safety rules stand in [`events`](super::events).

#![allow(clippy::missing_safety_doc, reason = "the header of `events` states the safety rules")]

use std::ffi::{c_int, c_uint};
use std::ptr::null_mut;

use super::base::{Base, BaseState, or_current};
use super::core::{Even, event_of};
use super::layout::{Call, Callback, EV_FINALIZE, Event, FinalizeFn, SelfFn, closure, flags};
use super::libevent::warn;
use crate::door::door;

unsafe fn finalize(event: *mut Event, call: Option<FinalizeFn>, closure: u8) -> c_int {
    // SAFETY: the caller guarantees a null or assigned event, whose base is live (see `events`).
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
    // SAFETY: the caller guarantees a null or assigned event (see `events`).
    door("event_finalize", || unsafe { finalize(event, call, closure::EVENT_FINALIZE) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_free_finalize(
    _: c_uint,
    event: *mut Event,
    call: Option<FinalizeFn>,
) -> c_int {
    // SAFETY: the caller guarantees a null or assigned event (see `events`).
    door("event_free_finalize", || unsafe { finalize(event, call, closure::EVENT_FINALIZE_FREE) })
}

impl BaseState {
    /// Cancels a callback or event, and activates its finalizer.
    fn finalize_callback(&mut self, callback: *mut Callback, call: Option<SelfFn>) {
        // SAFETY: the callback is live and of this base, as the callers guarantee (see `events`).
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

    /// Marks an active callback, which from now on runs only its finalizer.
    fn begin_finalizing(&mut self, callback: *mut Callback) {
        // SAFETY: the callback is live, as the callers guarantee (see `events`).
        unsafe { (*callback).flags |= flags::FINALIZING };
    }

    /// Takes out the callback that was posted first to a color, after the runtime has ended.
    /// Returns null if there is none.
    ///
    /// The order matters to the upper layers: the finalizer of one end of a bufferevent pair hands
    /// the lock of both ends to the other one.
    pub(super) fn next_posted(&mut self) -> *mut Callback {
        let Some(callback) = self.posted.first() else { return null_mut() };
        let callback = callback as *mut Callback;
        self.unpost(callback);
        // SAFETY: an active callback is live.
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
    // SAFETY: the caller guarantees a live base and an initialized callback (see `events`).
    door("event_callback_finalize_", || unsafe {
        (*base).lock().finalize_callback(callback, call);
    });
}

/// Cancels several callbacks, and calls a finalizer when none of them runs any longer. For
/// libevent's upper layers.
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
        // SAFETY: the caller guarantees `count` pointers to initialized callbacks, and the base is
        // live (see `events`).
        unsafe {
            let all = std::slice::from_raw_parts(callbacks, count as usize);
            let mut state = (*base).lock();
            // With a color, the finalizer runs on that color, after the callbacks that run there
            // now, and `fire_callback` forgets the bufferevent.
            if state.colored(all[0]).is_none() {
                state.forget_bufferevent(all[0]);
            }
            // If one of them runs now, the finalizer is attached to it: it must run after that one
            // returns.
            let runs = all.iter().copied().find(|callback| *callback == state.current);
            for &callback in all.iter().filter(|callback| Some(**callback) != runs) {
                state.cancel(callback, Even::UnlessFinalizing);
            }
            state.finalize_callback(runs.unwrap_or(all[0]), call);
        }
        0
    })
}

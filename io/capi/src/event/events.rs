//! The exported functions of events: those of `event2/event.h` and `event_compat.h`.
//!
//! # Safety of the exported functions
//!
//! All exported functions of the event core rely on what libevent's documentation demands of their
//! caller:
//!
//! * An event pointer leads to memory of the size of `struct event`. The event is assigned before
//!   any other use. Its memory is freed or reused only after the event has been deleted.
//! * A base pointer is null or leads to a live base. A base lives as long as events of it are used.
//! * Other pointers are null where that is allowed, or lead to what the function's type says.
//!   Strings end with a zero.
//! * A callback may be called with its argument, on the threads that libevent and `dapple_event.h`
//!   name.

#![allow(clippy::missing_safety_doc, reason = "the header of `events` states the safety rules")]

use std::ffi::{c_int, c_short, c_void};
use std::ptr::null_mut;

use super::base::{Base, or_current, unless_freed};
use super::common::plain;
use super::core::{Done, Even, Meaning};
use super::debug;
use super::layout::{
    EV_FINALIZE, EV_IO, EV_PERSIST, EV_SIGNAL, EV_TIMEOUT, Event, EventFn, OfKind, Timeval,
    closure, flags,
};
use super::libevent::{allocate, free, warn};
use super::time;
use super::time::read_time;
use crate::door::door;

/// An address that stands for the event itself as an argument.
static SELF: u8 = 0;

/// Whether a deletion waits for the event's callback, if that runs on another thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    No,
    Yes,
    /// It waits unless the event has EV_FINALIZE.
    UnlessFinalize,
}

/// Returns the base of an event, or `None` if it has none or that base has been freed.
#[inline]
unsafe fn base_of<'a>(event: *const Event, call: &str) -> Option<&'a Base> {
    // SAFETY: the caller guarantees a null or assigned event (see the header).
    unsafe {
        let Some(event) = event.as_ref().filter(|event| !event.base.is_null()) else {
            return has_no_base(call);
        };
        let base = unless_freed(event.base)?;
        debug::check_assigned(event, call);
        Some(base)
    }
}

#[cold]
fn has_no_base<'a>(call: &str) -> Option<&'a Base> {
    warn(&format!("{call}: event has no event_base set."));
    None
}

#[unsafe(no_mangle)]
pub extern "C" fn event_self_cbarg() -> *mut c_void {
    (&raw const SELF).cast_mut().cast()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_assign(
    event: *mut Event,
    base: *mut Base,
    fd: c_int,
    events: c_short,
    callback: Option<EventFn>,
    arg: *mut c_void,
) -> c_int {
    door("event_assign", || {
        if event.is_null() {
            return -1;
        }
        debug::check_not_added(event, "event_assign");
        if events & EV_SIGNAL == 0 {
            debug::check_nonblocking(fd);
        }
        let base = or_current(base);
        let arg = if arg == event_self_cbarg() { event.cast() } else { arg };
        let is_signal = events & EV_SIGNAL != 0;
        let closure = match events & EV_PERSIST {
            _ if is_signal => closure::SIGNAL,
            0 => closure::EVENT,
            _ => closure::PERSIST,
        };
        // SAFETY: the caller guarantees memory for an event that is not in use, and a base that is
        // null or live (see the header).
        unsafe {
            Event::write_fresh(event, base, fd, events, closure, callback, arg);
            if is_signal && events & EV_IO != 0 {
                warn(
                    "event_assign: EV_SIGNAL is not compatible with EV_READ, EV_WRITE or EV_CLOSED",
                );
                return -1;
            }
            if let Some(base) = base.as_ref() {
                let mut state = base.lock();
                (*event).callback.priority = (state.active.len() / 2) as u8;
                // The color may be that of an earlier event in the same memory.
                state.forget_color_of_another(event);
            }
        }
        0
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_set(
    event: *mut Event,
    fd: c_int,
    events: c_short,
    callback: Option<EventFn>,
    arg: *mut c_void,
) {
    // SAFETY: `allocate` returned memory of the size of an event, or null, which `event_assign`
    // refuses. The base is null or live.
    unsafe { event_assign(event, or_current(null_mut()), fd, events, callback, arg) };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_new(
    base: *mut Base,
    fd: c_int,
    events: c_short,
    callback: Option<EventFn>,
    arg: *mut c_void,
) -> *mut Event {
    let event = allocate(size_of::<Event>()).cast::<Event>();
    // SAFETY: the caller guarantees memory for an event, or it is null, which `event_assign`
    // refuses. The base is null or live.
    unsafe {
        if event_assign(event, base, fd, events, callback, arg) < 0 {
            if !event.is_null() {
                free(event.cast());
            }
            return null_mut();
        }
    }
    event
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_free(event: *mut Event) {
    // SAFETY: the caller guarantees a null or assigned event (see the header).
    unsafe {
        event_del(event);
        if let Some(base) = event.as_ref().and_then(|event| unless_freed(event.base)) {
            base.lock().forget_color(event.cast());
        }
        free(event.cast());
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_set(base: *mut Base, event: *mut Event) -> c_int {
    door("event_base_set", || {
        // SAFETY: the caller guarantees a null or assigned event, and a null or live base (see the
        // header).
        unsafe {
            let (Some(of), Some(event)) = (base.as_ref(), event.as_mut()) else { return -1 };
            // The event may be neither pending nor active.
            if event.callback.flags != flags::INIT {
                return -1;
            }
            if let Some(before) = unless_freed(event.base) {
                let mut state = before.lock();
                if !state.may_move(event) {
                    return -1;
                }
                state.forget_moved(event);
            }
            event.base = base;
            let mut state = of.lock();
            event.callback.priority = (state.active.len() / 2) as u8;
            // The color may be that of an earlier event in the same memory.
            state.forget_color(std::ptr::from_mut(event).cast());
        }
        0
    })
}

/// Adds an event. With a `timeout`, it also times out after that duration.
pub(super) unsafe fn add(event: *mut Event, timeout: *const Timeval) -> c_int {
    door("event_add", || {
        // SAFETY: the caller guarantees a null or assigned event (see the header).
        unsafe {
            let Some(base) = base_of(event, "event_add") else { return -1 };
            let timeout = read_time(timeout).map(|time| (time, Meaning::After));
            let mut state = base.lock();
            if (*event).events & EV_SIGNAL != 0 && !state.is_in_loop_thread() {
                state = base.wait_for_return(state, |state| state.current == event.cast());
            }
            match state.add(event, timeout) {
                Done::Yes => 0,
                Done::Refused => -1,
            }
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_add(event: *mut Event, timeout: *const Timeval) -> c_int {
    // SAFETY: the caller guarantees a null or assigned event (see the header).
    unsafe { add(event, timeout) }
}

/// Deletes an event, and waits for its callback if `waits` says so.
pub(super) unsafe fn delete(event: *mut Event, even: Even, waits: Waits) -> c_int {
    // SAFETY: the caller guarantees a null or assigned event (see the header). The event is not
    // touched after the wait, because its callback may have freed it.
    unsafe {
        let Some(base) = base_of(event, "event_del") else { return -1 };
        // Programs often delete events that are not added. That takes no lock.
        let is_signal = (*event).events & EV_SIGNAL != 0;
        if !is_signal && base.is_of_this_thread() && !(*event).has(flags::STANDS) {
            return 0;
        }
        door("event_del", || {
            let mut state = base.lock();
            let waits = match waits {
                Waits::No => false,
                Waits::Yes => true,
                Waits::UnlessFinalize => (*event).events & EV_FINALIZE == 0,
            };
            state.delete(event, even);
            if waits {
                let is_in_loop = state.is_in_loop_thread();
                drop(base.wait_for_return(state, |state| {
                    !is_in_loop && state.current == event.cast() || state.runs_elsewhere(event)
                }));
            }
            0
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_del(event: *mut Event) -> c_int {
    // SAFETY: the caller guarantees a null or assigned event (see the header).
    unsafe { delete(event, Even::UnlessFinalizing, Waits::UnlessFinalize) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_del_block(event: *mut Event) -> c_int {
    // SAFETY: the caller guarantees a null or assigned event (see the header).
    unsafe { delete(event, Even::UnlessFinalizing, Waits::Yes) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_del_noblock(event: *mut Event) -> c_int {
    // SAFETY: the caller guarantees a null or assigned event (see the header).
    unsafe { delete(event, Even::UnlessFinalizing, Waits::No) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_remove_timer(event: *mut Event) -> c_int {
    door("event_remove_timer", || {
        // SAFETY: the caller guarantees a null or assigned event (see the header).
        unsafe {
            let Some(base) = base_of(event, "event_remove_timer") else { return -1 };
            let mut state = base.lock();
            if (*event).has(flags::TIMEOUT) {
                state.leave_timeouts(event);
                // The others have no interval, but something else in this place.
                if (*event).callback.closure == closure::PERSIST {
                    (*event).kind = OfKind { interval: time::ZERO };
                }
            }
        }
        0
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_active(event: *mut Event, result: c_int, calls: c_short) {
    door("event_active", || {
        // SAFETY: the caller guarantees a null or assigned event (see the header).
        unsafe {
            let Some(base) = base_of(event, "event_active") else { return };
            let mut state = base.lock();
            if (*event).events & EV_SIGNAL != 0 && !state.is_in_loop_thread() {
                state = base.wait_for_return(state, |state| state.current == event.cast());
            }
            state.activate(event, result as c_short, calls);
        }
    });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_pending(
    event: *const Event,
    events: c_short,
    due: *mut Timeval,
) -> c_int {
    let asked = events & (EV_TIMEOUT | EV_IO | EV_SIGNAL);
    // SAFETY: the caller guarantees a null or assigned event (see the header).
    unsafe {
        let Some(base) = base_of(event, "event_pending") else { return 0 };
        // Programs ask this often. It takes no lock.
        if due.is_null() && base.is_of_this_thread() {
            return c_int::from((*event).pending() & asked);
        }
        door("event_pending", || {
            let state = base.lock();
            let pending = (*event).pending() & asked;
            if !due.is_null() && pending & EV_TIMEOUT != 0 {
                *due = time::add(plain((*event).timeout), state.wall_offset);
            }
            c_int::from(pending)
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_initialized(event: *const Event) -> c_int {
    // SAFETY: the caller guarantees a null or assigned event (see the header).
    c_int::from(unsafe { event.as_ref() }.is_some_and(|event| event.has(flags::INIT)))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_priority_set(event: *mut Event, priority: c_int) -> c_int {
    door("event_priority_set", || {
        // SAFETY: the caller guarantees a null or assigned event (see the header).
        unsafe {
            let Some(base) = base_of(event, "event_priority_set") else { return -1 };
            let state = base.lock();
            let is_one = usize::try_from(priority).is_ok_and(|p| p < state.active.len());
            if (*event).has(flags::ACTIVE) || !is_one {
                return -1;
            }
            (*event).callback.priority = priority as u8;
        }
        0
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_get_priority(event: *const Event) -> c_int {
    // SAFETY: the caller guarantees an assigned event (see the header).
    unsafe { (*event).callback.priority.into() }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_get_fd(event: *const Event) -> c_int {
    // SAFETY: the caller guarantees an assigned event (see the header).
    unsafe { (*event).fd }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_get_base(event: *const Event) -> *mut Base {
    // SAFETY: the caller guarantees an assigned event (see the header).
    unsafe { (*event).base }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_get_events(event: *const Event) -> c_short {
    // SAFETY: the caller guarantees an assigned event (see the header).
    unsafe { (*event).events }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_get_callback(event: *const Event) -> Option<EventFn> {
    // SAFETY: the caller guarantees an assigned event (see the header).
    unsafe { (*event).callback.call.event }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_get_callback_arg(event: *const Event) -> *mut c_void {
    // SAFETY: the caller guarantees an assigned event (see the header).
    unsafe { (*event).callback.arg }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_get_assignment(
    event: *const Event,
    base: *mut *mut Base,
    fd: *mut c_int,
    events: *mut c_short,
    callback: *mut Option<EventFn>,
    arg: *mut *mut c_void,
) {
    /// Writes a value to an output pointer, unless that is null.
    unsafe fn tell<T>(to: *mut T, value: T) {
        if !to.is_null() {
            // SAFETY: the caller guarantees that a non-null output pointer can be written to.
            unsafe { to.write(value) };
        }
    }
    // SAFETY: the caller guarantees an assigned event (see the header).
    unsafe {
        tell(base, (*event).base);
        tell(fd, (*event).fd);
        tell(events, (*event).events);
        tell(callback, (*event).callback.call.event);
        tell(arg, (*event).callback.arg);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn event_get_struct_event_size() -> usize {
    size_of::<Event>()
}

/// The memory that `event_base_once` allocates: an event, and the callback to call.
#[repr(C)]
struct Once {
    event: Event,
    callback: Option<EventFn>,
    arg: *mut c_void,
}

/// The callback of an event of `event_base_once`: calls the program's callback and frees the
/// memory.
unsafe extern "C" fn fire_once(fd: c_int, result: c_short, once: *mut c_void) {
    let once = once.cast::<Once>();
    // SAFETY: `event_base_once` allocated the memory, and the event fires only once. Its base runs
    // this, so it is live.
    unsafe {
        let event = &raw mut (*once).event;
        (*(*event).base).lock().once.retain(|other| *other != event);
        if let Some(callback) = (*once).callback {
            callback(fd, result, (*once).arg);
        }
        free(once.cast());
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_once(
    base: *mut Base,
    fd: c_int,
    events: c_short,
    callback: Option<EventFn>,
    arg: *mut c_void,
    timeout: *const Timeval,
) -> c_int {
    door("event_base_once", || {
        let waits = events & (EV_IO | EV_SIGNAL);
        let is_timer = waits == 0 && events & EV_TIMEOUT != 0;
        if base.is_null() || events & (EV_SIGNAL | EV_PERSIST) != 0 || waits == 0 && !is_timer {
            return -1;
        }
        let once = allocate(size_of::<Once>()).cast::<Once>();
        if once.is_null() {
            return -1;
        }
        // SAFETY: the memory is fresh and large enough. The caller guarantees that the base is
        // live, and that `timeout` is null or readable (see the header).
        unsafe {
            (*once).callback = callback;
            (*once).arg = arg;
            let time = read_time(timeout);
            let (fd, events) = if is_timer { (-1, 0) } else { (fd, waits) };
            let event = &raw mut (*once).event;
            event_assign(event, base, fd, events, Some(fire_once), once.cast());
            let mut state = (*base).lock();
            if is_timer && time.is_none_or(time::is_zero) {
                // It is due at once, so the clock is not read.
                state.once.push(event);
                state.activate(event, EV_TIMEOUT, 1);
                return 0;
            }
            match state.add(event, time.map(|time| (time, Meaning::After))) {
                Done::Yes => {
                    state.once.push(event);
                    0
                }
                Done::Refused => {
                    drop(state);
                    free(once.cast());
                    -1
                }
            }
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_once(
    fd: c_int,
    events: c_short,
    callback: Option<EventFn>,
    arg: *mut c_void,
    timeout: *const Timeval,
) -> c_int {
    // SAFETY: the current base is null or live; for the other arguments see `event_base_once`.
    unsafe { event_base_once(or_current(null_mut()), fd, events, callback, arg, timeout) }
}

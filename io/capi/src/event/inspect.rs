//! The exported functions that count and list the events of a base.
//!
//! The safety rules stand in [`events`](super::events).

#![allow(clippy::missing_safety_doc, reason = "the header of `events` states the safety rules")]

use std::ffi::{c_int, c_short, c_uint, c_void};

use super::base::{Base, BaseState};
use super::bases::must;
use super::common::plain;
use super::core::event_of;
use super::layout::{EV_ET, EV_PERSIST, EV_READ, EV_SIGNAL, EV_TIMEOUT, EV_WRITE, Event, flags};
use super::time;
use crate::door::door;

type ForeachFn = unsafe extern "C" fn(*const Base, *const Event, *mut c_void) -> c_int;

/// The `EVENT_BASE_COUNT_*` flags.
const COUNT_ACTIVE: c_uint = 1;
const COUNT_VIRTUAL: c_uint = 2;
const COUNT_ADDED: c_uint = 4;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_get_num_events(base: *mut Base, what: c_uint) -> c_int {
    // SAFETY: the base is null, which `must` reports, or live (see `events`).
    let state = unsafe { must(base, "event_base_get_num_events").lock() };
    let of = |flag, n| if what & flag != 0 { n } else { 0 };
    let posted = state.workers.as_ref().map_or(0, |workers| workers.posted.count() as c_int);
    of(COUNT_ACTIVE, state.active_count as c_int)
        + of(COUNT_VIRTUAL, state.virtual_events.now + posted)
        + of(COUNT_ADDED, state.event_count.now)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_get_max_events(
    base: *mut Base,
    what: c_uint,
    clear: c_int,
) -> c_int {
    // SAFETY: the base is null, which `must` reports, or live (see `events`).
    let mut state = unsafe { must(base, "event_base_get_max_events").lock() };
    let state = &mut *state;
    let all = [
        (COUNT_ACTIVE, &mut state.active_events),
        (COUNT_VIRTUAL, &mut state.virtual_events),
        (COUNT_ADDED, &mut state.event_count),
    ];
    let asked = all.into_iter().filter(|(flag, _)| what & flag != 0);
    asked
        .map(|(_, count)| match clear {
            0 => count.most,
            _ => std::mem::take(&mut count.most),
        })
        .sum()
}

/// Returns the events of a base that are not internal, each once.
///
/// Events that are only in `later` are missing, and so are those that only the runtime watches.
pub(super) fn all_events(state: &BaseState) -> Vec<*mut Event> {
    let mut all: Vec<_> = state.fds.events().into_iter().chain(state.signals.events()).collect();
    let has = |event: *mut Event, flag: c_short| {
        // SAFETY: an event that is pending or active is live.
        unsafe { (*event).has(flag) }
    };
    let timed = state.timeouts.all().iter().copied().chain(state.all_common());
    all.extend(timed.filter(|event| !has(*event, flags::INSERTED)));
    for queue in &state.active {
        let mut callback = queue.first();
        while !callback.is_null() {
            // SAFETY: a callback in a queue is live, and is an event if `INIT` is set.
            unsafe {
                let stands = flags::INSERTED | flags::TIMEOUT;
                if (*callback).has(flags::INIT) && !(*callback).has(stands) {
                    all.push(event_of(callback));
                }
                callback = (*callback).next;
            }
        }
    }
    all.retain(|event| !has(*event, flags::INTERNAL));
    all
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_foreach_event(
    base: *mut Base,
    call: Option<ForeachFn>,
    arg: *mut c_void,
) -> c_int {
    door("event_base_foreach_event", || {
        // SAFETY: the caller guarantees that `base` is null or live (see `events`). The program's
        // function must not change events, as libevent demands, so they stay live during the walk.
        unsafe {
            let (Some(of), Some(call)) = (base.as_ref(), call) else { return -1 };
            // The lock is not held during the calls, because the function may call into the base.
            let all = all_events(&of.lock());
            for event in all {
                let answer = call(base, event, arg);
                if answer != 0 {
                    return answer;
                }
            }
        }
        0
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn event_base_dump_events(base: *mut Base, file: *mut libc::FILE) {
    door("event_base_dump_events", || {
        // SAFETY: the base is null, which `must` reports, or live (see `events`).
        let mut state = unsafe { must(base, "event_base_dump_events").lock() };
        let now = state.now();
        let mut text = String::new();
        let (mut inserted, mut active) = (String::new(), String::new());
        for event in all_events(&state) {
            // SAFETY: an event that is pending or active is live.
            let event = unsafe { &*event };
            let kind = if event.waits_for(EV_SIGNAL) { "sig" } else { "fd " };
            let named = |what: &[(c_short, &str)], of: c_short| -> String {
                what.iter().filter(|(flag, _)| of & flag != 0).map(|(_, name)| *name).collect()
            };
            let at = std::ptr::from_ref(event);
            if event.has(flags::INSERTED | flags::TIMEOUT) {
                let what = [
                    (EV_READ, " Read"),
                    (EV_WRITE, " Write"),
                    (super::layout::EV_CLOSED, " EOF"),
                    (EV_SIGNAL, " Signal"),
                    (EV_PERSIST, " Persist"),
                    (EV_ET, " ET"),
                ];
                let what = named(&what, event.events);
                inserted += &format!("  {at:p} [{kind} {}]{what}", event.fd);
                if event.has(flags::TIMEOUT) {
                    let left = time::subtract(plain(event.timeout), now);
                    inserted += &format!(" Timeout={}.{:06}", left.tv_sec, left.tv_usec);
                }
                inserted.push('\n');
            }
            if event.has(flags::ACTIVE | flags::ACTIVE_LATER) {
                let what = [
                    (EV_READ, " Read"),
                    (EV_WRITE, " Write"),
                    (super::layout::EV_CLOSED, " EOF"),
                    (EV_SIGNAL, " Signal"),
                    (EV_TIMEOUT, " Timeout"),
                ];
                let what = named(&what, event.result);
                let priority = event.callback.priority;
                active +=
                    &format!("  {at:p} [{kind} {}, priority={priority}]{what} active\n", event.fd);
            }
        }
        text += &format!("Inserted events:\n{inserted}Active events:\n{active}");
        // SAFETY: the caller guarantees that the file is open, and `text` has that many bytes.
        unsafe { libc::fwrite(text.as_ptr().cast(), 1, text.len(), file) };
    });
}

//! Adding, deleting and activating events: the steps that all functions are made of, under the lock
//! of their base.
//!
//! An event is *pending* while it waits for a descriptor, a signal or a timeout, and *active* while
//! its callback is due to run. The flags in [`flags::STANDS`] say which of these it is.
//!
//! # Safety of this module
//!
//! Events and callbacks are pointers into the program's memory. Functions that take such a pointer
//! rely on what libevent demands of its callers: the event has been assigned (a callback:
//! initialized), its base is this one, and it is neither moved nor freed while it is pending or
//! active.

use std::ffi::{c_int, c_short, c_void};
use std::ptr::null_mut;
use std::sync::atomic::Ordering;

use super::base::{Base, BaseState, Notifier};
use super::bell::Bell;
use super::common::{MICROS_MASK, is_first, plain};
use super::layout::{
    Callback, EV_IO, EV_PERSIST, EV_SIGNAL, EV_TIMEOUT, Event, EventFn, OfKind, Timeval, closure,
    flags,
};
use super::libevent::warn;
use super::time;
use crate::door::set_errno;

/// The meaning of the time with which an event is added.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The event times out this long from now.
    After,
    /// The event times out at this time of the loop's clock.
    At,
}

/// Whether an event is deleted even while its finalizer is active.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Even {
    IfFinalizing,
    UnlessFinalizing,
}

/// The result of a step that can be refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// The system or libevent's rules refuse the step.
    Refused,
    Yes,
}

/// Initializes an internal event, which belongs to the base and not to the program.
///
/// # Safety
///
/// The event is the caller's to write, and is neither pending nor active.
pub(super) unsafe fn assign_internal(
    event: *mut Event,
    base: *mut Base,
    fd: c_int,
    events: c_short,
    call: EventFn,
    arg: *mut c_void,
) {
    // SAFETY: the caller guarantees that the event may be written to.
    unsafe {
        let closure = if events & EV_PERSIST != 0 { closure::PERSIST } else { closure::EVENT };
        Event::write_fresh(event, base, fd, events, closure, Some(call), arg);
        (*event).callback.flags |= flags::INTERNAL;
    }
}

/// Returns the event that begins with this callback.
pub(super) fn event_of(callback: *mut Callback) -> *mut Event {
    callback.cast()
}

impl BaseState {
    /// Wakes the loop, if it runs on another thread.
    pub(super) fn wake(&mut self) {
        if !self.is_running || self.is_in_loop_thread() {
            return;
        }
        if self.notify.is_none() && !self.make_notifier() {
            return;
        }
        if let Some(notify) = &mut self.notify
            && !std::mem::replace(&mut notify.is_pending, true)
        {
            super::bell::ring(notify.bell.fd());
        }
    }

    /// Makes the notifier ahead of the first wakeup. Returns `false` if the system refuses it.
    pub(super) fn prepare_wake(&mut self) -> bool {
        self.notify.is_some() || self.make_notifier()
    }

    /// Makes the descriptor that wakes the loop. Returns `false` if the system refuses it.
    ///
    /// A thread that waits in epoll notices the new descriptor at once.
    fn make_notifier(&mut self) -> bool {
        let Some(bell) = Bell::new(self, notified) else {
            warn("eventfd failed, so other threads cannot wake the loop");
            return false;
        };
        let event = bell.event();
        // Stored before `add`, which may call `wake` and would make another one.
        self.notify = Some(Notifier { bell, is_pending: false });
        self.add(event, None);
        true
    }

    /// Adds an event, and wakes the loop if it may have to wait for less time now.
    pub(super) fn add(&mut self, event: *mut Event, timeout: Option<(Timeval, Meaning)>) -> Done {
        // SAFETY: the event is live and of this base (see the header).
        let ev = unsafe { &mut *event };
        if ev.has(flags::FINALIZING) {
            return Done::Refused;
        }
        if timeout.is_some() && !ev.has(flags::TIMEOUT) && !self.timeouts.reserve() {
            return Done::Refused;
        }
        let stands = flags::INSERTED | flags::ACTIVE | flags::ACTIVE_LATER;
        if ev.waits_for(EV_IO | EV_SIGNAL) && !ev.has(stands) {
            let watched = match ev.waits_for(EV_SIGNAL) {
                true => self.watch_signal(event),
                false => self.watch(event),
            };
            if watched == Done::Refused {
                return Done::Refused;
            }
            self.set_flag(&mut ev.callback, flags::INSERTED);
            self.wake();
        }
        if let Some((time, meaning)) = timeout {
            self.add_timeout(event, time, meaning);
        }
        Done::Yes
    }

    fn add_timeout(&mut self, event: *mut Event, time: Timeval, meaning: Meaning) {
        // SAFETY: the event is live and of this base (see the header).
        let ev = unsafe { &mut *event };
        if ev.callback.closure == closure::PERSIST && meaning == Meaning::After {
            ev.kind = OfKind { interval: time };
        }
        let mut wakes = false;
        if ev.has(flags::TIMEOUT) {
            wakes = self.timeouts.first() == event;
            self.leave_timeouts(event);
        }
        // The event is active because it timed out. With the new timeout it is no longer active.
        if ev.has(flags::ACTIVE) && ev.result & EV_TIMEOUT != 0 {
            self.stop_calls(ev);
            self.deactivate_any(&raw mut ev.callback);
        }
        let list = self.common_of(time);
        ev.timeout = match meaning {
            Meaning::At => time,
            Meaning::After => {
                let mut due = time::add(self.now(), plain(time));
                due.tv_usec |= if list.is_null() { 0 } else { time.tv_usec & !MICROS_MASK };
                due
            }
        };
        self.set_flag(&mut ev.callback, flags::TIMEOUT);
        // SAFETY: the event was in neither the heap nor a list, and `list` is null or one of the
        // base's lists.
        unsafe {
            if list.is_null() {
                self.timeouts.push(event);
                // The loop plans its wait by the first event of the heap.
                wakes |= self.timeouts.first() == event;
            } else {
                self.push_common(list, event);
                if is_first(list, event) {
                    self.schedule_common(list);
                }
            }
        }
        if wakes {
            self.wake();
        }
    }

    /// Takes an event out of the heap, or out of its list of common timeouts.
    pub(super) fn leave_timeouts(&mut self, event: *mut Event) {
        // SAFETY: the event is live (see the header). It has `TIMEOUT`, so it is in the heap or in
        // the list.
        unsafe {
            self.clear_flag(&mut (*event).callback, flags::TIMEOUT);
            let list = self.common_of((*event).timeout);
            match list.is_null() {
                true => self.timeouts.remove(event),
                false => self.remove_common(list, event),
            }
        }
    }

    /// Ends the series of calls that a loop makes for a signal, if one is making them.
    fn stop_calls(&mut self, ev: &mut Event) {
        if !ev.waits_for(EV_SIGNAL) {
            return;
        }
        // SAFETY: a signal event has this part of the union. A counter that is set belongs to a
        // loop that is in `tell_signal` now, because that loop takes it back before it returns.
        unsafe {
            let counter = ev.kind.signal.counter;
            if !counter.is_null() {
                *counter = 0;
                ev.kind.signal.counter = null_mut();
            }
        }
    }

    /// Deletes an event. It does not wait for a callback that runs: that is the caller's part.
    pub(super) fn delete(&mut self, event: *mut Event, even: Even) {
        // SAFETY: the event is live and of this base (see the header).
        let ev = unsafe { &mut *event };
        if even == Even::UnlessFinalizing && ev.has(flags::FINALIZING) {
            return;
        }
        self.stop_calls(ev);
        if ev.has(flags::TIMEOUT) {
            self.leave_timeouts(event);
        }
        if self.colored(event.cast()).is_some() {
            if ev.has(flags::ACTIVE) {
                self.leave_posted(event.cast());
            }
            self.unwatch_colored(event);
        } else if ev.has(flags::ACTIVE) {
            self.deactivate(&raw mut ev.callback);
        } else if ev.has(flags::ACTIVE_LATER) {
            self.leave_later(&raw mut ev.callback);
        }
        if ev.has(flags::INSERTED) {
            self.clear_flag(&mut ev.callback, flags::INSERTED);
            match ev.waits_for(EV_SIGNAL) {
                true => self.unwatch_signal(event),
                false => self.unwatch(event),
            }
            self.wake();
        }
        // Nothing is left to wait for, so the loop may return.
        if !self.has_events() && self.active_count == 0 {
            self.wake();
        }
    }

    /// Has the poller watch the descriptor of an event.
    fn watch(&mut self, event: *mut Event) -> Done {
        // SAFETY: the event is live and of this base (see the header).
        let (fd, events) = unsafe { ((*event).fd, (*event).events) };
        if self.is_colored(event.cast()) {
            return self.watch_colored(event);
        }
        if fd < 0 {
            return Done::Yes;
        }
        let Some(slot) = self.fds.slot(fd) else { return Done::Refused };
        if super::debug::is_on() && slot.mixes(events) {
            warn("Tried to mix edge-triggered and non-edge-triggered events on one descriptor");
            return Done::Refused;
        }
        let before = slot.wanted();
        slot.push(event);
        match self.change(fd, before) {
            Ok(()) => Done::Yes,
            Err(error) => {
                if let Some(slot) = self.fds.slot(fd) {
                    slot.remove(event);
                }
                let text = std::io::Error::from_raw_os_error(error);
                warn(&format!("event_add: descriptor {fd}: {text}"));
                set_errno(error);
                Done::Refused
            }
        }
    }

    fn unwatch(&mut self, event: *mut Event) {
        // SAFETY: the event is live and of this base (see the header).
        let fd = unsafe { (*event).fd };
        if self.colored(event.cast()).is_some() {
            return;
        }
        let Some(slot) = self.fds.slot(fd) else { return };
        let before = slot.wanted();
        slot.remove(event);
        if let Err(error) = self.change(fd, before) {
            let text = std::io::Error::from_raw_os_error(error);
            warn(&format!("event_del: descriptor {fd}: {text}"));
        }
    }

    /// Activates an event with a reason, `result`. The callback of a signal is called `calls`
    /// times.
    pub(super) fn activate(&mut self, event: *mut Event, result: c_short, calls: c_short) {
        // SAFETY: the event is live and of this base (see the header).
        let ev = unsafe { &mut *event };
        if ev.has(flags::FINALIZING) {
            return;
        }
        match ev.has(flags::ACTIVE | flags::ACTIVE_LATER) {
            true => {
                ev.result |= result;
                if ev.has(flags::ACTIVE) {
                    return;
                }
            }
            false => ev.result = result,
        }
        if self.running_priority.is_some_and(|running| ev.callback.priority < running) {
            // SAFETY: `own_base` is the base that contains this state, so it is live.
            unsafe { (*self.own_base).wishes.continues.store(true, Ordering::Relaxed) };
        }
        if ev.waits_for(EV_SIGNAL) {
            // A loop that calls the callback now keeps its counter here, for a deletion to find.
            // SAFETY: a signal event has this part of the union.
            let counter = unsafe { ev.kind.signal.counter };
            ev.kind = OfKind { signal: super::layout::Calls { left: calls, counter } };
        }
        self.activate_callback(&raw mut ev.callback);
    }

    /// Activates a callback. Returns `true` if it was not active, nor due to become active.
    pub(super) fn activate_callback(&mut self, callback: *mut Callback) -> bool {
        // SAFETY: the callback is live and of this base (see the header).
        let cb = unsafe { &mut *callback };
        if cb.has(flags::FINALIZING | flags::ACTIVE) {
            return false;
        }
        if self.is_colored(callback) {
            self.set_flag(cb, flags::ACTIVE);
            self.post_active(callback);
            return true;
        }
        let is_new = !cb.has(flags::ACTIVE_LATER);
        if !is_new {
            self.leave_later(callback);
        }
        self.make_active(callback);
        self.wake();
        is_new
    }

    /// Puts a callback that is in no queue into the queue of its priority.
    pub(super) fn make_active(&mut self, callback: *mut Callback) {
        // SAFETY: the callback is live and of this base (see the header).
        let cb = unsafe { &mut *callback };
        self.set_flag(cb, flags::ACTIVE);
        self.active_count += 1;
        self.active_events.add(1);
        let queue = usize::from(cb.priority).min(self.active.len() - 1);
        cb.priority = queue as u8;
        // SAFETY: the callback is in no queue, and is live while it is in this one (see the
        // header).
        unsafe { self.active[queue].push(callback) };
    }

    /// Takes a callback out of the queue of its priority.
    pub(super) fn deactivate(&mut self, callback: *mut Callback) {
        // SAFETY: the callback is live (see the header), and is in the queue of its priority.
        unsafe {
            self.clear_flag(&mut *callback, flags::ACTIVE);
            self.active[usize::from((*callback).priority)].remove(callback);
        }
        self.active_count -= 1;
        self.active_events.add(-1);
    }

    /// Makes an active callback inactive, with or without a color.
    fn deactivate_any(&mut self, callback: *mut Callback) {
        match self.colored(callback).is_some() {
            true => self.unpost(callback),
            false => self.deactivate(callback),
        }
    }

    /// Has a callback become active in the loop's next round. Returns `true` if it was not active,
    /// nor due to become active.
    pub(super) fn activate_later(&mut self, callback: *mut Callback) -> bool {
        // SAFETY: the callback is live and of this base (see the header).
        let cb = unsafe { &mut *callback };
        if cb.has(flags::ACTIVE | flags::ACTIVE_LATER) {
            return false;
        }
        if self.is_colored(callback) {
            return self.activate_callback(callback);
        }
        self.set_flag(cb, flags::ACTIVE_LATER);
        self.active_count += 1;
        self.active_events.add(1);
        // SAFETY: the callback is in no queue, and is live while it is in this one (see the
        // header).
        unsafe { self.later.push(callback) };
        self.wake();
        true
    }

    pub(super) fn leave_later(&mut self, callback: *mut Callback) {
        // SAFETY: the callback is live (see the header), and is in the queue `later`.
        unsafe {
            self.clear_flag(&mut *callback, flags::ACTIVE_LATER);
            self.later.remove(callback);
        }
        self.active_count -= 1;
        self.active_events.add(-1);
    }

    /// Deletes an event, or makes a callback inactive, so that it does not run.
    pub(super) fn cancel(&mut self, callback: *mut Callback, even: Even) {
        // SAFETY: the callback is live and of this base (see the header).
        let cb = unsafe { &mut *callback };
        if cb.has(flags::FINALIZING) && even == Even::UnlessFinalizing {
            return;
        }
        if cb.has(flags::INIT) {
            self.delete(event_of(callback), even);
        } else if cb.has(flags::ACTIVE) {
            self.deactivate_any(callback);
        } else if cb.has(flags::ACTIVE_LATER) {
            self.leave_later(callback);
        }
    }
}

impl BaseState {
    /// Checks that the flags and counts agree with the queues.
    ///
    /// # Panics
    ///
    /// Panics if they do not.
    pub(super) fn check(&self) {
        let has = |event: *mut Event, flag: c_short| {
            // SAFETY: an event that is pending or active is live.
            unsafe { (*event).has(flag) }
        };
        for event in self.fds.events().into_iter().chain(self.signals.events()) {
            assert!(has(event, flags::INSERTED), "a watched event has the flag INSERTED");
        }
        for (at, &event) in self.timeouts.all().iter().enumerate() {
            assert!(has(event, flags::TIMEOUT), "an event in the heap has the flag TIMEOUT");
            // SAFETY: an event in the heap is live.
            let place = unsafe { (*event).place.heap };
            assert!(place == at as isize, "an event knows its index in the heap");
        }
        assert!(self.all_common().into_iter().all(|event| has(event, flags::TIMEOUT)));
        let mut active = 0;
        let queues = self.active.iter().map(|queue| (queue, flags::ACTIVE));
        for (queue, flag) in queues.chain([(&self.later, flags::ACTIVE_LATER)]) {
            let mut callback = queue.first();
            while !callback.is_null() {
                active += 1;
                // SAFETY: a callback in a queue is live.
                unsafe {
                    assert!((*callback).has(flag), "a queued callback has the active flag");
                    callback = (*callback).next;
                }
            }
        }
        assert!(active == self.active_count, "`active_count` is the number of queued callbacks");
    }
}

/// The callback of the notifier: another thread has woken the loop.
unsafe extern "C" fn notified(fd: c_int, _: c_short, base: *mut c_void) {
    super::bell::heard(fd);
    // SAFETY: the loop of the base calls this, and the base lives while its loop runs.
    let mut state = unsafe { (*base.cast::<Base>()).lock() };
    if let Some(notify) = &mut state.notify {
        notify.is_pending = false;
    }
}

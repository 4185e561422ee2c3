//! The loop: it waits for descriptors, times events out, and runs active callbacks.

use std::ffi::{c_int, c_short};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

use super::base::{Base, BaseState, Locked, Loops};
use super::common::{MICROS_MASK, plain};
use super::core::{Even, event_of};
use super::fds::of_interest;
use super::layout::{
    Callback, Calls, EV_ET, EV_PERSIST, EV_TIMEOUT, Event, OfKind, Timeval, closure, flags,
};
use super::libevent::{free, warn};
use super::time;

pub(super) const LOOP_ONCE: c_int = 0x01;
pub(super) const LOOP_NONBLOCK: c_int = 0x02;
pub(super) const LOOP_NO_EXIT_ON_EMPTY: c_int = 0x04;

/// The reason why a round of callbacks has ended.
enum Ran {
    /// That many callbacks that are not internal have run, and those of lower priority wait.
    Some(usize),
    /// `event_base_loopbreak` ends the loop.
    Broken,
}

impl Base {
    /// Runs the loop, as `event_base_loop` does.
    ///
    /// Returns -1 if something failed, 1 if there is nothing to wait for, and 0 if the loop was
    /// told to end or has run once, as `EVLOOP_ONCE` and `EVLOOP_NONBLOCK` ask.
    pub(super) fn run(&self, how: c_int) -> c_int {
        let mut state = self.lock();
        if state.is_running {
            warn(
                "event_base_loop: reentrant invocation.  Only one event_base_loop can run on each \
                 event_base at once.",
            );
            return -1;
        }
        state.is_running = true;
        state.time = None;
        if !state.signals.events().is_empty() {
            state.own_signals();
        }
        state.thread = Some(std::thread::current().id());
        state.is_once = how & LOOP_ONCE != 0;
        if let Some(workers) = &state.workers {
            workers.posted.set_once(state.is_once);
        }
        if state.poller.method() == super::poller::Method::Poll {
            // A thread that waits in poll(2) does not notice a new descriptor, so the notifier is
            // made before.
            state.prepare_wake();
        }
        self.wishes.ends.store(false, Ordering::Relaxed);
        self.wishes.breaks.store(false, Ordering::Relaxed);
        self.set_looping(Loops::Here);
        let (mut state, result) = self.rounds(state, how);
        state.time = None;
        state.is_running = false;
        state.thread = None;
        self.set_looping(Loops::Nowhere);
        result
    }

    fn has(&self, wish: &AtomicBool) -> bool {
        wish.load(Ordering::Relaxed)
    }

    fn rounds<'a>(&'a self, mut state: Locked<'a>, how: c_int) -> (Locked<'a>, c_int) {
        let runs = state.colored_runs();
        loop {
            self.wishes.continues.store(false, Ordering::Relaxed);
            state.deferred = 0;
            if self.has(&self.wishes.ends) || self.has(&self.wishes.breaks) {
                return (state, 0);
            }
            let wait = match state.active_count == 0 && how & LOOP_NONBLOCK == 0 {
                true => state.time_to_wait(),
                false => 0,
            };
            let may_be_empty = how & LOOP_NO_EXIT_ON_EMPTY != 0;
            if !may_be_empty && !state.has_events() && state.active_count == 0 {
                return (state, 1);
            }
            state.take_later();
            state.time = None;
            let failed;
            (state, failed) = self.wait(state, wait);
            if failed {
                return (state, -1);
            }
            state.keep_time();
            state.time_out();
            if state.active_count > 0 {
                let ran;
                (state, ran) = self.run_active(state);
                let is_done = matches!(ran, Ran::Some(n) if n > 0) && state.active_count == 0;
                if how & LOOP_ONCE != 0 && is_done {
                    return (state, 0);
                }
            } else if how & LOOP_NONBLOCK != 0
                || how & LOOP_ONCE != 0 && state.colored_runs() != runs
            {
                // With EVLOOP_ONCE, this is the case in which a callback with a color has run.
                return (state, 0);
            }
        }
    }

    /// Waits for descriptors, and activates the events that wait for the ready ones. Returns `true`
    /// if waiting failed.
    fn wait<'a>(&'a self, mut state: Locked<'a>, millis: c_int) -> (Locked<'a>, bool) {
        let mut ready = std::mem::take(&mut state.ready);
        let mut wait = state.poller.take_wait();
        let workers = state.workers.clone();
        drop(state);
        let waited = match workers {
            // `wait` returns `false` if the base's own poller has nothing to report.
            Some(workers) if !workers.wait(millis) => Ok(()),
            Some(_) => wait.wait(0, &mut ready),
            None => wait.wait(millis, &mut ready),
        };
        let mut state = self.lock();
        state.poller.put_back(wait);
        match waited {
            Ok(()) | Err(libc::EINTR) => {}
            Err(error) => {
                warn(&format!("event_base_loop: {}", std::io::Error::from_raw_os_error(error)));
                state.ready = ready;
                return (state, true);
            }
        }
        for (fd, what) in ready.drain(..) {
            state.ready_for(fd, what);
        }
        state.ready = ready;
        (state, false)
    }

    /// Runs the active callbacks of the highest priority that has some.
    fn run_active<'a>(&'a self, mut state: Locked<'a>) -> (Locked<'a>, Ran) {
        let limits = state.config;
        let until = limits.interval.map(|interval| {
            state.keep_time();
            time::add(state.now(), interval)
        });
        let mut ran = Ran::Some(0);
        for priority in 0..state.active.len() {
            if state.active[priority].is_empty() {
                continue;
            }
            state.running_priority = Some(priority as u8);
            let is_limited = priority as c_int >= limits.from_priority;
            let (most, until) = match is_limited {
                true => (limits.callbacks, until),
                false => (usize::MAX, None),
            };
            (state, ran) = self.run_queue(state, priority, most, until);
            match ran {
                // Only internal callbacks have run, which do not count, so the next priority
                // follows.
                Ran::Some(0) => {}
                _ => break,
            }
        }
        state.running_priority = None;
        (state, ran)
    }

    fn run_queue<'a>(
        &'a self,
        mut state: Locked<'a>,
        priority: usize,
        most: usize,
        until: Option<Timeval>,
    ) -> (Locked<'a>, Ran) {
        let mut count = 0;
        loop {
            let callback = state.active[priority].first();
            if callback.is_null() {
                return (state, Ran::Some(count));
            }
            // SAFETY: a callback in a queue is live.
            count += usize::from(unsafe { !(*callback).has(flags::INTERNAL) });
            state = self.run_one(state, callback);
            state.current = null_mut();
            (state.current_argument, state.current_listener) = (0, (0, -1));
            if state.waiters > 0 {
                self.returned.notify_all();
            }
            if self.has(&self.wishes.breaks) {
                return (state, Ran::Broken);
            }
            if count >= most {
                return (state, Ran::Some(count));
            }
            if let Some(until) = until
                && count > 0
            {
                state.keep_time();
                if !time::is_before(state.now(), until) {
                    return (state, Ran::Some(count));
                }
            }
            if self.has(&self.wishes.continues) {
                return (state, Ran::Some(count));
            }
        }
    }

    /// Runs the callback that is first in its queue.
    fn run_one<'a>(&'a self, mut state: Locked<'a>, callback: *mut Callback) -> Locked<'a> {
        // SAFETY: a callback in a queue is live, and is an event if `INIT` is set. The function
        // that is called is the program's or libevent's, and has the type that the closure says.
        // After the lock is released the function may free the event. It is not touched after that;
        // only with `EVENT_FINALIZE_FREE` it is freed here, and nobody else may free it then.
        unsafe {
            let (kind, call, arg) = ((*callback).closure, (*callback).call, (*callback).arg);
            let event = event_of(callback);
            let is_event = (*callback).has(flags::INIT);
            let stays = !is_event
                || (*event).events & EV_PERSIST != 0
                || (*callback).has(flags::FINALIZING);
            match stays {
                true => state.deactivate(callback),
                false => state.delete(event, Even::UnlessFinalizing),
            }
            state.current = callback;
            state.current_argument = super::tied::argument_of(callback);
            state.current_listener = (arg as usize, if is_event { (*event).fd } else { -1 });
            match kind {
                closure::SIGNAL => return self.tell_signal(state, event),
                closure::PERSIST | closure::EVENT => {
                    if kind == closure::PERSIST {
                        state.add_again(event);
                    }
                    let (fd, result) = ((*event).fd, (*event).result);
                    drop(state);
                    if let Some(call) = call.event {
                        call(fd, result, arg);
                    }
                }
                closure::CALLBACK_SELF => {
                    drop(state);
                    if let Some(call) = call.callback {
                        call(callback, arg);
                    }
                }
                closure::CALLBACK_FINALIZE => {
                    state.current = null_mut();
                    drop(state);
                    if let Some(call) = call.callback {
                        call(callback, arg);
                    }
                }
                _ => {
                    state.current = null_mut();
                    drop(state);
                    if let Some(call) = call.finalize {
                        call(event, arg);
                    }
                    if kind == closure::EVENT_FINALIZE_FREE {
                        free(event.cast());
                    }
                }
            }
        }
        self.lock()
    }

    /// Calls the callback of a signal as often as the signal has come, unless the event is deleted
    /// or added again meanwhile.
    ///
    /// # Safety
    ///
    /// The event is live, waits for a signal, and was active.
    unsafe fn tell_signal<'a>(&'a self, mut state: Locked<'a>, event: *mut Event) -> Locked<'a> {
        // SAFETY: the caller guarantees a live signal event. The event has a pointer to `counter`
        // while calls remain, and both are used under the lock. A deletion sets `counter` to zero,
        // and the event is not touched after that.
        unsafe {
            let mut calls: c_short = (*event).kind.signal.left;
            let at = &raw mut calls;
            let (fd, result, arg) = ((*event).fd, (*event).result, (*event).callback.arg);
            let call = (*event).callback.call.event;
            loop {
                let left = at.read_volatile();
                if left == 0 {
                    return state;
                }
                at.write_volatile(left - 1);
                let counter = if left == 1 { null_mut() } else { at };
                (*event).kind = OfKind { signal: Calls { left: left - 1, counter } };
                drop(state);
                if let Some(call) = call {
                    call(fd, result, arg);
                }
                state = self.lock();
                if self.has(&self.wishes.breaks) {
                    if at.read_volatile() != 0 {
                        // Calls remain, so the event was not deleted and is live.
                        (*event).kind.signal.counter = null_mut();
                    }
                    return state;
                }
            }
        }
    }
}

impl BaseState {
    /// Returns how long the loop may wait, in milliseconds, or -1 if there is no limit.
    fn time_to_wait(&mut self) -> c_int {
        let first = self.timeouts.first();
        if first.is_null() {
            return -1;
        }
        // SAFETY: an event in the heap is live.
        let due = unsafe { (*first).timeout };
        let now = self.now();
        if !time::is_before(now, due) {
            return 0;
        }
        let left = time::subtract(due, now);
        let millis = left.tv_sec.saturating_mul(1_000).saturating_add((left.tv_usec + 999) / 1_000);
        millis.min(i64::from(c_int::MAX)) as c_int
    }

    /// Activates the callbacks in `later`.
    fn take_later(&mut self) {
        loop {
            let callback = self.later.first();
            if callback.is_null() {
                return;
            }
            self.leave_later(callback);
            self.make_active(callback);
            // SAFETY: a callback in a queue is live.
            self.deferred += usize::from(unsafe { (*callback).closure } == closure::CALLBACK_SELF);
        }
    }

    /// Activates the events that wait for a descriptor, which is ready.
    pub(super) fn ready_for(&mut self, fd: c_int, what: c_short) {
        let Some(slot) = self.fds.get(fd) else { return };
        for event in slot.latest_first() {
            // SAFETY: an event that waits is live, and activating others does not change that.
            let result = unsafe { of_interest((*event).events, what) };
            if result != 0 {
                // SAFETY: `event` is live, because it waits for the descriptor.
                let edge = unsafe { (*event).events } & what & EV_ET;
                self.activate(event, result | edge, 1);
            }
        }
    }

    /// Activates the events that have timed out.
    fn time_out(&mut self) {
        if self.timeouts.first().is_null() {
            return;
        }
        let now = self.now();
        loop {
            let first = self.timeouts.first();
            // SAFETY: an event in the heap is live.
            if first.is_null() || time::is_before(now, unsafe { (*first).timeout }) {
                return;
            }
            self.delete(first, Even::UnlessFinalizing);
            self.activate(first, EV_TIMEOUT, 1);
        }
    }

    /// Restarts the timeout of a persistent event, if it has one, before its callback is called.
    ///
    /// # Safety
    ///
    /// The event is live and persistent.
    pub(super) unsafe fn add_again(&mut self, event: *mut Event) {
        // SAFETY: the caller guarantees a live persistent event, and `interval` is the field that
        // it has.
        unsafe {
            let interval = (*event).kind.interval;
            if time::is_zero(interval) {
                return;
            }
            let list = self.common_of((*event).timeout);
            let now = self.now();
            let last = plain((*event).timeout);
            // After a timeout, the next one counts from when this one was due, so that delays do
            // not add up.
            let from = if (*event).result & EV_TIMEOUT != 0 { last } else { now };
            let mut due = time::add(from, plain(interval));
            if time::is_before(due, now) {
                // At least one timeout was missed.
                due = time::add(now, plain(interval));
            }
            if !list.is_null() {
                due.tv_usec |= (*event).timeout.tv_usec & !MICROS_MASK;
            }
            self.add(event, Some((due, super::core::Meaning::At)));
        }
    }
}

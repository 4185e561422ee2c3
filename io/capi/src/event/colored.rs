//! Events that have a color: their callbacks run on it, on any worker.
//!
//! The runtime's reactors watch the descriptors of these events and post to the color. Timeouts,
//! signals and activations remain the base's, which posts to the color, too. Either way
//! [`Base::fire`] runs on the color. It first checks that the event is still the one that was
//! meant: a deletion, or another addition, changes the event's generation.

use std::ffi::{c_int, c_short};
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::null_mut;
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::ThreadId;

use dapple_io::{Interest, Ready, Registration};

use super::base::{Base, BaseState, Locked};
use super::core::{Done, Even};
use super::fds::of_interest;
use super::layout::{
    Callback, Calls, EV_CLOSED, EV_ET, EV_PERSIST, EV_READ, EV_SIGNAL, EV_WRITE, Event, OfKind,
    closure, flags,
};
use super::libevent::{free, warn};
use crate::door::{number_of, set_errno};
use crate::runtime::colors::{Color, on};

/// The data about an event or callback that has a color.
pub(super) struct Colored {
    pub(super) color: Arc<Color>,
    registration: Option<Registration>,
    /// The event waits for its descriptor. Never set for timers and signals.
    is_watched: bool,
    /// Changes whenever the event is added or deleted.
    generation: u64,
    /// Changes when a posted activation becomes void.
    activation: u64,
    pub(super) stays: Stays,
}

/// Whether an event keeps its color when it is assigned anew.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stays {
    No,
    /// The event is tied, by this argument: see [`tied`](super::tied).
    Tied(usize),
}

/// Deleted registrations and data, to be dropped after the lock is released.
///
/// Dropping a registration may wait for its callback, which may wait for the lock.
#[derive(Default)]
pub(super) struct Garbage(Vec<Registration>, Vec<Colored>);

impl Garbage {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty() && self.1.is_empty()
    }
}

/// An event as a posted closure knows it. The closure may run after the event was deleted.
#[derive(Clone, Copy)]
struct Target {
    base: usize,
    event: usize,
    generation: u64,
}

/// A run of a callback on a color: the event or callback, the number of the run, and its thread.
pub(super) type Run = (usize, u64, ThreadId);

/// The reason why an event fires.
#[derive(Clone, Copy)]
enum Why {
    /// Its descriptor is ready for this.
    Ready(c_short),
    /// It was activated; the number is `Colored::activation` at that time.
    Active(u64),
}

/// A descriptor of the program. It stays open while it is watched, as libevent demands.
struct Watched(c_int);

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: libevent demands that the program keeps it open until the event has been deleted.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl BaseState {
    /// Returns the data about the color of an event or callback, if it has one.
    pub(super) fn colored(&mut self, callback: *mut Callback) -> Option<&mut Colored> {
        match self.colored.is_empty() {
            true => None,
            false => self.colored.get_mut(&(callback as usize)),
        }
    }

    /// Gives an event a color, or none. Returns `false` if the event is pending or active.
    pub(super) fn set_color(&mut self, event: *mut Event, color: Option<Arc<Color>>) -> bool {
        // SAFETY: the event is live and of this base (see the header of `core`).
        if unsafe { (*event).has(flags::STANDS) } {
            return false;
        }
        self.forget_color(event.cast());
        if let Some(color) = color {
            self.know_color(event.cast(), color, Stays::No);
        }
        true
    }

    /// Gives a color to an event or callback that is neither pending nor active.
    pub(super) fn know_color(&mut self, callback: *mut Callback, color: Arc<Color>, stays: Stays) {
        self.generations += 1;
        let generation = self.generations;
        let (registration, is_watched, activation) = (None, false, 0);
        let colored = Colored { color, registration, is_watched, generation, activation, stays };
        self.colored.insert(callback as usize, colored);
    }

    /// Takes its color from an event or callback.
    pub(super) fn forget_color(&mut self, callback: *mut Callback) {
        if !self.colored.is_empty()
            && let Some(colored) = self.colored.remove(&(callback as usize))
        {
            if let Stays::Tied(argument) = colored.stays {
                self.leave_tie(callback, argument);
            }
            // It was assigned anew while it was active, and so is no longer active.
            if self.posted.remove(callback as usize) {
                self.event_count.add(-1);
            }
            self.garbage.1.push(colored);
        }
    }

    /// Takes from an event, which is being assigned, the color of an earlier event in the same
    /// memory.
    pub(super) fn forget_color_of_another(&mut self, event: *mut Event) {
        let colored = self.colored(event.cast());
        if colored.is_none_or(|colored| colored.stays == Stays::No) {
            self.forget_color(event.cast());
        }
    }

    /// Voids what was posted for the event, and returns the target for what comes next.
    fn next_generation(&mut self, event: *mut Event) -> Option<Target> {
        self.generations += 1;
        let (base, generation) = (self.own_base as usize, self.generations);
        self.colored(event.cast())?.generation = generation;
        Some(Target { base, event: event as usize, generation })
    }

    /// Has the reactors watch the descriptor of an event with a color.
    pub(super) fn watch_colored(&mut self, event: *mut Event) -> Done {
        // SAFETY: the event is live and of this base (see the header of `core`).
        let (fd, events) = unsafe { ((*event).fd, (*event).events) };
        let (Some(target), Some(workers)) = (self.next_generation(event), self.workers.clone())
        else {
            return Done::Refused;
        };
        if fd < 0 {
            self.note_watched(event);
            return Done::Yes;
        }
        let interest = [(EV_READ | EV_CLOSED, Interest::READABLE), (EV_WRITE, Interest::WRITABLE)];
        let asked = interest.into_iter().filter(|(what, _)| events & what != 0);
        let Some(interest) = asked.map(|(_, interest)| interest).reduce(|a, b| a | b) else {
            return Done::Yes;
        };
        // An event that waits only for the peer's end is also woken by bytes. By edges, it is not
        // woken again while these bytes stay unread.
        let is_edge = events & EV_ET != 0 || events & (EV_READ | EV_WRITE) == 0;
        let interest = if is_edge { interest.edge_triggered() } else { interest };
        let Some(colored) = self.colored(event.cast()) else { return Done::Refused };
        let color = colored.color.color.clone();
        let fires = move |ready: Ready, _: &mut dapple::Cx| fire(target, Why::Ready(what(ready)));
        match workers.owner.io.on_ready(Watched(fd), interest, &color, fires) {
            Ok(registration) => {
                if let Some(colored) = self.colored(event.cast()) {
                    colored.registration = Some(registration);
                }
                self.note_watched(event);
                Done::Yes
            }
            Err(error) => {
                warn(&format!("event_add: descriptor {fd}: {error}"));
                set_errno(number_of(&error));
                Done::Refused
            }
        }
    }

    fn note_watched(&mut self, event: *mut Event) {
        if let Some(colored) = self.colored(event.cast()) {
            colored.is_watched = true;
        }
    }

    /// Stops the reactors from watching the event, and voids what was posted for it.
    pub(super) fn unwatch_colored(&mut self, event: *mut Event) {
        self.next_generation(event);
        let Some(colored) = self.colored(event.cast()) else { return };
        colored.is_watched = false;
        let gone = colored.registration.take();
        self.garbage.0.extend(gone);
    }

    /// Posts an event or callback that has been activated to its color.
    pub(super) fn post_active(&mut self, callback: *mut Callback) {
        let (base, own) = (self.own_base as usize, callback as usize);
        self.posted.insert(own);
        if let Some(colored) = self.colored(callback) {
            let target = Target { base, event: own, generation: colored.generation };
            let why = Why::Active(colored.activation);
            colored.color.color.clone().post(move |_| fire(target, why));
        }
    }

    /// Makes a posted event or callback inactive.
    pub(super) fn leave_posted(&mut self, callback: *mut Callback) {
        self.posted.remove(callback as usize);
        // SAFETY: the callback is live and of this base (see the header of `core`).
        unsafe { self.clear_flag(&mut *callback, flags::ACTIVE) };
    }

    /// Returns the events with a color that wait for a descriptor.
    pub(super) fn watched_colored(&self) -> Vec<*mut Event> {
        let is_watched = |(_, colored): &(&usize, &Colored)| colored.is_watched;
        let watched = self.colored.iter().filter(is_watched);
        watched.map(|(event, _)| *event as *mut Event).collect()
    }

    /// Makes a posted event or callback inactive, and voids the post.
    pub(super) fn unpost(&mut self, callback: *mut Callback) {
        self.leave_posted(callback);
        if let Some(colored) = self.colored(callback) {
            colored.activation += 1;
        }
    }

    /// Returns `true` if the event's callback runs on a color on another thread. The event may have
    /// lost that color since.
    pub(super) fn runs_elsewhere(&self, event: *mut Event) -> bool {
        let me = std::thread::current().id();
        self.running.iter().any(|(other, _, thread)| *other == event as usize && *thread != me)
    }
}

/// Translates the readiness that a reactor reports to libevent's flags.
fn what(ready: Ready) -> c_short {
    let of = |is: bool, what| if is { what } else { 0 };
    of(ready.is_readable() || ready.is_error(), EV_READ)
        | of(ready.is_writable() || ready.is_error(), EV_WRITE)
        | of(ready.is_closed(), EV_CLOSED)
        | EV_ET
}

/// Fires an event. Runs on the color of the event.
fn fire(target: Target, why: Why) {
    let base = target.base as *const Base;
    // SAFETY: a base ends its workers, which run this, before it is freed.
    crate::door::door("a callback", || unsafe { (*base).fire(target, why) });
}

impl Base {
    /// Calls the callback of a target, unless the target is void.
    ///
    /// # Safety
    ///
    /// The event is live if its generation is that of the target.
    unsafe fn fire(&self, target: Target, why: Why) {
        let event = target.event as *mut Event;
        let mut state = self.lock();
        let is_meant = |colored: &&mut Colored| {
            let is_current = match why {
                Why::Active(activation) => activation == colored.activation,
                Why::Ready(_) => true,
            };
            is_current && colored.generation == target.generation
        };
        let Some(color) =
            state.colored(event.cast()).filter(is_meant).map(|colored| Arc::clone(&colored.color))
        else {
            return;
        };
        // SAFETY: the event has the target's generation, so it has not been deleted since, and is
        // live until the lock is released. After that it may be freed and is not touched. It is a
        // whole event unless its closure says that it is only a callback.
        unsafe {
            let kind = (*event).callback.closure;
            if matches!(kind, closure::CALLBACK_SELF | closure::CALLBACK_FINALIZE) {
                return self.fire_callback(state, event.cast(), &color);
            }
            match why {
                Why::Ready(what) => {
                    let result = of_interest((*event).events, what);
                    if result == 0 {
                        return;
                    }
                    let result = result | (*event).events & EV_ET;
                    // A posted activation that has not run is reported in the same call.
                    match (*event).has(flags::ACTIVE) {
                        true => {
                            (*event).result |= result;
                            state.unpost(event.cast());
                        }
                        false => (*event).result = result,
                    }
                }
                Why::Active(_) => state.leave_posted(event.cast()),
            }
            if matches!(kind, closure::EVENT_FINALIZE | closure::EVENT_FINALIZE_FREE) {
                let (call, arg) = ((*event).callback.call.finalize, (*event).callback.arg);
                state.forget_color(event.cast());
                let run = state.begins(null_mut());
                drop(state);
                if let Some(call) = call {
                    on(from_ref(&color), || call(event, arg));
                }
                if kind == closure::EVENT_FINALIZE_FREE {
                    free(event.cast());
                }
                return self.has_returned(run);
            }
            let calls = match (*event).events & EV_SIGNAL {
                0 => 1,
                _ => (*event).kind.signal.left,
            };
            if (*event).events & EV_PERSIST == 0 {
                state.delete(event, Even::UnlessFinalizing);
            } else if kind == closure::PERSIST {
                state.add_again(event);
            } else {
                (*event).kind = OfKind { signal: Calls { left: 0, counter: null_mut() } };
            }
            let run = state.begins(event.cast());
            let (fd, result) = ((*event).fd, (*event).result);
            let (call, arg) = ((*event).callback.call.event, (*event).callback.arg);
            drop(state);
            if let Some(call) = call {
                on(from_ref(&color), || {
                    for told in 0..calls {
                        // The previous call may have deleted the event, and its memory may be gone.
                        if told > 0 && !self.goes_on(target) {
                            break;
                        }
                        call(fd, result, arg);
                    }
                });
            }
            self.has_returned(run);
        }
    }

    /// Calls a callback that is not an event, or its finalizer.
    ///
    /// # Safety
    ///
    /// The callback is live and active.
    unsafe fn fire_callback(
        &self,
        mut state: Locked<'_>,
        callback: *mut Callback,
        color: &Arc<Color>,
    ) {
        // SAFETY: the caller guarantees a live callback. After the lock is released it may be freed
        // and is not touched.
        unsafe {
            state.leave_posted(callback);
            let (call, arg) = ((*callback).call.callback, (*callback).arg);
            let is_over = (*callback).closure == closure::CALLBACK_FINALIZE;
            if is_over {
                state.forget_bufferevent(callback);
                state.forget_color(callback);
            }
            let run = state.begins(if is_over { null_mut() } else { callback });
            drop(state);
            if let Some(call) = call {
                on(from_ref(color), || call(callback, arg));
            }
            self.has_returned(run);
        }
    }

    /// Notes that a callback on a color has returned.
    fn has_returned(&self, run: Run) {
        let mut state = self.lock();
        state.running.retain(|other| *other != run);
        if state.waiters > 0 {
            self.returned.notify_all();
        }
        state.wake_if_done();
    }

    /// Returns `true` if the callback of a signal is to be called once more.
    fn goes_on(&self, target: Target) -> bool {
        let mut state = self.lock();
        let colored = state.colored(target.event as *mut Callback);
        let is_there = colored.is_some_and(|colored| colored.generation == target.generation);
        is_there && !self.wishes.breaks.load(Ordering::Relaxed)
    }
}

impl BaseState {
    /// Notes that a callback with a color begins to run on this thread.
    ///
    /// `callback` is null for a finalizer, because another event may get that memory before the
    /// finalizer has returned.
    fn begins(&mut self, callback: *mut Callback) -> Run {
        self.runs += 1;
        let run = (callback as usize, self.runs, std::thread::current().id());
        self.running.push(run);
        run
    }

    /// Wakes the loop if nothing is left to wait for, or if it returns once something has run.
    pub(super) fn wake_if_done(&mut self) {
        if self.is_once || !self.has_events() && self.active_count == 0 {
            self.wake();
        }
    }
}

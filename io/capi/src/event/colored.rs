//! Events that have a color: their callbacks run on it, on any worker.
//!
//! What they wait for is watched by the runtime's reactors, which post to the color; timeouts,
//! signals and activations stay the base's, which posts. Either way [`Base::fire`] runs on the
//! color, and asks whether the event is still the one that was meant: a deletion, or another
//! addition, changes its generation.

use std::ffi::{c_int, c_short};
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::null_mut;
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::ThreadId;

use dapple_io::{Interest, Ready, Registration};

use super::base::{Base, Locked, State};
use super::core::{Done, Even};
use super::fds::of_interest;
use super::layout::{
    Callback, Calls, EV_CLOSED, EV_ET, EV_PERSIST, EV_READ, EV_SIGNAL, EV_WRITE, Event, OfKind,
    closure, flags,
};
use super::libevent::{free, warn};
use crate::door::{number_of, set_errno};
use crate::runtime::colors::{Color, on};

/// What is known of an event that has a color.
pub(super) struct Colored {
    pub(super) color: Arc<Color>,
    registration: Option<Registration>,
    /// It waits for its descriptor, if it has one.
    is_watched: bool,
    /// Changes when it is deleted, or added.
    generation: u64,
    /// Changes when what was posted for an activation is no longer meant.
    activation: u64,
    pub(super) stays: Stays,
}

/// Whether an event keeps its color when it is assigned anew.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stays {
    No,
    /// It is tied, to this argument: see [`tied`](super::tied).
    Tied(usize),
}

/// What has been deleted, and is dropped when the lock has been left: a registration's callback may
/// wait for the lock.
#[derive(Default)]
pub(super) struct Garbage(Vec<Registration>, Vec<Colored>);

impl Garbage {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty() && self.1.is_empty()
    }
}

/// An event as those have it who may come too late.
#[derive(Clone, Copy)]
struct Target {
    base: usize,
    event: usize,
    generation: u64,
}

/// What runs on a color: the event or callback, the number of the run, and its thread.
pub(super) type Run = (usize, u64, ThreadId);

/// Why an event fires.
#[derive(Clone, Copy)]
enum Why {
    /// Its descriptor is ready.
    Ready(c_short),
    /// It was activated, as this number says.
    Active(u64),
}

/// A descriptor of the program's. It is open as long as it is watched, as libevent demands.
struct Watched(c_int);

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the program keeps it open until the event has been deleted.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl State {
    /// What is known of an event's color, if it has one.
    pub(super) fn colored(&mut self, callback: *mut Callback) -> Option<&mut Colored> {
        match self.colored.is_empty() {
            true => None,
            false => self.colored.get_mut(&(callback as usize)),
        }
    }

    /// The event has this color from now on; `None`: none. False: it stands somewhere.
    pub(super) fn set_color(&mut self, event: *mut Event, color: Option<Arc<Color>>) -> bool {
        // SAFETY: see `core`.
        if unsafe { (*event).has(flags::STANDS) } {
            return false;
        }
        self.forget_color(event.cast());
        if let Some(color) = color {
            self.know_color(event.cast(), color, Stays::No);
        }
        true
    }

    /// An event or callback that stands nowhere has a color from now on.
    pub(super) fn know_color(&mut self, callback: *mut Callback, color: Arc<Color>, stays: Stays) {
        self.generations += 1;
        let generation = self.generations;
        let (registration, is_watched, activation) = (None, false, 0);
        let colored = Colored { color, registration, is_watched, generation, activation, stays };
        self.colored.insert(callback as usize, colored);
    }

    /// Nothing is known of a color of the event or callback any more.
    pub(super) fn forget_color(&mut self, callback: *mut Callback) {
        if !self.colored.is_empty()
            && let Some(colored) = self.colored.remove(&(callback as usize))
        {
            if let Stays::Tied(argument) = colored.stays {
                self.leave_tie(callback, argument);
            }
            // It was assigned anew while it was active: it is not any more.
            if self.posted.remove(callback as usize) {
                self.event_count.add(-1);
            }
            self.garbage.1.push(colored);
        }
    }

    /// An event is assigned: it has no color of another one that was here.
    pub(super) fn forget_color_of_another(&mut self, event: *mut Event) {
        let colored = self.colored(event.cast());
        if colored.is_none_or(|colored| colored.stays == Stays::No) {
            self.forget_color(event.cast());
        }
    }

    /// What comes for it from before is no longer meant.
    fn next_generation(&mut self, event: *mut Event) -> Option<Target> {
        self.generations += 1;
        let (base, generation) = (self.own_base as usize, self.generations);
        self.colored(event.cast())?.generation = generation;
        Some(Target { base, event: event as usize, generation })
    }

    /// Has the reactors watch for what an event waits for that has a color.
    pub(super) fn watch_colored(&mut self, event: *mut Event) -> Done {
        // SAFETY: see `core`.
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
        // What only waits for the end is called for bytes, too, and does not want to be called
        // again as long as they are there.
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

    /// The reactors watch no more, and what was posted is no longer meant.
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

    /// What was posted is no longer active.
    pub(super) fn leave_posted(&mut self, callback: *mut Callback) {
        self.posted.remove(callback as usize);
        // SAFETY: see `core`.
        unsafe { self.leave(&mut *callback, flags::ACTIVE) };
    }

    /// The events with a color that wait for a descriptor.
    pub(super) fn watched_colored(&self) -> Vec<*mut Event> {
        let is_watched = |(_, colored): &(&usize, &Colored)| colored.is_watched;
        let watched = self.colored.iter().filter(is_watched);
        watched.map(|(event, _)| *event as *mut Event).collect()
    }

    /// What was activated, and posted, is not to run for that.
    pub(super) fn unpost(&mut self, callback: *mut Callback) {
        self.leave_posted(callback);
        if let Some(colored) = self.colored(callback) {
            colored.activation += 1;
        }
    }

    /// Says whether the callback of an event with a color runs on another thread: one that it has
    /// now, or had when that began.
    pub(super) fn runs_elsewhere(&self, event: *mut Event) -> bool {
        let me = std::thread::current().id();
        self.running.iter().any(|(other, _, thread)| *other == event as usize && *thread != me)
    }
}

/// What a reactor says, in libevent's words.
fn what(ready: Ready) -> c_short {
    let of = |is: bool, what| if is { what } else { 0 };
    of(ready.is_readable() || ready.is_error(), EV_READ)
        | of(ready.is_writable() || ready.is_error(), EV_WRITE)
        | of(ready.is_closed(), EV_CLOSED)
        | EV_ET
}

/// On the color of the event.
fn fire(target: Target, why: Why) {
    let base = target.base as *const Base;
    // SAFETY: a base ends its workers, whose events these are, before it is freed.
    crate::door::door("a callback", || unsafe { (*base).fire(target, why) });
}

impl Base {
    /// See the module.
    ///
    /// # Safety
    ///
    /// The event is there if it has the generation of the target.
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
        // SAFETY: it has the generation, so it has not been deleted since, and is there until the
        // lock is given up. After that it may be freed, and is not touched. It is an event unless
        // its closure says that it is a callback only.
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
                    // What it was activated for besides is told with it.
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
                        // It may have been deleted by the call before, and be gone.
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

    /// Calls what is no event, or the finalizer of what is over.
    ///
    /// # Safety
    ///
    /// The callback is there, and active.
    unsafe fn fire_callback(
        &self,
        mut state: Locked<'_>,
        callback: *mut Callback,
        color: &Arc<Color>,
    ) {
        // SAFETY: the caller says so. After the lock is given up it may be freed, and is not
        // touched.
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

    /// What ran on a color has returned.
    fn has_returned(&self, run: Run) {
        let mut state = self.lock();
        state.running.retain(|other| *other != run);
        if state.waiters > 0 {
            self.returned.notify_all();
        }
        state.wake_if_done();
    }

    /// Says whether a signal is to be told once more.
    fn goes_on(&self, target: Target) -> bool {
        let mut state = self.lock();
        let colored = state.colored(target.event as *mut Callback);
        let is_there = colored.is_some_and(|colored| colored.generation == target.generation);
        is_there && !self.wishes.breaks.load(Ordering::Relaxed)
    }
}

impl State {
    /// What has a color begins to run on this thread. Null: a finalizer, whose memory may be
    /// another event's before it has returned.
    fn begins(&mut self, callback: *mut Callback) -> Run {
        self.runs += 1;
        let run = (callback as usize, self.runs, std::thread::current().id());
        self.running.push(run);
        run
    }

    /// Wakes the loop if there is nothing left to wait for, or it waits for one run.
    pub(super) fn wake_if_done(&mut self) {
        if self.is_once || !self.has_events() && self.active_count == 0 {
            self.wake();
        }
    }
}

//! Events that have a color: their callbacks run on it, on any worker.
//!
//! What they wait for is watched by the runtime's reactors, which post to the color; timeouts,
//! signals and activations stay the base's, which posts. Either way [`Base::fire`] runs on the
//! color, and asks whether the event is still the one that was meant: a deletion, or another
//! addition, changes its generation.

use std::cell::Cell;
use std::ffi::{c_int, c_short};
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::thread::ThreadId;

use dapple::Color;
use dapple_io::{Interest, Ready, Registration};

use super::base::{Base, State};
use super::core::{Done, Even, set_errno};
use super::fds::of_interest;
use super::layout::{
    Calls, EV_CLOSED, EV_ET, EV_PERSIST, EV_READ, EV_SIGNAL, EV_WRITE, Event, OfKind, closure,
    flags,
};
use super::libevent::{free, warn};

/// `dapple_color`: a color, and the base to which it belongs. Counted.
pub struct BaseColor {
    pub(super) color: Color,
    pub(super) base: *mut Base,
}

// SAFETY: a color may be used from all threads; the base is only compared, and used as programs
// say, which keep it longer than its colors are used.
unsafe impl Send for BaseColor {}
// SAFETY: see above.
unsafe impl Sync for BaseColor {}

/// What is known of an event that has a color.
pub(super) struct Colored {
    pub(super) color: Arc<BaseColor>,
    registration: Option<Registration>,
    /// Changes when it is deleted, or added.
    generation: u64,
    /// Which run of its callback is under way, and on which thread.
    running: Option<(u64, ThreadId)>,
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

/// Why an event fires.
#[derive(Clone, Copy)]
enum Why {
    /// Its descriptor is ready.
    Ready(c_short),
    /// It was activated.
    Active,
}

/// A descriptor of the program's. It is open as long as it is watched, as libevent demands.
struct Watched(c_int);

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the program keeps it open until the event has been deleted.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

thread_local! {
    /// The color of the callback that runs on this thread; null: none.
    static CURRENT: Cell<*const BaseColor> = const { Cell::new(null()) };
}

/// The color of the callback that runs; null: it has none, or none runs.
pub(super) fn current() -> *const BaseColor {
    CURRENT.get()
}

/// Runs `f` as a callback of a color.
pub(super) fn on<R>(color: &Arc<BaseColor>, f: impl FnOnce() -> R) -> R {
    let before = CURRENT.replace(Arc::as_ptr(color));
    let result = f();
    CURRENT.set(before);
    result
}

impl State {
    /// What is known of an event's color, if it has one.
    pub(super) fn colored(&mut self, event: *mut Event) -> Option<&mut Colored> {
        match self.colored.is_empty() {
            true => None,
            false => self.colored.get_mut(&(event as usize)),
        }
    }

    /// The event has this color from now on; `None`: none. False: it stands somewhere.
    pub(super) fn set_color(&mut self, event: *mut Event, color: Option<Arc<BaseColor>>) -> bool {
        let stands = flags::INSERTED | flags::TIMEOUT | flags::ACTIVE | flags::ACTIVE_LATER;
        // SAFETY: see `core`.
        if unsafe { (*event).has(stands) } {
            return false;
        }
        self.forget_color(event);
        if let Some(color) = color {
            self.generations += 1;
            let generation = self.generations;
            let colored = Colored { color, registration: None, generation, running: None };
            self.colored.insert(event as usize, colored);
        }
        true
    }

    /// Nothing is known of a color of the event any more.
    pub(super) fn forget_color(&mut self, event: *mut Event) {
        if !self.colored.is_empty()
            && let Some(colored) = self.colored.remove(&(event as usize))
        {
            self.garbage.1.push(colored);
        }
    }

    /// What comes for it from before is not meant any more.
    fn next_generation(&mut self, event: *mut Event) -> Option<Target> {
        self.generations += 1;
        let (base, generation) = (self.own_base as usize, self.generations);
        self.colored(event)?.generation = generation;
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
        let Some(colored) = self.colored(event) else { return Done::Refused };
        let color = colored.color.color.clone();
        let fires = move |ready: Ready, _: &mut dapple::Cx| fire(target, Why::Ready(what(ready)));
        match workers.io.on_ready(Watched(fd), interest, &color, fires) {
            Ok(registration) => {
                if let Some(colored) = self.colored(event) {
                    colored.registration = Some(registration);
                }
                Done::Yes
            }
            Err(error) => {
                warn(&format!("event_add: descriptor {fd}: {error}"));
                set_errno(error.raw_os_error().unwrap_or(libc::EINVAL));
                Done::Refused
            }
        }
    }

    /// The reactors watch no more, and what was posted is not meant any more.
    pub(super) fn unwatch_colored(&mut self, event: *mut Event) {
        self.next_generation(event);
        let gone = self.colored(event).and_then(|colored| colored.registration.take());
        self.garbage.0.extend(gone);
    }

    /// Posts an event that has been activated to its color.
    pub(super) fn post_active(&mut self, event: *mut Event) {
        let (base, own) = (self.own_base as usize, event as usize);
        if let Some(colored) = self.colored(event) {
            let target = Target { base, event: own, generation: colored.generation };
            colored.color.color.clone().post(move |_| fire(target, Why::Active));
        }
    }

    /// Says whether the callback of an event with a color runs on another thread.
    pub(super) fn runs_elsewhere(&mut self, event: *mut Event) -> bool {
        let me = std::thread::current().id();
        self.colored(event).is_some_and(|c| c.running.is_some_and(|(_, thread)| thread != me))
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
    super::door::door("a callback", || unsafe { (*base).fire(target, why) });
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
        let Some(color) = state
            .colored(event)
            .filter(|colored| colored.generation == target.generation)
            .map(|colored| Arc::clone(&colored.color))
        else {
            return;
        };
        // SAFETY: it has the generation, so it has not been deleted since, and is there until the
        // lock is given up. After that it may be freed, and is not touched.
        unsafe {
            let kind = (*event).callback.closure;
            match why {
                Why::Ready(what) => {
                    let result = of_interest((*event).events, what);
                    if result == 0 {
                        return;
                    }
                    (*event).result = result | (*event).events & EV_ET;
                }
                Why::Active => state.leave(&mut (*event).callback, flags::ACTIVE),
            }
            if matches!(kind, closure::EVENT_FINALIZE | closure::EVENT_FINALIZE_FREE) {
                let (call, arg) = ((*event).callback.call.finalize, (*event).callback.arg);
                state.forget_color(event);
                drop(state);
                if let Some(call) = call {
                    on(&color, || call(event, arg));
                }
                if kind == closure::EVENT_FINALIZE_FREE {
                    free(event.cast());
                }
                return self.lock().wake_if_done();
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
            state.runs += 1;
            state.running_colored += 1;
            let run = (state.runs, std::thread::current().id());
            if let Some(colored) = state.colored(event) {
                colored.running = Some(run);
            }
            let (fd, result) = ((*event).fd, (*event).result);
            let (call, arg) = ((*event).callback.call.event, (*event).callback.arg);
            drop(state);
            if let Some(call) = call {
                on(&color, || (0..calls).for_each(|_| call(fd, result, arg)));
            }
            let mut state = self.lock();
            state.running_colored -= 1;
            if let Some(colored) = state.colored(event)
                && colored.running == Some(run)
            {
                colored.running = None;
            }
            if state.waiters > 0 {
                self.returned.notify_all();
            }
            state.wake_if_done();
        }
    }
}

impl State {
    /// Wakes the loop if there is nothing left to wait for.
    fn wake_if_done(&mut self) {
        if !self.has_events() && self.active_count == 0 {
            self.wake();
        }
    }
}

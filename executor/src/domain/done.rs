//! What a step of a domain's event returns, and how one step leads to the next.
//!
//! A step consumes the token of its event, and gets a [`Done`] for it: an event that has not been queued, which
//! does what the step asked for (commit, downgrade, wait for a context) and then, perhaps, leads to another
//! `Done`. It is carried out when the step has returned, by a loop on the worker's stack; so
//! the stack does not grow with the number of steps (C16), steps of one event do not overlap, and the worker is
//! let go now and then. A `Done` that is dropped instead of returned is queued.

use std::ptr::NonNull;

use crate::cx::Cx;
use crate::event::{Event, Step};
use crate::runtime::core::Core;
use crate::slab::Slab;
use crate::worker::local::Local;

/// What a step has been made to do with its token: proof that there is an end to the event.
///
/// It takes effect when the step returns it; if it is dropped instead, soon after.
#[must_use = "a step returns it"]
pub struct Done {
    event: NonNull<Event>,
    /// Kept by the domain, which the token in the event keeps.
    core: NonNull<Core>,
}

// SAFETY: what the event holds is Send.
unsafe impl Send for Done {}

/// Whether a loop on this worker's stack waits for the next `Done`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    /// There is no such loop.
    Off,
    /// It has called the last one.
    On,
    /// This is the next one.
    Next(NonNull<Event>),
}

/// Steps that run one after the other before other work gets its turn; from some of them on also for a
/// turn's time at most. The first ones have no clock read for them.
const STEPS: usize = 32;
const UNTIMED_STEPS: usize = 4;

impl Done {
    /// One that does `step`.
    pub(super) fn new<T: Step>(
        core: &Core,
        step: T,
        site: &'static std::panic::Location<'static>,
    ) -> Done {
        let memory = Local::memory_for(core);
        // SAFETY: the memory is fresh or recycled.
        let event = unsafe { Event::write_step(memory, step, true, site, 0) };
        Done::of(core, event)
    }

    /// One that is in an event already.
    pub(super) fn of(core: &Core, event: NonNull<Event>) -> Done {
        Done { event, core: core.as_ptr() }
    }

    fn into_event(self) -> NonNull<Event> {
        let event = self.event;
        std::mem::forget(self);
        event
    }

    /// Carries it out, and what it leads to. Called when a step has returned.
    pub(super) fn carry_out(self, cx: &mut Cx) {
        // SAFETY: the worker's part outlives what runs on it.
        let local = unsafe { NonNull::from(cx.local()).as_ref() };
        if self.core != local.core.as_ptr() {
            // Of a domain of another runtime: there it is carried out.
            return drop(self);
        }
        if local.steps.get() == Steps::On {
            // The loop that called this step goes on with it.
            return local.steps.set(Steps::Next(self.into_event()));
        }
        let looping = Looping(local);
        let mut next = Steps::Next(self.into_event());
        let mut begin = 0;
        for step in 0..STEPS {
            let Steps::Next(event) = next else { break };
            if step == UNTIMED_STEPS {
                begin = local.core.clock.now();
            } else if step > UNTIMED_STEPS {
                let took = local.core.clock.now().saturating_sub(begin);
                if took >= local.core.settings.turn_budget.nanos {
                    break;
                }
            }
            local.steps.set(Steps::On);
            let memory = Memory(event);
            // SAFETY: the event is ours, and has not run.
            unsafe { Event::run(event, cx) };
            drop(memory);
            next = local.steps.get();
        }
        drop(looping);
        if let Steps::Next(event) = next {
            local.queue_event(event);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        // Once it is queued, what it holds may go at any time, and the core with it.
        // SAFETY: the domain counts on the core, and the event keeps the domain.
        let core = crate::runtime::core::CoreRef::of(unsafe { self.core.as_ref() });
        core.queue_event(self.event);
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Done")
    }
}

/// The loop is over, also by a panic.
struct Looping<'a>(&'a Local);

impl Drop for Looping<'_> {
    fn drop(&mut self) {
        if let Steps::Next(event) = self.0.steps.replace(Steps::Off)
            && std::thread::panicking()
        {
            self.0.queue_event(event);
        }
    }
}

/// Memory of an event that runs.
struct Memory(NonNull<Event>);

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it has run, or is unwinding from that; its worker keeps the core.
        unsafe { Slab::give_back(self.0.cast()) }
    }
}

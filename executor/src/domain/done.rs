//! What a step of a domain's event returns, and how one step leads to the next.
//!
//! A step consumes the token of its event, and gets a [`Done`] for it: an event that has not been
//! queued, which does what the step asked for (commit, downgrade, wait for a context) and then,
//! perhaps, leads to another `Done`. It is carried out when the step has returned, by a loop on the
//! worker's stack; so the stack does not grow with the number of steps (C16), steps of one event do
//! not overlap, and the worker is let go now and then. A `Done` that is dropped instead of returned
//! is queued.

use std::ptr::NonNull;

use super::event_id::EventId;
use super::inner::own_event;
use super::stretch::Stretch;
use crate::cx::Cx;
use crate::event::{Owned, Step};
use crate::runtime::core::{Core, CoreRef};
use crate::site::Site;
use crate::task::packet::Promise;
use crate::turn::local::Local;
use crate::turn::steps::Steps;

/// What a step has been made to do with its token: proof that there is an end to the event.
///
/// It takes effect when the step returns it; if it is dropped instead, soon after.
#[must_use = "a step returns it"]
pub struct Done {
    event: Option<Owned>,
    /// Kept by the domain, which the token in the event keeps.
    core: NonNull<Core>,
    /// What is known of the event whose step it ends, if it does.
    notice: Option<Notice>,
}

/// Says which event it is, for a step in an event's memory. If the step is the end of it, a
/// promise, if there is one, will be kept when that has come, and the second answer is true. See
/// [`Done::with_notice`].
type Notice = unsafe fn(&mut Owned, Option<Promise<()>>) -> (EventId, bool);

// SAFETY: what the event holds is Send.
unsafe impl Send for Done {}

/// Steps that run one after the other before other work gets its turn; see `Stretch`, too.
const STEPS: usize = 32;

impl Done {
    /// Creates one that does `step`.
    pub(super) fn new<T: Step>(core: &Core, step: T, site: Site) -> Done {
        Done::of(core, own_event(core, step, site))
    }

    /// Creates one of a step that is in an event already.
    pub(super) fn of(core: &Core, event: Owned) -> Done {
        Done { event: Some(event), core: core.as_ptr(), notice: None }
    }

    /// Adds what is known of the event: `notice` fits the step that is in its memory.
    pub(super) fn with_notice(mut self, notice: Notice) -> Done {
        self.notice = Some(notice);
        self
    }

    /// Has the promise kept when it has come to its end, which is that of this event. `None`: it
    /// has none to wait for.
    pub(super) fn notify(&mut self, promise: Promise<()>) -> Option<EventId> {
        let (notice, event) = (self.notice?, self.event.as_mut()?);
        // SAFETY: the event has not run, and holds what the notice is for.
        let (place, is_end) = unsafe { notice(event, Some(promise)) };
        is_end.then_some(place)
    }

    /// Carries it out, and what it leads to. Called when a step has returned.
    pub(super) fn carry_out(mut self, cx: &mut Cx) {
        cx.split(|local, cx| {
            if self.core != local.core.as_ptr() {
                // Of a domain of another runtime: there it is carried out.
                return drop(self);
            }
            let next = self.event.take();
            match local.steps.get() {
                // The loop that called this step goes on with it.
                Steps::On | Steps::Ending => {
                    local.steps.set(if next.is_some() { Steps::Next } else { Steps::Off });
                    local.next_step.set(next);
                }
                Steps::Off | Steps::Next => carry_out_steps(next, local, cx),
            }
        });
    }
}

/// Runs a step, and those that it leads to; what is left after a while is queued.
fn carry_out_steps(mut next: Option<Owned>, local: &Local, cx: &mut Cx) {
    let looping = Looping(local);
    debug_assert!(local.steps.get() == Steps::Off, "a loop of steps has no other one above it");
    let mut stretch = Stretch::new();
    for _ in 0..STEPS {
        if next.is_none() || !stretch.goes_on(&local.core) {
            break;
        }
        local.steps.set(Steps::On);
        let mut running = Running(local, next);
        running.run(cx);
        drop(running);
        next = local.next_step.take();
    }
    drop(looping);
    if let Some(event) = next {
        local.queue_event(event);
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        let Some(mut event) = self.event.take() else { return };
        if let Some(notice) = self.notice {
            // SAFETY: the event has not run, and holds what the notice is for.
            unsafe { notice(&mut event, None) }.0.leaves();
        }
        // Once it is queued, what it holds may go at any time, and the core with it.
        // SAFETY: the domain counts on the core, and the event keeps the domain.
        let core = CoreRef::of(unsafe { self.core.as_ref() });
        core.queue_event(event);
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
        self.0.steps.set(Steps::Off);
        // There is one only if a step has panicked after it had been given the next.
        if let Some(event) = self.0.next_step.take() {
            self.0.queue_event(event);
        }
    }
}

/// A step that runs. Its memory goes back also when it panics.
struct Running<'a>(&'a Local, Option<Owned>);

impl Running<'_> {
    fn run(&mut self, cx: &mut Cx) {
        if let Some(event) = &mut self.1 {
            self.0.tells_of_part(event);
            event.run(cx);
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(event) = self.1.take() {
            // SAFETY: it is of this worker's runtime.
            unsafe { self.0.free_memory(event.into_memory()) }
        }
    }
}

//! The result of a step of a domain's event, and how one step leads to the next.
//!
//! A step consumes the token of its event, and gets a [`Done`] for it. A `Done` is an event that
//! has not been queued. It does what the step asked for (a commit, a downgrade, a wait for a
//! context), which may lead to another `Done`. A loop on the worker's stack carries it out when the
//! step has returned. So the stack does not grow with the number of steps (C16), the steps of one
//! event do not overlap, and the worker turns to other work after 32 steps or the time of a turn. A
//! `Done` that is dropped instead of returned is queued.

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

/// The end of a step: proof that the step has decided how its event goes on.
///
/// It takes effect when the step returns it. A `Done` that is dropped instead is queued as an
/// event, and takes effect when that runs.
///
/// See [`Domain`](crate::Domain) for an example.
#[must_use = "a step must return its `Done`"]
pub struct Done {
    event: Option<Owned>,
    /// The core of the domain's runtime, which the token in the event keeps through its domain.
    core: NonNull<Core>,
    /// Tells which event the step belongs to, if a step of the user's made this `Done`.
    notice: Option<Notice>,
}

/// Tells which event the step in this memory belongs to, and whether the step ends it. If so, the
/// promise, if there is one, is kept when the event has committed. See [`Done::with_notice`].
type Notice = unsafe fn(&mut Owned, Option<Promise<()>>) -> (EventId, bool);

// SAFETY: the step in the event is `Send`, and the core may be used from any thread. The event
// keeps the core, through its domain, as long as the pointer is used.
unsafe impl Send for Done {}

/// The number of steps that run in a row before other work gets its turn; see `Stretch`, too.
const STEPS: usize = 32;

impl Done {
    /// Creates a `Done` that carries out `step`.
    pub(super) fn new<T: Step>(core: &Core, step: T, site: Site) -> Done {
        Done::of(core, own_event(core, step, site))
    }

    /// Creates a `Done` of an event that already contains its step.
    pub(super) fn of(core: &Core, event: Owned) -> Done {
        Done { event: Some(event), core: core.as_ptr(), notice: None }
    }

    /// Adds the `notice` that fits the step in the event's memory.
    pub(super) fn with_notice(mut self, notice: Notice) -> Done {
        self.notice = Some(notice);
        self
    }

    /// Has the promise kept when the event has committed, and returns the event. Returns `None` if
    /// the step does not end an event: then there is nothing to wait for.
    pub(super) fn notify(&mut self, promise: Promise<()>) -> Option<EventId> {
        let (notice, event) = (self.notice?, self.event.as_mut()?);
        // SAFETY: the event has not run, and contains the step that the notice fits.
        let (event_id, is_end) = unsafe { notice(event, Some(promise)) };
        is_end.then_some(event_id)
    }

    /// Carries out the step, and the steps that it leads to. It is called when a step has returned.
    pub(super) fn carry_out(mut self, cx: &mut Cx) {
        cx.split(|local, cx| {
            if self.core != local.core.as_ptr() {
                // The domain belongs to another runtime. The drop queues the event there.
                return drop(self);
            }
            let next = self.event.take();
            match local.steps.get() {
                // The loop that called this step goes on with the next one.
                Steps::On | Steps::Ending => {
                    local.steps.set(if next.is_some() { Steps::Next } else { Steps::Off });
                    local.next_step.set(next);
                }
                Steps::Off | Steps::Next => carry_out_steps(next, local, cx),
            }
        });
    }
}

/// Runs a step, and the steps that it leads to. After `STEPS` steps, or the time of a turn, the
/// next step is queued.
fn carry_out_steps(mut next: Option<Owned>, local: &Local, cx: &mut Cx) {
    let looping = Looping(local);
    debug_assert!(local.steps.get() == Steps::Off, "loops of steps are not nested");
    let mut stretch = Stretch::new();
    for _ in 0..STEPS {
        if next.is_none() || !stretch.allows_more(&local.core) {
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
            // SAFETY: the event has not run, and contains the step that the notice fits.
            unsafe { notice(&mut event, None) }.0.leaves();
        }
        // Once queued, the event may run at any time, and release the domain and with it the core.
        // SAFETY: the event still keeps the domain, and the domain owns a reference to the core.
        let core = CoreRef::of(unsafe { self.core.as_ref() });
        core.queue_event(event);
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Done")
    }
}

/// Marks the end of the loop, also after a panic.
struct Looping<'a>(&'a Local);

impl Drop for Looping<'_> {
    fn drop(&mut self) {
        self.0.steps.set(Steps::Off);
        // There is a next step only if a step has panicked after it had handed that over.
        if let Some(event) = self.0.next_step.take() {
            self.0.queue_event(event);
        }
    }
}

/// A step that runs. Its memory is freed even if it panics.
struct Running<'a>(&'a Local, Option<Owned>);

impl Running<'_> {
    fn run(&mut self, cx: &mut Cx) {
        if let Some(event) = &mut self.1 {
            self.0.begin_part(event);
            event.run(cx);
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(event) = self.1.take() {
            // SAFETY: `carry_out` lets only events of this worker's runtime into the loop.
            unsafe { self.0.free_memory(event.into_memory()) }
        }
    }
}

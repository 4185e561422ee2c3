//! Events of colors that are bound to the user's thread (E18). Each leaves its color's queue before
//! it runs.
//!
//! Such an event may run a turn of the loop itself (see `runtime::here`), in which other events of
//! the same color run while the outer one is suspended. So neither the queue, nor the turn of the
//! color in which the event was found, may be in use while the event runs. The event owns its
//! memory, and the color is idle, or queued again if it has more events. No two of its events run
//! at once (C1), because they all run on one thread, which is in one of them at a time. A count
//! keeps the color alive meanwhile.

use super::local::Local;
use crate::color::held::{Claims, Ended, Held};
use crate::event::Kind;
use crate::site::Site;
use crate::thread;

/// The suspended event of a thread, which resumes when this is dropped.
pub(crate) struct Suspended<'a> {
    local: &'a Local,
    /// Dropped last, after the event's site and label have been restored.
    _current: super::current::Suspended<'a>,
    site: Option<Site>,
    label: u32,
}

impl Local {
    /// Runs the event at the front of a color, after taking it out of the queue. `requeue` gets the
    /// color with what is behind the event.
    pub(super) fn run_apart(&self, held: Held, kind: Kind, requeue: impl FnOnce(Ended)) {
        self.current.leave();
        let (mut event, count, ended) = held.let_event_go(|| self.take_memory());
        requeue(ended);
        let label = count.label();
        let claims = Claims::Apart(count);
        self.current.with_claims(&claims, || self.run_alone(&mut event, label));
        if let Claims::Apart(color) = &claims
            && color.is_bounded()
            && kind == Kind::Closure
        {
            color.leave_bound();
        }
        self.end_uncolored(event, claims);
    }

    /// Returns `true` if the current event, if there is one, can be suspended.
    pub(crate) fn can_suspend(&self) -> bool {
        !self.steps.get().is_busy() && self.current.can_suspend()
    }

    /// Suspends the current event, so that the thread can run others until the returned value is
    /// dropped. Returns `None` if the event may not be suspended: it has a color that is not bound
    /// to this thread, has more than one color, shares its color, or is a step of a domain.
    pub(crate) fn suspend(&self) -> Option<Suspended<'_>> {
        if !self.can_suspend() {
            return None;
        }
        let _current = self.current.suspend()?;
        let event = &self.seat.event;
        thread::state(|state| state.suspended.set(state.suspended.get() + 1));
        Some(Suspended { local: self, _current, site: event.site(), label: event.label() })
    }
}

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        thread::state(|state| state.suspended.set(state.suspended.get() - 1));
        let event = &self.local.seat.event;
        event.set_label(self.label);
        match self.site {
            Some(site) => event.set_site(site),
            None => event.clear(),
        }
        self.local.scheduler.time_passes();
        self.local.scheduler.was_suspended.set(true);
    }
}

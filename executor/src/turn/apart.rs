//! Events of colors that are bound to a thread of the user's (E18): each leaves its color's queue
//! before it runs.
//!
//! Such an event may run a turn of its own (see `runtime::here`), in which other events of the same
//! color run while the outer one is suspended. So nothing of the queue, nor of the turn that it was
//! found in, may be in use while it runs: its memory is its own, the color is queued again if it
//! has more, or is idle. That no two of them run at once (C1) follows from where they run: on one
//! thread, which is in one of them at a time. The color itself is kept by a count.

use super::local::Local;
use crate::color::held::{Claims, Ended, Held};
use crate::event::Kind;
use crate::site::Site;
use crate::thread;

/// What the thread was in, which goes on when this is dropped.
pub(crate) struct Suspended<'a> {
    local: &'a Local,
    /// Dropped after what is said of the event has been restored.
    _current: super::current::Suspended<'a>,
    site: Option<Site>,
    label: u32,
}

impl Local {
    /// Runs the event at the front of a color that is held. `requeue` gets what is behind it.
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

    /// Says whether [`suspend`](Self::suspend) would.
    pub(crate) fn can_suspend(&self) -> bool {
        !self.steps.get().is_busy() && self.current.can_suspend()
    }

    /// Suspends the event that runs, so that the thread can run others until the answer is dropped.
    /// `None`: it may not be suspended, as it has a color that is not bound to this thread, or more
    /// than one, or shares it, or is a step of a domain.
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

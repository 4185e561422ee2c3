//! The end of an event: its turn to commit, and what it leaves behind.
//!
//! Actions run in the order in which they were deferred, outside the state and outside every lock
//! (I7). If poison covers the event, or the runtime stops, they are dropped instead.

use dapple_colors::Ticket;

use super::actions::Actions;
use super::engine::Batch;
use super::inner::{DomainPtr, own_event};
use super::store::Freed;
use crate::cx::Cx;
use crate::event::{Owned, Step, Word};
use crate::metrics::{Measure, Sample};
use crate::runtime::core::{Core, CoreRef, Phase};
use crate::site::Site;
use crate::sync::{DomainStep, Mutant, Point, mutant, point};
use crate::task::error::JoinError;
use crate::thread;

/// Returns `true` while this thread drops actions because poison covers their event.
pub(super) fn is_covered() -> bool {
    thread::state(|state| state.is_covered.get())
}

/// The turn of an event to commit, with the actions that it has deferred.
pub(super) struct Commit<S: Send + Sync + 'static> {
    pub(super) domain: DomainPtr<S>,
    pub(super) ticket: Ticket,
    pub(super) actions: Actions,
    /// Whether poison covers the event.
    pub(super) covered: bool,
    /// The time when the event became ready to commit, in nanoseconds on the runtime's clock, or 0
    /// if it is not sampled.
    pub(super) ready: u64,
}

impl<S: Send + Sync + 'static> Commit<S> {
    /// Runs the actions, and tells the order that the event has committed. Drops the actions
    /// instead if there is no `cx`, if poison covers the event, or if the runtime stops. The ticket
    /// keeps the domain until then.
    pub(super) fn carry_out(self, cx: Option<&mut Cx>, batch: &mut Batch<S>) {
        let Commit { domain, ticket, actions, covered, ready } = self;
        let core = &domain.core;
        let ends = |batch: &mut Batch<S>| {
            domain.store.with(|store| {
                domain.tell(ticket, || DomainStep::Committed);
                let over = store.committed();
                domain.collect(store, batch);
                over
            })
        };
        let torn = mutant(Mutant::TornCommits).then(|| ends(batch));
        let mut outcome = if covered { Err(JoinError::poisoned()) } else { Ok(()) };
        match cx {
            Some(cx) if !covered && core.phase() < Phase::Stopping => {
                if ready != 0 {
                    let local = cx.local();
                    let waited = core.clock().now().saturating_sub(ready);
                    local.sample(Sample::new(Measure::CommitWait, 0, waited));
                }
                actions.run(cx);
            }
            _ => {
                if !covered && !actions.is_empty() {
                    core.count_dropped(1);
                    core.count_in_vain(1);
                    outcome = Err(JoinError::cancelled());
                }
                // The drop may discard another domain's actions, so the outer value is restored.
                let outer = thread::state(|state| state.is_covered.replace(covered));
                actions.discard(core);
                thread::state(|state| state.is_covered.set(outer));
            }
        }
        point(Point::Committed);
        if let Some(kept) = torn.unwrap_or_else(|| ends(batch))
            && let Some(fate) = kept.fate
        {
            fate.decide(match kept.is_given_up {
                true => outcome.and(Err(JoinError::cancelled())),
                false => outcome,
            });
        }
    }

    pub(super) fn into_event(self, core: &Core) -> Owned {
        own_event(core, self, Site::caller())
    }
}

impl<S: Send + Sync + 'static> Step for Commit<S> {
    fn run(self, _: Word, cx: &mut Cx) {
        let domain = self.domain;
        let mut batch = Batch::new();
        self.carry_out(Some(cx), &mut batch);
        cx.split(|local, cx| domain.settle(&local.core, &mut batch, None, Some(cx)));
    }

    fn discard(self, _: Word) {
        let domain = self.domain;
        let core = domain.core.clone();
        let mut batch = Batch::new();
        self.carry_out(None, &mut batch);
        domain.settle(&core, &mut batch, None, None);
    }
}

/// The remains of an event, its actions and a version of the state. Their drop is user code, so an
/// event drops them.
pub(super) struct Remains<S> {
    pub(super) core: CoreRef,
    pub(super) actions: Actions,
    pub(super) version: Freed<S>,
}

impl<S: Send + 'static> Remains<S> {
    /// Drops the remains in an event of their own, if there are any.
    pub(super) fn drop_later(self, core: &Core, site: Site) {
        if self.actions.is_empty() && self.version.is_none() {
            return;
        }
        core.queue_event(own_event(core, self, site));
    }
}

impl<S: Send + 'static> Step for Remains<S> {
    fn run(self, word: Word, _: &mut Cx) {
        self.discard(word);
    }

    fn discard(self, _: Word) {
        self.actions.discard(&self.core);
        drop(self.version);
    }
}

/// Drops a version that nobody needs. Its drop is user code, so a panic is caught.
pub(super) fn drop_freed<S>(core: &Core, version: Freed<S>) {
    if version.is_some() {
        core.guard(None, || drop(version));
    }
}

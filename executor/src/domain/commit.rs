//! The end of an event: its turn to commit, and what it leaves.
//!
//! Actions run in the order in which they were deferred, outside of the state and of every lock
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

/// Says whether actions are dropped on this thread because poison covers their event.
pub(super) fn is_covered() -> bool {
    thread::state(|state| state.is_covered.get())
}

/// The turn of an event to commit: what it has deferred.
pub(super) struct Commit<S: Send + Sync + 'static> {
    pub(super) domain: DomainPtr<S>,
    pub(super) ticket: Ticket,
    pub(super) actions: Actions,
    /// Poison covers it.
    pub(super) covered: bool,
    /// When it became ready, if that is sampled; otherwise 0.
    pub(super) ready: u64,
}

impl<S: Send + Sync + 'static> Commit<S> {
    /// Runs the actions, or drops them if nobody runs any, and goes on. The ticket keeps the
    /// domain.
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
                // A drop may discard what another domain has deferred.
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

/// What an event leaves that is the user's to drop: that runs as an event, or with one.
pub(super) struct Remains<S> {
    pub(super) core: CoreRef,
    pub(super) actions: Actions,
    pub(super) version: Freed<S>,
}

impl<S: Send + 'static> Remains<S> {
    /// Drops them as an event, if there is something.
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

/// Drops a version that nobody needs: the user's code.
pub(super) fn drop_freed<S>(core: &Core, version: Freed<S>) {
    if version.is_some() {
        core.guard(None, || drop(version));
    }
}

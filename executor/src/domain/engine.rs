//! The engine of a domain, which carries out what the order decides.
//!
//! Decisions are collected under the lock, a batch at a time, and carried out after the lock is
//! released. An event that may go on is queued as an event without color. No user code runs here
//! (C16) but the deferred actions of the event whose turn it is to commit. These run here only
//! directly below a worker's own loop, when an event has ended (I8), so that they never run while
//! an event on the same stack has the state. From anywhere else the commit is queued as an event,
//! too. One event commits at a time: the order hands out the next commit only when it has been told
//! that the last one is done (I7).
//!
//! A thread outside the runtime may have collected events that other threads have made runnable.
//! Until it has queued them, the runtime is not at rest (see `quiesce`).
//!
//! When the runtime stops, no further action runs. Deferred actions are dropped and counted, so
//! that what has run is a prefix of the ticket order (E11).

use std::mem::MaybeUninit;

use dapple_colors::Ticket;

use super::commit::Commit;
use super::inner::{DomainPtr, DomainStore, SKIPPED, Waiting, own_event, word_of};
use super::store::Decision;
use super::stretch::Stretch;
use crate::cx::Cx;
use crate::event::{Owned, Step, Word};
use crate::runtime::core::{Core, Phase};
use crate::site::Site;
use crate::sync::DomainStep;

/// The limits of one collection: the number of events, and the number of looks at the order. A look
/// that only passes many slots counts as `MOVED` looks.
const BATCH: usize = 8;
const LOOKS: usize = 64;
const MOVED: usize = 16;

/// The number of collections that one thread carries out in a row.
const ROUNDS: usize = 64;

/// Decisions that have to be carried out. A batch is filled and emptied in place, because moving it
/// would cost more than its work.
pub(super) struct Batch<S: Send + Sync + 'static> {
    /// The events that may go on, each with the number of its ticket, or with 0 if it has none. The
    /// first `len` slots are initialized.
    queue: [MaybeUninit<(u64, Waiting)>; BATCH],
    len: usize,
    commit: Option<Commit<S>>,
    /// The number of events that have committed while poison covered them.
    covered: u64,
    /// The number of events that were accepted beyond the limit.
    pub(super) exceeded: u64,
    /// Whether there may be more to collect.
    more: bool,
    /// Whether nothing is left of the domain.
    is_last: bool,
}

impl<S: Send + Sync + 'static> Batch<S> {
    #[inline]
    pub(super) fn new() -> Self {
        Batch {
            queue: [const { MaybeUninit::uninit() }; BATCH],
            len: 0,
            commit: None,
            covered: 0,
            exceeded: 0,
            more: false,
            is_last: false,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, ticket: u64, with: Waiting) {
        self.queue[self.len].write((ticket, with));
        self.len += 1;
    }

    /// Returns `true` if there is a commit to carry out, which takes time.
    pub(super) fn has_commit(&self) -> bool {
        self.commit.is_some()
    }

    /// Queues the events that may go on, except for that of the ticket `own`, which is returned.
    #[inline]
    fn queue(&mut self, core: &Core, own: Option<Ticket>) -> Option<Waiting> {
        let mut next = None;
        let len = std::mem::take(&mut self.len);
        for slot in &mut self.queue[..len] {
            // SAFETY: `push` has initialized the first `len` slots. `len` is 0 now: each is read
            // once.
            let (ticket, mut with) = unsafe { slot.assume_init_read() };
            with.may_go_on(core);
            match own {
                Some(own) if own.number() == ticket => next = Some(with),
                _ => core.queue_event(with.0),
            }
        }
        next
    }
}

impl<S: Send + Sync + 'static> DomainPtr<S> {
    /// Collects decisions, under the lock.
    #[inline]
    pub(super) fn collect(self, store: &mut DomainStore<S>, batch: &mut Batch<S>) {
        batch.more = true;
        let mut looks = 0;
        while looks < LOOKS && batch.len < BATCH {
            let Some(decision) = store.decide() else {
                batch.more = false;
                break;
            };
            looks += if matches!(decision, Decision::Moved) { MOVED } else { 1 };
            self.take_in(store, decision, batch);
        }
        batch.more &= !store.order().is_empty();
        store.settling += usize::from(batch.more);
        batch.is_last = store.is_over();
    }

    #[inline]
    fn take_in(
        self,
        store: &mut DomainStore<S>,
        decision: Decision<S, Waiting>,
        batch: &mut Batch<S>,
    ) {
        match decision {
            Decision::Enter { ticket, context, mut with, version, is_read } => {
                self.tell(ticket, || DomainStep::Enters(context));
                with.set_version(version, is_read);
                batch.push(ticket.number(), with);
            }
            Decision::Begin { ticket, mut with } => {
                self.tell(ticket, || DomainStep::Begins);
                with.set_word(word_of(ticket));
                batch.exceeded += u64::from(store.order().is_over_full());
                batch.push(0, with);
            }
            Decision::Skip { mut with } => {
                with.set_word(SKIPPED);
                batch.push(0, with);
            }
            Decision::Room { with } => batch.push(0, with),
            Decision::Moved => {}
            Decision::Commit { ticket, covered } => {
                self.tell(ticket, || DomainStep::Commits);
                let kept = store.data(ticket);
                let (actions, ready) = (std::mem::take(&mut kept.actions), kept.ready);
                // A sub-event begins with these values.
                (kept.left_global, kept.ready) = (false, 0);
                // When the runtime stops, an event is counted where its actions are dropped.
                batch.covered += u64::from(covered && self.core.phase() < Phase::Stopping);
                if actions.is_empty() && ready == 0 && kept.fate.is_none() {
                    self.tell(ticket, || DomainStep::Committed);
                    store.committed();
                } else {
                    batch.commit = Some(Commit { domain: self, ticket, actions, covered, ready });
                }
            }
        }
    }

    /// Carries out the collected decisions, and what follows from them. Returns the event of the
    /// ticket `own` if that may go on, and queues all others. With a `cx`, that is, directly below
    /// a worker's loop, it also runs commits: without `own`, those of any event; otherwise only
    /// those of `own`, which waits to be alone.
    #[inline]
    pub(super) fn settle(
        self,
        core: &Core,
        batch: &mut Batch<S>,
        own: Option<Ticket>,
        cx: Option<&mut Cx>,
    ) -> Option<Waiting> {
        let next = batch.queue(core, own);
        let is_done = batch.commit.is_none()
            && !batch.more
            && !batch.is_last
            && batch.covered + batch.exceeded == 0;
        if is_done {
            return next;
        }
        let later = self.settle_more(core, batch, own, cx);
        next.or(later)
    }

    fn settle_more(
        self,
        core: &Core,
        batch: &mut Batch<S>,
        own: Option<Ticket>,
        mut cx: Option<&mut Cx>,
    ) -> Option<Waiting> {
        let mut next = None;
        let mut commit = None;
        let mut stretch = Stretch::new();
        let mut rounds = 0;
        loop {
            next = next.or(batch.queue(core, own));
            if batch.covered > 0 {
                // Each of these events has begun, and its first step was counted as run.
                core.count_in_vain(batch.covered);
                core.count_dropped(std::mem::take(&mut batch.covered));
            }
            if batch.exceeded > 0 {
                core.count_over_limit(std::mem::take(&mut batch.exceeded));
            }
            // There is at most one commit at a time.
            commit = commit.or(batch.commit.take());
            if batch.more {
                rounds += 1;
                if rounds == ROUNDS {
                    // Other work gets its turn. `settling` keeps the domain until `Resume` has run.
                    core.queue_event(Resume(self).into_event(core));
                    if let Some(turn) = commit {
                        core.queue_event(turn.into_event(core));
                    }
                    return next;
                }
                self.store.with(|store| {
                    store.settling -= 1;
                    self.collect(store, batch);
                });
                continue;
            }
            let Some(turn) = commit.take() else { break };
            let is_ours = next.is_none() && own.is_none_or(|own| own == turn.ticket);
            match &mut cx {
                Some(cx) if is_ours && stretch.allows_more(core) => {
                    cx.local().steps.set(cx.local().steps.get().not_ending());
                    turn.carry_out(Some(cx), batch);
                }
                _ => {
                    core.queue_event(turn.into_event(core));
                    break;
                }
            }
        }
        if batch.is_last {
            self.free(core);
        }
        next
    }
}

/// An event that goes on collecting decisions.
struct Resume<S: Send + Sync + 'static>(DomainPtr<S>);

impl<S: Send + Sync + 'static> Resume<S> {
    fn into_event(self, core: &Core) -> Owned {
        own_event(core, self, Site::caller())
    }

    fn resume(self, core: &Core, cx: Option<&mut Cx>) {
        let mut batch = Batch::new();
        self.0.store.with(|store| {
            store.settling -= 1;
            self.0.collect(store, &mut batch);
        });
        self.0.settle(core, &mut batch, None, cx);
    }
}

impl<S: Send + Sync + 'static> Step for Resume<S> {
    fn run(self, _: Word, cx: &mut Cx) {
        cx.split(|local, cx| self.resume(&local.core, Some(cx)));
    }

    fn discard(self, _: Word) {
        let core = self.0.core.clone();
        self.resume(&core, None);
    }
}

//! A domain at work: what the order decides is carried out.
//!
//! # Who keeps it
//!
//! The domain's memory is kept by its handles, by every ticket that has not committed, and by whoever is
//! between two collections of decisions (`settling`). The last handle marks the store as an orphan (see `store::Handles`);
//! whoever then sees under the lock that nothing is left frees it, after the lock, whose release is the last access
//! of the one before.
//!
//! # What runs where
//!
//! Decisions are collected under the lock, some at a time, and carried out after it: what may go on is queued as an event
//! without color. No user code runs here (C16) but the deferred actions of the event whose turn it is to
//! commit, and those only below a worker's own loop, when an event has ended (I8), so that they never run while an
//! event on the same stack has the state; from anywhere else the commit is queued as an event, too. One event commits
//! at a time: the order hands out the next commit only when it has been told that the last one is done (I7).
//!
//! A thread that is no worker may have collected what others have made runnable; until it has queued that,
//! the runtime is not at rest (`quiesce`).
//!
//! When the runtime stops, no action runs any more: what is deferred is dropped and counted, so that what has
//! run is a prefix of the ticket order (E11).

use std::mem::MaybeUninit;
use std::ops::Deref;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

use dapple_colors::{Mode, Ticket};

use super::actions::Actions;
use super::store::{Decision, Freed, Handles, Store, Version};
use super::stretch::Stretch;
use super::watch::Found;
use crate::cx::Cx;
use crate::event::{Event, Step};
use crate::lock::Lock;
use crate::metrics::{Measure, Sample};
use crate::runtime::core::{Core, CoreRef, Phase};
use crate::sync::{AtomicUsize, Ordering};
use crate::worker::local::Local;

/// An event without color that waits for its turn.
pub(super) struct Waiting(pub(super) NonNull<Event>);

// SAFETY: what it holds is Send, and it has one owner.
unsafe impl Send for Waiting {}

/// What is kept with a ticket.
pub(super) struct Deferred {
    /// What was deferred before the event left global; or, once it is ready, all of it.
    pub(super) actions: Actions,
    /// It was in global, and is not any more.
    pub(super) left_global: bool,
    /// When it became ready to commit, if that is sampled; otherwise 0.
    pub(super) ready: u64,
    /// Where it was posted.
    pub(super) site: &'static Location<'static>,
}

pub(super) type DomainStore<S> = Store<S, Waiting, Deferred>;

/// What all handles and tickets of a domain share.
pub(super) struct Inner<S> {
    pub(super) core: CoreRef,
    pub(super) handles: Handles,
    pub(super) mode: Mode,
    /// How to copy the state; none in read_write mode, which needs no copy unless it is transactional.
    pub(super) copy: Option<fn(&S) -> S>,
    /// An event in global works on a copy, which is dropped if it panics.
    pub(super) transactional: bool,
    pub(super) label: Option<Arc<str>>,
    /// Where it stands in the register; see `watch`.
    pub(super) key: AtomicUsize,
    pub(super) store: Lock<DomainStore<S>>,
}

/// The word of a step that poison covers: it is not a version's address.
pub(super) const SKIP: usize = 1;
/// Marks a version that others may read, in the word of a step.
pub(super) const READ: usize = 1;

/// Decisions in one collection, and looks at the order; one that passes many slots counts for some.
const BATCH: usize = 8;
const LOOKS: usize = 64;
const MOVED: usize = 16;

/// What has been decided, and has to be done. It is filled and emptied in place: to move it would cost more
/// than what it is for.
pub(super) struct Batch<S: Send + Sync + 'static> {
    /// Events that may go on, with the numbers of their tickets; 0 for those that have none. So many are
    /// there.
    queue: [MaybeUninit<(u64, Waiting)>; BATCH],
    len: usize,
    commit: Option<Commit<S>>,
    /// Events that poison covered have committed.
    covered: u64,
    /// Events that were accepted though there were too many.
    pub(super) exceeded: u64,
    /// There may be more.
    more: bool,
    /// Nothing is left of the domain.
    is_last: bool,
}

impl Deferred {
    #[inline]
    pub(super) fn new(site: &'static Location<'static>) -> Self {
        Deferred { actions: Actions::default(), left_global: false, ready: 0, site }
    }
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

    /// Does the turn of an event to commit take time?
    pub(super) fn has_actions(&self) -> bool {
        self.commit.is_some()
    }

    /// Queues what may go on, but for the event of this ticket, which is the answer.
    #[inline]
    fn queue(&mut self, core: &Core, own: Option<Ticket>) -> Option<Waiting> {
        let mut next = None;
        let len = std::mem::take(&mut self.len);
        for slot in &mut self.queue[..len] {
            // SAFETY: the first `len` have been written, and are read once.
            let (ticket, with) = unsafe { slot.assume_init_read() };
            with.may_go_on(core);
            match own {
                Some(own) if own.number() == ticket => next = Some(with),
                _ => core.queue_event(with.0),
            }
        }
        next
    }
}

/// A pointer to a domain. Whoever has one has a handle, or a ticket, or settles.
pub(super) struct DomainPtr<S: 'static>(pub(super) NonNull<Inner<S>>);

impl<S> Clone for DomainPtr<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for DomainPtr<S> {}

// SAFETY: `Inner` is reached from all threads by its lock; S: Send + Sync is asked for when it is made.
unsafe impl<S: Send + Sync> Send for DomainPtr<S> {}
// SAFETY: as above.
unsafe impl<S: Send + Sync> Sync for DomainPtr<S> {}

impl<S> Deref for DomainPtr<S> {
    type Target = Inner<S>;
    #[inline]
    fn deref(&self) -> &Inner<S> {
        // SAFETY: whoever has the pointer keeps the domain; see the module.
        unsafe { self.0.as_ref() }
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
            Decision::Enter { ticket, with, version, is_read } => {
                with.set_version(version, is_read);
                batch.push(ticket.number(), with);
            }
            Decision::Begin { ticket, with } => {
                with.set_word(number_as_word(ticket));
                batch.exceeded += u64::from(store.order().is_over_full());
                batch.push(0, with);
            }
            Decision::Skip { with } => {
                with.set_word(std::ptr::without_provenance_mut(SKIP));
                batch.push(0, with);
            }
            Decision::Room { with } => batch.push(0, with),
            Decision::Moved => {}
            Decision::Commit { ticket, covered } => {
                let kept = store.data(ticket);
                let (actions, ready) = (std::mem::take(&mut kept.actions), kept.ready);
                // What a sub-event begins with.
                (kept.left_global, kept.ready) = (false, 0);
                // Once nothing runs any more, what is dropped is counted where it is dropped.
                batch.covered += u64::from(covered && self.core.phase() < Phase::Stopping);
                if actions.is_empty() && ready == 0 {
                    store.committed();
                } else {
                    batch.commit = Some(Commit { domain: self, ticket, actions, covered, ready });
                }
            }
        }
    }

    /// Carries out what was collected, and what follows from it. If the event `own` may go on, that is the answer; all
    /// others are queued. With a `cx` (below a worker's loop) it runs commits: any, if no event goes on from here, or
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
        loop {
            next = next.or(batch.queue(core, own));
            if batch.covered > 0 {
                core.count_dropped(std::mem::take(&mut batch.covered));
            }
            if batch.exceeded > 0 {
                core.count_over_limit(std::mem::take(&mut batch.exceeded));
            }
            // There is one at a time.
            commit = commit.or(batch.commit.take());
            if batch.more {
                self.store.with(|store| {
                    store.settling -= 1;
                    self.collect(store, batch);
                });
                continue;
            }
            let Some(turn) = commit.take() else { break };
            let is_ours = next.is_none() && own.is_none_or(|own| own == turn.ticket);
            match &mut cx {
                Some(cx) if is_ours && stretch.goes_on(core) => {
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

    /// What the oldest event is about.
    pub(super) fn look(self) -> Option<Found> {
        self.store.with(|store| {
            let oldest = store.order().oldest()?;
            let uncommitted = store.order().uncommitted();
            Some(Found { oldest, site: store.data(oldest.ticket).site, uncommitted })
        })
    }

    /// Gives back a handle.
    pub(super) fn drop_handle(self) {
        // Without the handle, somebody else may free the domain.
        let core = self.core.as_ptr();
        if self.handles.remove(&self.store) {
            // SAFETY: we are the last one to know the domain, which counts on the core.
            let core = CoreRef::of(unsafe { core.as_ref() });
            self.free(&core);
        }
    }

    /// Frees the domain, as an event: its state is the user's.
    fn free(self, core: &Core) {
        core.domains.leave(self.key.load(Ordering::Relaxed));
        // SAFETY: nobody keeps it any more, and it was a box.
        let inner = unsafe { Box::from_raw(self.0.as_ptr()) };
        // The core outlives the event: what runs or discards it keeps it.
        let memory = Local::memory_for(core);
        // SAFETY: the memory is fresh or recycled.
        let event = unsafe { Event::write_housekeeping(memory, inner, Location::caller()) };
        core.queue_event(event);
    }
}

impl Waiting {
    /// The event is in anon or global, with this version.
    #[inline]
    pub(super) fn set_version<S>(&self, version: NonNull<Version<S>>, is_read: bool) {
        let tag = if is_read { READ } else { 0 };
        self.set_word(version.as_ptr().map_addr(|a| a | tag).cast());
    }

    /// What it waited for is not a delay of a queue; that counts from here.
    #[inline]
    fn may_go_on(&self, core: &Core) {
        // SAFETY: the event is ours, and in no queue.
        unsafe {
            if Event::posted(self.0) != 0 {
                Event::set_posted(self.0, core.clock.now());
            }
        }
    }

    #[inline]
    fn set_word(&self, word: *mut ()) {
        // SAFETY: the event is ours, and in no queue.
        unsafe { Event::set_word(self.0, word) }
    }
}

const _: () = assert!(usize::BITS == 64, "a ticket's number stands in a word");

fn number_as_word(ticket: Ticket) -> *mut () {
    std::ptr::without_provenance_mut(ticket.number() as usize)
}

/// The turn of an event to commit: what it has deferred.
struct Commit<S: Send + Sync + 'static> {
    domain: DomainPtr<S>,
    ticket: Ticket,
    actions: Actions,
    /// Poison covers it.
    covered: bool,
    ready: u64,
}

impl<S: Send + Sync + 'static> Commit<S> {
    /// Runs the actions, or drops them if nobody runs any, and goes on. The ticket keeps the domain.
    fn carry_out(self, cx: Option<&mut Cx>, batch: &mut Batch<S>) {
        let Commit { domain, actions, covered, ready, .. } = self;
        let core = &domain.core;
        match cx {
            Some(cx) if !covered && core.phase() < Phase::Stopping => {
                if ready != 0 {
                    let local = cx.local();
                    let waited = core.clock.now().saturating_sub(ready);
                    local.sample(Sample::new(Measure::CommitWait, 0, waited));
                }
                actions.run(cx);
            }
            _ => {
                if !actions.is_empty() && core.phase() >= Phase::Stopping {
                    core.count_dropped(1);
                }
                actions.discard(core);
            }
        }
        domain.store.with(|store| {
            store.committed();
            domain.collect(store, batch);
        });
    }

    fn into_event(self, core: &Core) -> NonNull<Event> {
        let memory = Local::memory_for(core);
        // SAFETY: the memory is fresh or recycled.
        unsafe { Event::write_step(memory, self, true, Location::caller(), 0) }
    }
}

impl<S: Send + Sync + 'static> Step for Commit<S> {
    fn run(self, _: *mut (), cx: &mut Cx) {
        let domain = self.domain;
        let core = core_of(cx);
        let mut batch = Batch::new();
        self.carry_out(Some(cx), &mut batch);
        domain.settle(core, &mut batch, None, Some(cx));
    }

    fn discard(self, _: *mut ()) {
        let domain = self.domain;
        let core = domain.core.clone();
        let mut batch = Batch::new();
        self.carry_out(None, &mut batch);
        domain.settle(&core, &mut batch, None, None);
    }
}

/// What an event leaves that is the user's to drop: that runs as an event, or with one.
pub(super) struct Remains<S> {
    pub(super) core: NonNull<Core>,
    pub(super) actions: Actions,
    pub(super) version: Freed<S>,
}

// SAFETY: the actions and the state are Send; the core is, too.
unsafe impl<S: Send> Send for Remains<S> {}

impl<S: Send + 'static> Remains<S> {
    /// Drops them as an event, if there is something.
    pub(super) fn drop_later(self, core: &Core, site: &'static Location<'static>) {
        if self.actions.is_empty() && self.version.is_none() {
            return;
        }
        let memory = Local::memory_for(core);
        // SAFETY: the memory is fresh or recycled.
        core.queue_event(unsafe { Event::write_step(memory, self, true, site, 0) });
    }
}

impl<S: Send + 'static> Step for Remains<S> {
    fn run(self, word: *mut (), _: &mut Cx) {
        self.discard(word);
    }

    fn discard(self, _: *mut ()) {
        // SAFETY: whoever runs or discards events keeps the core.
        self.actions.discard(unsafe { self.core.as_ref() });
        drop(self.version);
    }
}

/// The core that an event runs on.
pub(super) fn core_of<'a>(cx: &Cx) -> &'a Core {
    // SAFETY: the worker counts on its core, and outlives what runs on it; the reference is used below the event
    // only.
    unsafe { cx.local().core.as_ptr().as_ref() }
}

/// Drops a version that nobody needs: the user's code.
pub(super) fn drop_freed<S>(core: &Core, version: Freed<S>) {
    if version.is_some() {
        core.guard(None, || drop(version));
    }
}

//! The token of an event: its domain, its ticket, and the actions that it has deferred.
//!
//! Owning the token is the right to the place in the order and to the context (I16). All types of
//! the public API wrap it, and the runtime acts on nothing else. A token that is dropped without a
//! commit releases the state and the place, as a panic does (I12). That runs no user code: what the
//! event leaves behind is dropped by another event.

use std::ptr::NonNull;

use dapple_colors::{Abandoned, Context, Ticket};

use super::actions::Actions;
use super::commit::{Remains, drop_freed};
use super::done::Done;
use super::engine::Batch;
use super::event_id::EventId;
use super::inner::{DomainPtr, DomainStore, READ, Waiting};
use super::part::{Continue, LATER, Part};
use super::store::{Freed, Version};
use crate::cx::Cx;
use crate::event::{Owned, Step, Word};
use crate::runtime::core::Phase;
use crate::site::Site;
use crate::sync::DomainStep;
use crate::task::packet::Promise;
use crate::turn::local::Local;
use crate::turn::outside::Outside;

/// A tag of the version: it is a copy that belongs to the event alone.
const COPY: usize = 2;
const TAGS: usize = READ | COPY;

/// The token of an event; see the module.
pub(super) struct Token<S: Send + Sync + 'static> {
    pub(super) domain: DomainPtr<S>,
    pub(super) ticket: Ticket,
    /// The actions that were deferred since the last step under the lock, which took the others.
    actions: Actions,
    /// The version of the state in anon and global, with tags; null in none.
    version: Word,
}

// SAFETY: the state is `Send` and `Sync`, the actions are `Send`, and the rules of `store` say
// which event may use a version.
unsafe impl<S: Send + Sync> Send for Token<S> {}
// SAFETY: a shared token gives `&S` and nothing else, and `S` is `Sync`.
unsafe impl<S: Send + Sync> Sync for Token<S> {}

impl<S: Send + Sync + 'static> Token<S> {
    /// Creates the token of an event that goes on. `version` is the word of its step, null in none.
    #[inline]
    pub(super) fn new(domain: DomainPtr<S>, ticket: Ticket, version: Word) -> Self {
        const { assert!(align_of::<Version<S>>() > TAGS) };
        Token { domain, ticket, actions: Actions::default(), version }
    }

    /// Defers an action (I7).
    #[inline]
    pub(super) fn defer<F>(&mut self, f: F, site: Site)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        let action = self.actions.push(&self.domain.core, f, site);
        self.domain.tell(self.ticket, || DomainStep::Defers(action));
    }

    /// Returns the state.
    ///
    /// # Safety
    ///
    /// The event is in anon or global.
    #[inline]
    pub(super) unsafe fn state(&self) -> &S {
        self.domain.tell(self.ticket, || DomainStep::Reads);
        // SAFETY: in anon and global there is a version, and no event writes to it now. In anon it
        // is pinned. In global only this event writes to it, through `&mut self`.
        unsafe { &*self.plain().as_ref().state().get() }
    }

    /// Returns the state, to change it, and copies it first if necessary.
    ///
    /// # Safety
    ///
    /// The event is in global.
    #[inline]
    pub(super) unsafe fn state_mut(&mut self) -> &mut S {
        self.domain.tell(self.ticket, || DomainStep::Writes);
        let tags = self.version.tags(TAGS);
        if tags & COPY == 0 && (self.domain.transactional || tags & READ != 0) {
            // SAFETY: the caller says that the event is in global.
            unsafe { self.make_own() };
        }
        // SAFETY: the event is in global. By the rules of `store`, a copy belongs to this event
        // alone, and so does the current version if no event has it pinned.
        unsafe { &mut *self.plain().as_ref().state().get() }
    }

    /// Makes sure that this event may write: to the current version if no event reads that by now,
    /// otherwise to a copy. In a transactional domain it is always a copy.
    ///
    /// # Safety
    ///
    /// The event is in global.
    #[cold]
    unsafe fn make_own(&mut self) {
        if !self.domain.transactional && !self.domain.store.with(|store| store.is_read()) {
            self.version = self.version.without(READ);
            return;
        }
        let copy = self.domain.copy.expect("other events read only in a mode that can copy");
        // SAFETY: the caller says that the event is in global.
        let state = copy(unsafe { self.state() });
        self.version = Word::pointer(NonNull::from(Box::leak(Version::new(state)))).tagged(COPY);
    }

    #[inline]
    fn plain(&self) -> NonNull<Version<S>> {
        self.version.without(TAGS).as_pointer().expect("in anon and global there is a version")
    }

    /// Takes the copy out, if the event has made one. The token then has no version.
    #[inline]
    fn take_copy(&mut self) -> Freed<S> {
        let version = std::mem::replace(&mut self.version, Word::NONE);
        let copy = version.without(TAGS).as_pointer().filter(|_| version.tags(COPY) != 0);
        // SAFETY: `make_own` leaked the copy from a box, the event owns it alone, and the token
        // forgets it here.
        copy.map(|copy: NonNull<Version<S>>| unsafe { Box::from_raw(copy.as_ptr()) })
    }

    /// Takes the token apart, without its drop.
    #[inline]
    fn dismantle(mut self) -> (DomainPtr<S>, Ticket, Actions, Freed<S>) {
        let parts = (self.domain, self.ticket, std::mem::take(&mut self.actions), self.take_copy());
        std::mem::forget(self);
        parts
    }

    /// Has the event leave the state, and commit when its turn comes. Called directly below a
    /// worker's own loop.
    #[inline]
    pub(super) fn commit(self, then: Option<(Context, Waiting)>, cx: &mut Cx) {
        cx.split(|local, cx| self.commit_on(local, then, cx));
    }

    fn commit_on(self, local: &Local, then: Option<(Context, Waiting)>, cx: &mut Cx) {
        let (domain, ticket, actions, mut copy) = self.dismantle();
        let core = &*local.core;
        let ready = core.stamp(Some(local));
        let is_plain = then.is_none() && actions.is_empty() && ready == 0;
        let mut batch = Batch::new();
        let is_done = domain.store.with(|store| {
            let kept = store.data(ticket);
            let is_plain = is_plain && kept.actions.is_empty() && kept.fate.is_none();
            if is_plain && store.commit_at_once(ticket, &mut copy) {
                domain.tell(ticket, || DomainStep::Leaves(None));
                domain.tell(ticket, || DomainStep::Commits);
                domain.tell(ticket, || DomainStep::Committed);
                return true;
            }
            let follows = then.as_ref().map(|(highest, _)| *highest);
            domain.tell(ticket, || DomainStep::Leaves(follows));
            let kept = store.data(ticket);
            kept.actions.append(actions);
            kept.ready = ready;
            copy = store.commit(ticket, copy.take(), then);
            domain.collect(store, &mut batch);
            false
        });
        if !is_done {
            if !batch.has_commit() {
                // The event ends with this step, so the worker is as good as free for the events
                // that may go on now.
                local.steps.set(local.steps.get().ending());
            }
            domain.settle(core, &mut batch, None, Some(cx));
        }
        drop_freed(core, copy);
    }

    /// Ends the step by `what`, and then goes on with `part`.
    pub(super) fn then<K: Part<S>>(self, what: StepEnd, part: K, site: Site) -> Done {
        let domain = self.domain;
        self.event_id().ends();
        Done::new(&domain.core, Act { token: self, what, site, part }, site)
            .with_notice(Act::<S, K>::notice)
    }

    /// Ends the step, and the event, by a commit.
    pub(super) fn end(self, site: Site) -> Done {
        let domain = self.domain;
        self.event_id().ends();
        Done::new(&domain.core, End(self), site).with_notice(End::<S>::notify)
    }

    /// Returns the identity of the event.
    pub(super) fn event_id(&self) -> EventId {
        EventId::new(self.domain.address(), self.ticket)
    }

    /// Ends an event that is in global and has not touched the state, as if it had panicked before
    /// it entered. Called when nobody waits for its section.
    pub(super) fn cancel(mut self) {
        self.domain.core.count_panic();
        self.abandon(true, false);
        std::mem::forget(self);
    }

    /// Gives up the right to enter a context higher than `highest`.
    pub(super) fn renounce(&mut self, highest: Context) {
        let domain = self.domain;
        let _outside = Outside::enter(&domain.core);
        let mut batch = Batch::new();
        domain.store.with(|store| {
            domain.tell(self.ticket, || DomainStep::Renounces(highest));
            store.renounce(self.ticket, highest);
            domain.collect(store, &mut batch);
        });
        domain.settle(&domain.core, &mut batch, None, None);
    }
}

impl<S: Send + Sync + 'static> Token<S> {
    /// Releases the state and the place of an event that does not go on, because poison covers it
    /// or the runtime stops.
    pub(super) fn release(mut self) {
        self.abandon(false, true);
        std::mem::forget(self);
    }

    /// Releases the state and the place. `untouched` says that the event has not changed the state.
    /// `counted` says that the caller counts the event as dropped if the runtime stops.
    fn abandon(&mut self, untouched: bool, counted: bool) {
        let (domain, ticket) = (self.domain, self.ticket);
        // When the ticket is gone, the domain may go, and its core with it.
        let (core, label) = (domain.core.clone(), domain.label.clone());
        let (actions, copy) = (std::mem::take(&mut self.actions), self.take_copy());
        let _outside = Outside::enter(&core);
        let mut batch = Batch::new();
        let (abandoned, remains, site) = domain.store.with(|store| {
            // When the runtime stops, no other event uses the state, so it need not be poisoned.
            let restores = untouched || domain.transactional || core.phase() >= Phase::Stopping;
            domain.tell(ticket, || DomainStep::Abandons);
            let (abandoned, version) = store.abandon(ticket, copy, restores);
            if abandoned == Abandoned::Poisons {
                domain.tell(ticket, || DomainStep::Poisons);
            }
            let kept = store.data(ticket);
            // If the runtime stops, actions that are left to the commit are counted there, when
            // they are dropped.
            let counted = counted && core.phase() >= Phase::Stopping;
            let mut dropped = match kept.left_global && !counted {
                true => Actions::default(),
                false => std::mem::take(&mut kept.actions),
            };
            dropped.append(actions);
            kept.is_given_up |= counted && !dropped.is_empty();
            let site = kept.site;
            let remains = Remains { core: core.clone(), actions: dropped, version };
            domain.collect(store, &mut batch);
            (abandoned, remains, site)
        });
        remains.drop_later(&core, site);
        domain.settle(&core, &mut batch, None, None);
        if abandoned == Abandoned::Poisons && core.phase() < Phase::Stopping {
            // The logger is foreign code, so it is called last.
            let label = label.as_deref();
            core.guard(Some(site), || {
                tracing::warn!(domain = label, %ticket, posted_at = %site, "a domain is poisoned");
            });
        }
    }
}

impl<S: Send + Sync + 'static> Drop for Token<S> {
    /// Releases the state and the place, as the owner of the token has not committed.
    fn drop(&mut self) {
        // A panic that unwinds now, or that has ended the task whose contents are dropped now, is
        // counted where it is caught.
        if !crate::sync::panicking() && !crate::task::polled::is_after_a_panic() {
            self.domain.core.count_panic();
        }
        self.event_id().ends();
        self.abandon(false, false);
    }
}

/// The end of a step.
#[derive(Clone, Copy)]
pub(super) enum StepEnd {
    /// Another step in the same context follows.
    Stay,
    Upgrade(Context),
    Downgrade,
    /// The event waits to be alone (I9).
    Alone,
    /// The event commits. The part that follows is a sub-event that may go up to this context.
    Commit(Context),
}

/// The end of a step that another one follows.
struct Act<S: Send + Sync + 'static, K> {
    token: Token<S>,
    what: StepEnd,
    site: Site,
    part: K,
}

impl<S: Send + Sync + 'static, K: Part<S>> Act<S, K> {
    /// Returns the event of the step, and `false`, because the event does not end with the step.
    ///
    /// # Safety
    ///
    /// The caller owns the event, which contains an `Act<S, K>` that has not been consumed.
    unsafe fn notice(event: &mut Owned, _: Option<Promise<()>>) -> (EventId, bool) {
        // SAFETY: the caller says that the event contains an unconsumed `Act<S, K>`.
        (unsafe { event.step_mut::<Self>() }.token.event_id(), false)
    }
}

impl<S: Send + Sync + 'static, K: Part<S>> Step for Act<S, K> {
    fn run(self, _: Word, cx: &mut Cx) {
        let Act { mut token, what, site, part } = self;
        match what {
            StepEnd::Stay => part.run(token, cx),
            StepEnd::Downgrade => {
                token.downgrade(cx);
                part.run(token, cx)
            }
            StepEnd::Upgrade(context) => token.wait(part, site, cx, |store, ticket, _, with| {
                store.want(ticket, context, with);
                None
            }),
            StepEnd::Alone => {
                let domain = token.domain;
                token.wait(part, site, cx, |store, ticket, copy, with| {
                    domain.tell(ticket, || DomainStep::WaitsToBeAlone);
                    store.alone(ticket, copy, with)
                })
            }
            StepEnd::Commit(highest) => {
                // The sub-event has no ticket yet, but gets it as its word.
                let with = Continue { domain: token.domain, ticket: 0, part }.into_event(cx, site);
                token.commit(Some((highest, with)), cx)
            }
        }
    }

    fn discard(self, _: Word) {
        self.token.domain.core.count_dropped(1);
        self.token.domain.core.count_in_vain(1);
        Last::drop_before(self.part, Some(self.token));
    }
}

/// Releases a token after something else has been dropped, even if that drop panics.
pub(super) struct Last<S: Send + Sync + 'static>(Option<Token<S>>);

impl<S: Send + Sync + 'static> Last<S> {
    /// Drops `first`, and then releases the token.
    pub(super) fn drop_before<T>(first: T, token: Option<Token<S>>) {
        let last = Last(token);
        drop(first);
        drop(last);
    }
}

impl<S: Send + Sync + 'static> Drop for Last<S> {
    fn drop(&mut self) {
        if let Some(token) = self.0.take() {
            token.release();
        }
    }
}

impl<S: Send + Sync + 'static> Token<S> {
    /// Moves the event from global to anon.
    fn downgrade(&mut self, cx: &mut Cx) {
        let (domain, ticket, copy) = (self.domain, self.ticket, self.take_copy());
        let actions = std::mem::take(&mut self.actions);
        let mut batch = Batch::new();
        let (freed, version) = domain.store.with(|store| {
            let kept = store.data(ticket);
            kept.actions.append(actions);
            kept.left_global = true;
            domain.tell(ticket, || DomainStep::Downgrades);
            let (freed, version) = store.downgrade(ticket, copy);
            domain.collect(store, &mut batch);
            (freed, version)
        });
        self.version = Word::pointer(version.as_ptr());
        let core = &cx.local().core;
        domain.settle(core, &mut batch, None, None);
        drop_freed(core, freed);
    }

    /// Goes on with `part` when the order allows it, which may be at once. `ask` tells the order
    /// what the event waits for.
    fn wait<K: Part<S>>(
        self,
        part: K,
        site: Site,
        cx: &mut Cx,
        ask: impl FnOnce(&mut DomainStore<S>, Ticket, Freed<S>, Waiting) -> Freed<S>,
    ) {
        let (domain, ticket, actions, copy) = self.dismantle();
        let ticket_number = ticket.number() | LATER;
        let with = Continue { domain, ticket: ticket_number, part }.into_event(cx, site);
        let mut batch = Batch::new();
        let freed = domain.store.with(|store| {
            store.data(ticket).actions.append(actions);
            let freed = ask(store, ticket, copy, with);
            domain.collect(store, &mut batch);
            freed
        });
        let next = cx.split(|local, cx| {
            let next = domain.settle(&local.core, &mut batch, Some(ticket), Some(cx));
            drop_freed(&local.core, freed);
            next.map(|next| Done::of(&local.core, next.0))
        });
        if let Some(next) = next {
            next.carry_out(cx);
        }
    }
}

/// The last step of an event, which commits.
struct End<S: Send + Sync + 'static>(Token<S>);

/// The last action of an event whose commit is awaited. If it is dropped unrun, poison covers the
/// event, or the runtime stops.
struct Told(Option<Promise<()>>);

impl Told {
    fn tell(mut self) {
        if let Some(promise) = self.0.take() {
            promise.keep(Ok(()));
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(promise) = &mut self.0
            && super::commit::is_covered()
        {
            promise.drop_means_poison();
        }
    }
}

impl<S: Send + Sync + 'static> End<S> {
    /// Has a promise kept when the event has committed, after all of its deferred actions. Returns
    /// the event, and `true`, because the event ends with the step.
    ///
    /// # Safety
    ///
    /// The caller owns the event, which contains an `End<S>` that has not been consumed.
    unsafe fn notify(event: &mut Owned, promise: Option<Promise<()>>) -> (EventId, bool) {
        // SAFETY: the caller says that the event contains an `End<S>` that has not been consumed.
        let end = unsafe { event.step_mut::<Self>() };
        if let Some(promise) = promise {
            let told = Told(Some(promise));
            end.0.defer(move |_| told.tell(), Site::caller());
        }
        (end.0.event_id(), true)
    }
}

impl<S: Send + Sync + 'static> Step for End<S> {
    fn run(self, _: Word, cx: &mut Cx) {
        self.0.commit(None, cx);
    }

    fn discard(self, _: Word) {
        self.0.domain.core.count_dropped(1);
        self.0.domain.core.count_in_vain(1);
        self.0.release();
    }
}

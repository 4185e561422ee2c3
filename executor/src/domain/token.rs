//! The token of an event: its domain, its ticket, and what it has deferred. Holding it is the right
//! to the place in the order and to the context (I16); all types of the public API wrap it, and the
//! runtime acts on nothing else.
//!
//! A token that is dropped without a commit releases state and place as a panic does (I12). That
//! runs no user code: what it leaves is dropped as an event.

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

/// The version is a copy of the event's own.
const COPY: usize = 2;
const TAGS: usize = READ | COPY;

/// See the module.
pub(super) struct Token<S: Send + Sync + 'static> {
    pub(super) domain: DomainPtr<S>,
    pub(super) ticket: Ticket,
    /// Deferred since the last step under the lock that took them.
    actions: Actions,
    /// The state in anon and global, with tags; null in none.
    version: Word,
}

// SAFETY: the state is Send and Sync, the actions are Send, and a version is reached by the rules
// of `store`.
unsafe impl<S: Send + Sync> Send for Token<S> {}
// SAFETY: a shared token gives `&S` and nothing else.
unsafe impl<S: Send + Sync> Sync for Token<S> {}

impl<S: Send + Sync + 'static> Token<S> {
    /// The token of an event that goes on. `version`: the word of its step, null in none.
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

    /// # Safety
    ///
    /// The event is in anon or global.
    #[inline]
    pub(super) unsafe fn state(&self) -> &S {
        self.domain.tell(self.ticket, || DomainStep::Reads);
        // SAFETY: in anon and global the version is there, and nobody writes to it: in anon it is
        // pinned, in global only this event does, through `&mut self`.
        unsafe { &*self.plain().as_ref().state().get() }
    }

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
        // SAFETY: the event is in global. By the rules of `store` a copy is this event's own, and
        // the current version is if nobody reads it.
        unsafe { &mut *self.plain().as_ref().state().get() }
    }

    /// Somebody may read the version, or it has to be kept: writes go to a copy.
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
        let copy = self.domain.copy.expect("only a mode that can copy lets others read");
        // SAFETY: the caller says that the event is in global.
        let state = copy(unsafe { self.state() });
        self.version = Word::pointer(NonNull::from(Box::leak(Version::new(state)))).tagged(COPY);
    }

    #[inline]
    fn plain(&self) -> NonNull<Version<S>> {
        self.version.without(TAGS).as_pointer().expect("in anon and global there is a version")
    }

    /// The copy, if the event has made one.
    #[inline]
    fn take_copy(&mut self) -> Freed<S> {
        let version = std::mem::replace(&mut self.version, Word::NONE);
        let copy = version.without(TAGS).as_pointer().filter(|_| version.tags(COPY) != 0);
        // SAFETY: a copy is the event's own, and was a box.
        copy.map(|copy: NonNull<Version<S>>| unsafe { Box::from_raw(copy.as_ptr()) })
    }

    /// The parts, without the drop.
    #[inline]
    fn dismantle(mut self) -> (DomainPtr<S>, Ticket, Actions, Freed<S>) {
        let parts = (self.domain, self.ticket, std::mem::take(&mut self.actions), self.take_copy());
        std::mem::forget(self);
        parts
    }

    /// The event has left the state, and commits when its turn comes; below a worker's own loop.
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
            if !batch.has_actions() {
                // This worker is as good as free for what may go on now.
                local.steps.set(local.steps.get().ending());
            }
            domain.settle(core, &mut batch, None, Some(cx));
        }
        drop_freed(core, copy);
    }

    /// Ends the step by doing `what`, and then `part`.
    pub(super) fn then<K: Part<S>>(self, what: What, part: K, site: Site) -> Done {
        let domain = self.domain;
        self.place().ends();
        Done::new(&domain.core, Act { token: self, what, site, part }, site)
            .with_notice(Act::<S, K>::notice)
    }

    /// Ends the step by a commit.
    pub(super) fn end(self, site: Site) -> Done {
        let domain = self.domain;
        self.place().ends();
        Done::new(&domain.core, End(self), site).with_notice(End::<S>::notify)
    }

    /// Which event it is.
    pub(super) fn place(&self) -> EventId {
        EventId::new(self.domain.address(), self.ticket)
    }

    /// Ends an event that is in global and has not touched the state, as if it had panicked before:
    /// nobody waits for it any more.
    pub(super) fn cancel(mut self) {
        self.domain.core.count_panic();
        self.abandon(true, false);
        std::mem::forget(self);
    }

    /// Goes to a lower declaration.
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
    /// Releases state and place of an event that will not go on, as it was covered by poison, or as
    /// nothing runs any more.
    pub(super) fn release(mut self) {
        self.abandon(false, true);
        std::mem::forget(self);
    }

    /// `untouched`: the state is as it was before. `counted`: it is counted as dropped, if nothing
    /// runs any more.
    fn abandon(&mut self, untouched: bool, counted: bool) {
        let (domain, ticket) = (self.domain, self.ticket);
        // When the ticket is gone, the domain may go, and its core with it.
        let (core, label) = (domain.core.clone(), domain.label.clone());
        let (actions, copy) = (std::mem::take(&mut self.actions), self.take_copy());
        let _outside = Outside::enter(&core);
        let mut batch = Batch::new();
        let (abandoned, remains, site) = domain.store.with(|store| {
            // Once nothing runs any more, there is nobody to be kept from the state.
            let restores = untouched || domain.transactional || core.phase() >= Phase::Stopping;
            domain.tell(ticket, || DomainStep::Abandons);
            let (abandoned, version) = store.abandon(ticket, copy, restores);
            if abandoned == Abandoned::Poisons {
                domain.tell(ticket, || DomainStep::Poisons);
            }
            let kept = store.data(ticket);
            // What is left to the commit is counted there, if it is dropped.
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
            // The logger is foreign code, so it comes last.
            let label = label.as_deref();
            core.guard(Some(site), || {
                tracing::warn!(domain = label, %ticket, posted_at = %site, "a domain is poisoned");
            });
        }
    }
}

impl<S: Send + Sync + 'static> Drop for Token<S> {
    /// Its holder has not committed.
    fn drop(&mut self) {
        // A panic that unwinds, or has ended a task that is dropped now, is counted where it is
        // caught.
        if !crate::sync::panicking() && !crate::task::polled::is_after_a_panic() {
            self.domain.core.count_panic();
        }
        self.place().ends();
        self.abandon(false, false);
    }
}

/// How a step ends.
#[derive(Clone, Copy)]
pub(super) enum What {
    /// Another step in the same context follows.
    Stay,
    Upgrade(Context),
    Downgrade,
    /// The event waits to be alone (I9).
    Alone,
    /// A commit; what follows is a sub-event that may go so high.
    Commit(Context),
}

/// The end of a step that another one follows.
struct Act<S: Send + Sync + 'static, K> {
    token: Token<S>,
    what: What,
    site: Site,
    part: K,
}

impl<S: Send + Sync + 'static, K: Part<S>> Act<S, K> {
    /// Which event it is. It is not the end of it.
    ///
    /// # Safety
    ///
    /// The event is the caller's, and holds an `Act<S, K>` that has not been consumed.
    unsafe fn notice(event: &mut Owned, _: Option<Promise<()>>) -> (EventId, bool) {
        // SAFETY: the caller has the event, which holds such a step.
        (unsafe { event.step_mut::<Self>() }.token.place(), false)
    }
}

impl<S: Send + Sync + 'static, K: Part<S>> Step for Act<S, K> {
    fn run(self, _: Word, cx: &mut Cx) {
        let Act { mut token, what, site, part } = self;
        match what {
            What::Stay => part.run(token, cx),
            What::Downgrade => {
                token.downgrade(cx);
                part.run(token, cx)
            }
            What::Upgrade(context) => token.wait(part, site, cx, |store, ticket, _, with| {
                store.want(ticket, context, with);
                None
            }),
            What::Alone => {
                let domain = token.domain;
                token.wait(part, site, cx, |store, ticket, copy, with| {
                    domain.tell(ticket, || DomainStep::WaitsToBeAlone);
                    store.alone(ticket, copy, with)
                })
            }
            What::Commit(highest) => {
                // It has no ticket yet: that comes as its word.
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

/// Releases a token when something else has been dropped, also if that drop panics.
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
    /// The event goes from global to anon.
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

    /// The event goes on with `part` when the order says so, which may be at once.
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

/// The end of an event.
struct End<S: Send + Sync + 'static>(Token<S>);

/// The last action of an event whose commit is awaited. If it is dropped instead of run, poison
/// covers the event, or nothing runs any more.
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
            promise.is_poisoned();
        }
    }
}

impl<S: Send + Sync + 'static> End<S> {
    /// Has a promise kept when the event has committed, after everything that it has deferred.
    /// Also: which event it is.
    ///
    /// # Safety
    ///
    /// The event is the caller's, and holds an `End<S>` that has not been consumed.
    unsafe fn notify(event: &mut Owned, promise: Option<Promise<()>>) -> (EventId, bool) {
        // SAFETY: the caller says that the event holds an `End<S>`.
        let end = unsafe { event.step_mut::<Self>() };
        if let Some(promise) = promise {
            let told = Told(Some(promise));
            end.0.defer(move |_| told.tell(), Site::caller());
        }
        (end.0.place(), true)
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

//! Posting to a domain: an event takes its ticket (I1), and the context that it wants, if that is
//! free.

use dapple_colors::{Access, Context, Ticket};

use super::contexts::Rights;
use super::engine::Batch;
use super::fate::{Fate, Undecided};
use super::handle::Domain;
use super::inner::{Deferred, DomainPtr, DomainStore, Waiting, own_event};
use super::part::{Continue, IntoClosure, Part};
use crate::error::TryPostError;
use crate::event::large::is_large;
use crate::event::{Step, Word};
use crate::post::{Posting, refuse};
use crate::runtime::core::Phase;
use crate::site::Site;
use crate::sync::{Arc, DomainStep, Ordering, Point, fence, point};
use crate::turn::local::Local;
use crate::turn::outside::Outside;
use crate::{Color, Cx};

/// The way in which an event enters the order.
#[derive(Clone, Copy)]
pub(super) struct Needs {
    /// The highest context that the event may enter.
    highest: Context,
    /// The context in which the event begins.
    wants: Context,
    repairs: bool,
}

impl Needs {
    pub(super) const GLOBAL: Needs =
        Needs { wants: Context::Global, ..Needs::none(Context::Global) };
    pub(super) const ANON: Needs = Needs { wants: Context::Anon, ..Needs::none(Context::Anon) };
    pub(super) const REPAIR: Needs = Needs { repairs: true, ..Needs::GLOBAL };

    /// Returns the needs of an event of several steps that begins in none, with the rights `R`.
    pub(super) const fn of<R: Rights>() -> Needs {
        Needs::none(R::HIGHEST)
    }

    pub(super) const fn none(highest: Context) -> Needs {
        Needs { highest, wants: Context::None, repairs: false }
    }
}

impl<S: Send + Sync + 'static> Domain<S> {
    /// Posts an event, and returns its ticket, or `None` if the post was refused.
    #[inline]
    pub(super) fn post<K: Part<S>>(&self, entry: Needs, part: K, site: Site) -> Option<Ticket> {
        match self.enter(entry, part, false, site) {
            Ok(ticket) => Some(ticket),
            Err(TryPostError::Full(part) | TryPostError::Closed(part)) => {
                refuse(&self.0.core, part, site);
                None
            }
        }
    }

    fn try_post<K: Part<S> + IntoClosure>(
        &self,
        entry: Needs,
        part: K,
        site: Site,
    ) -> Result<(), TryPostError<K::Closure>> {
        let entered = self.enter(entry, part, true, site);
        entered.map(|_| ()).map_err(|error| error.map(K::into_closure))
    }

    /// Posts the part that `part` makes of a closure, or that `boxed` makes of a large one, unless
    /// the domain is full.
    #[inline]
    pub(super) fn try_closure<F, K, L>(
        &self,
        entry: Needs,
        f: F,
        part: impl FnOnce(F) -> K,
        boxed: impl FnOnce(Box<F>) -> L,
        site: Site,
    ) -> Result<(), TryPostError<F>>
    where
        K: Part<S> + IntoClosure<Closure = F>,
        L: Part<S> + IntoClosure<Closure = Box<F>>,
    {
        if is_large::<F>() {
            let tried = self.try_post(entry, boxed(Box::new(f)), site);
            return tried.map_err(|error| error.map(|f| *f));
        }
        self.try_post(entry, part(f), site)
    }

    /// Takes a ticket (I1), and queues the event or has it wait for its context.
    #[inline]
    fn enter<K: Part<S>>(
        &self,
        entry: Needs,
        part: K,
        is_limited: bool,
        site: Site,
    ) -> Result<Ticket, TryPostError<K>> {
        Local::with(&self.0.core, |local| self.enter_from(local, entry, part, is_limited, site))
    }

    #[inline]
    fn enter_from<K: Part<S>>(
        &self,
        local: Option<&Local>,
        entry: Needs,
        part: K,
        is_limited: bool,
        site: Site,
    ) -> Result<Ticket, TryPostError<K>> {
        let domain = self.0;
        let core = &*domain.core;
        if !core.accepts(local) {
            return Err(TryPostError::Closed(part));
        }
        let (memory, posted) = (core.memory(local), core.stamp(local));
        let fate = part.fate();
        // The event is made before the lock is taken, and completed under it.
        let event = Continue { domain, ticket: 0, part }.write(memory, site, posted);
        let _outside = Outside::on(core, local);
        let mut batch = Batch::new();
        let mut entrant = Entrant { domain, event: Some(event), fate, site, ticket: 0 };
        let is_refused = domain.store.with(|store| {
            let is_full = store.order().is_full();
            batch.exceeded = u64::from(is_full);
            if is_full && is_limited {
                return true;
            }
            entrant.enter::<K>(entry, store, &mut batch);
            false
        });
        let Entrant { event, ticket, .. } = entrant;
        match event {
            None => {
                domain.settle(core, &mut batch, None, None);
            }
            Some(event) if batch.exceeded == 0 => match local {
                Some(local) => local.queue_event(event.0),
                None => core.queue_event(event.0),
            },
            Some(event) if !is_refused => {
                core.count_over_limit(batch.exceeded);
                core.queue_event(event.0);
            }
            Some(Waiting(mut event)) => {
                // SAFETY: this call wrote a `Continue<S, K>` into the event, with memory of this
                // runtime. The event was refused, so it has not run.
                unsafe {
                    let step = event.take_step::<Continue<S, K>>();
                    core.free_memory(event.into_memory());
                    return Err(TryPostError::Full(step.part));
                }
            }
        }
        point(Point::Posted);
        Ok(Ticket::from_number(ticket))
    }
}

/// An event that is about to enter the order.
struct Entrant<S: Send + Sync + 'static> {
    domain: DomainPtr<S>,
    /// The event, until it waits in the order. If it is still here after [`enter`](Self::enter), it
    /// may run, and nothing else follows. Otherwise the decisions that follow have been collected.
    event: Option<Waiting>,
    fate: Option<Arc<Fate>>,
    site: Site,
    ticket: u64,
}

impl<S: Send + Sync + 'static> Entrant<S> {
    /// Gives the event its ticket, under the lock, and the context that it wants, if that is free.
    #[inline]
    fn enter<K: Part<S>>(
        &mut self,
        entry: Needs,
        store: &mut DomainStore<S>,
        batch: &mut Batch<S>,
    ) {
        let site = self.site;
        let kept = || Deferred::new(site);
        if entry.wants == Context::None {
            let ticket = store.take_ticket(entry.highest, kept());
            self.set_ticket::<K>(entry, store, ticket);
            return;
        }
        if !entry.repairs
            && let Some((ticket, version, is_read)) = store.enter_at_once(entry.wants, kept)
        {
            self.set_ticket::<K>(entry, store, ticket);
            self.domain.tell(ticket, || DomainStep::Enters(entry.wants));
            if let Some(event) = &mut self.event {
                event.set_version(version, is_read);
            }
            return;
        }
        let ticket = match entry.repairs {
            true => store.take_ticket_to_repair(kept()),
            false => store.take_ticket(entry.highest, kept()),
        };
        self.set_ticket::<K>(entry, store, ticket);
        if let Some(event) = self.event.take() {
            store.want(ticket, entry.wants, event);
        }
        self.domain.collect(store, batch);
    }

    #[inline]
    fn set_ticket<K: Part<S>>(&mut self, entry: Needs, store: &mut DomainStore<S>, ticket: Ticket) {
        self.domain.tell(ticket, || match entry.repairs {
            true => DomainStep::Repairs,
            false => DomainStep::Takes(entry.highest),
        });
        self.ticket = ticket.number();
        if let Some(event) = &mut self.event {
            // SAFETY: only `enter_from` makes an `Entrant`. It has written a `Continue<S, K>` with
            // the same `K` into the event, which has not run.
            unsafe { event.0.step_mut::<Continue<S, K>>().ticket = ticket.number() };
        }
        if let Some(fate) = self.fate.take() {
            store.data(ticket).fate = Some(Undecided::new(fate));
        }
    }
}

/// A closure that waits for room in a domain, and is then posted to a color.
pub(super) struct Room<S: Send + Sync + 'static, F> {
    pub(super) domain: Domain<S>,
    pub(super) color: Color,
    pub(super) f: F,
    pub(super) site: Site,
}

impl<S: Send + Sync + 'static, F: FnOnce(&mut Cx) + Send + 'static> Room<S, F> {
    pub(super) fn wait(self) {
        let handle = self.domain.clone();
        let (domain, core) = (handle.0, &*handle.0.core);
        let site = self.site;
        let event = Waiting(own_event(core, self, site));
        let _outside = Outside::enter(core);
        let mut batch = Batch::new();
        domain.store.with(|store| {
            store.wait_for_room(event);
            domain.collect(store, &mut batch);
        });
        domain.settle(core, &mut batch, None, None);
        // Partner: the fence of `Core::advance`. Either the thread that stops the runtime sees the
        // waiter, or this thread sees the new phase.
        fence(Ordering::SeqCst);
        if core.phase() >= Phase::Stopping {
            domain.take_waiters().into_iter().for_each(|event| core.queue_event(event));
        }
    }
}

impl<S: Send + Sync + 'static, F: FnOnce(&mut Cx) + Send + 'static> Step for Room<S, F> {
    fn run(self, _: Word, _: &mut Cx) {
        self.color.post_as(Access::Exclusive, self.f, Posting::open(self.site));
    }

    fn discard(self, _: Word) {}
}

//! Posting to a domain: an event gets its ticket (I1), and the context that it wants, if that is
//! free.

use dapple_colors::{Access, Context, Ticket};

use super::contexts::Rights;
use super::engine::Batch;
use super::fate::{Fate, Undecided};
use super::handle::Domain;
use super::inner::{Deferred, DomainPtr, DomainStore, Waiting, own_event};
use super::part::{Continue, Holds, Part};
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

/// How an event enters the order.
#[derive(Clone, Copy)]
pub(super) struct Needs {
    /// How high it may go.
    highest: Context,
    /// Where it goes at once.
    wants: Context,
    repairs: bool,
}

impl Needs {
    pub(super) const GLOBAL: Needs =
        Needs { wants: Context::Global, ..Needs::none(Context::Global) };
    pub(super) const ANON: Needs = Needs { wants: Context::Anon, ..Needs::none(Context::Anon) };
    pub(super) const REPAIR: Needs = Needs { repairs: true, ..Needs::GLOBAL };

    /// One of several steps that begins in none, with these rights.
    pub(super) const fn of<R: Rights>() -> Needs {
        Needs::none(R::HIGHEST)
    }

    pub(super) const fn none(highest: Context) -> Needs {
        Needs { highest, wants: Context::None, repairs: false }
    }
}

impl<S: Send + Sync + 'static> Domain<S> {
    /// Says which ticket it has got; `None`: it was refused.
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

    fn try_post<K: Part<S> + Holds>(
        &self,
        entry: Needs,
        part: K,
        site: Site,
    ) -> Result<(), TryPostError<K::Closure>> {
        let entered = self.enter(entry, part, true, site);
        entered.map(|_| ()).map_err(|error| error.map(K::into_closure))
    }

    /// Posts a closure as what `part` makes of it, or `boxed` if it is large, unless too many are
    /// uncommitted.
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
        K: Part<S> + Holds<Closure = F>,
        L: Part<S> + Holds<Closure = Box<F>>,
    {
        if is_large::<F>() {
            let tried = self.try_post(entry, boxed(Box::new(f)), site);
            return tried.map_err(|error| error.map(|f| *f));
        }
        self.try_post(entry, part(f), site)
    }

    /// Takes a ticket (I1), and queues the event or lets it wait for its context.
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
        // Made before the lock is taken, and completed under it.
        let event = Continue { domain, ticket: 0, part }.write(memory, site, posted);
        let _outside = Outside::on(core, local);
        let mut batch = Batch::new();
        let mut guest = Guest { domain, event: Some(event), fate, site, ticket: 0 };
        let is_refused = domain.store.with(|store| {
            let is_full = store.order().is_full();
            batch.exceeded = u64::from(is_full);
            if is_full && is_limited {
                return true;
            }
            guest.enter::<K>(entry, store, &mut batch);
            false
        });
        let Guest { event, ticket, .. } = guest;
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
                // SAFETY: it holds this, and is of this runtime.
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

/// An event that enters the order.
struct Guest<S: Send + Sync + 'static> {
    domain: DomainPtr<S>,
    /// `None`: it stands in the order, and what follows has been collected. If it is still here, it
    /// may run, and nothing else follows.
    event: Option<Waiting>,
    fate: Option<Arc<Fate>>,
    site: Site,
    ticket: u64,
}

impl<S: Send + Sync + 'static> Guest<S> {
    /// Gives it its ticket, under the lock, and the context that it wants, if it can have it at
    /// once.
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
            // SAFETY: `enter_from`, which alone makes a guest, has written a step of such a part
            // into it, and it has not run.
            unsafe { event.0.step_mut::<Continue<S, K>>().ticket = ticket.number() };
        }
        if let Some(fate) = self.fate.take() {
            store.data(ticket).fate = Some(Undecided::new(fate));
        }
    }
}

/// Somebody who waits for room.
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
        // Partner: the fence of `Core::advance`. Who stops the runtime sees the waiter, or it is
        // seen here.
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

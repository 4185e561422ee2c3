//! Watching over tickets: which is the oldest that has not committed, and for how long (I15, E12).
//!
//! A token that is kept somewhere, or forgotten, holds up every commit behind it, and no worker is
//! busy meanwhile. So now and then some worker looks at the domains of the runtime: whoever finds
//! that a look is due, be it between two entries or before it sleeps. As long as there are tickets
//! that have not committed, one of the sleeping workers wakes up for the next look, the *watcher*;
//! otherwise none does, when it has seen all. A watcher that rises gives that up: it looks between
//! two entries, or becomes the watcher again when it has nothing to do; and if it gets stuck in an
//! event, the sentinel looks (see `worker::sleep`). Where there is no sentinel, as nobody steals,
//! the others wake up for it now and then.
//!
//! A domain is in the register from its opening until it is freed. Who looks holds the register's lock, and the
//! domain's for a moment; who frees takes the domain out first.

use std::panic::Location;
use std::ptr::NonNull;
use std::time::Duration;

use dapple_colors::{Doing, Oldest, Ticket};

use super::inner::{DomainPtr, Inner};
use crate::chunks::Chunks;
use crate::clock::saturating_nanos;
use crate::event::Owned;
use crate::runtime::core::Core;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering, lock};
use crate::worker::local::Local;
use crate::worker::shared::add;

/// Looks in the time after which a ticket counts as stalled.
const LOOKS: u64 = 4;

/// How much more rarely those look that are not the watcher, where nobody stands sentinel.
const RARELY: u64 = 16;

/// Domains that one look sees; the next one goes on behind them.
const DOMAINS: usize = 256;

/// A ticket that has not committed for longer than it should, and that all later ones of its domain wait for, as the hook
/// of [`Builder::on_ticket_stall`](crate::Builder::on_ticket_stall) gets it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TicketStall<'a> {
    /// The ticket.
    pub ticket: Ticket,
    /// What its event is about.
    pub doing: Doing,
    /// Where the event was posted.
    pub site: &'static Location<'static>,
    /// The label of its domain, if it has one.
    pub label: Option<&'a str>,
    /// For how long it has been the oldest one, at least.
    pub waiting: Duration,
    /// How many events of the domain have not committed.
    pub uncommitted: usize,
}

/// What a look at a domain finds.
pub(super) struct Found {
    pub(super) oldest: Oldest,
    pub(super) site: &'static Location<'static>,
    pub(super) uncommitted: usize,
}

/// A domain in the register.
struct Watched {
    domain: NonNull<()>,
    look: unsafe fn(NonNull<()>) -> Option<Found>,
    /// Takes out who waits for room; see [`Register::end_waits`].
    take_waiters: unsafe fn(NonNull<()>) -> Vec<Owned>,
    label: Option<Arc<str>>,
    /// What was the oldest at the last look, since when, and whether that has been reported.
    last: Option<(Ticket, u64, bool)>,
}

// SAFETY: the pointer is used by `look` only, which takes the domain's lock.
unsafe impl Send for Watched {}

/// The domains of a runtime.
#[derive(Default)]
pub(crate) struct Register {
    watched: Mutex<Chunks<Watched>>,
    len: AtomicUsize,
    /// When the next look is due, on the runtime's clock.
    due: AtomicU64,
    /// Where it begins, and whether a ticket has been seen open since the first domain.
    next: AtomicUsize,
    seen_open: AtomicBool,
    /// Number plus one of the watcher; 0: none.
    watcher: AtomicUsize,
}

impl Register {
    /// Takes a domain in, and says under which key.
    pub(super) fn enter<S: Send + Sync + 'static>(&self, domain: NonNull<Inner<S>>) -> usize {
        /// # Safety
        ///
        /// The domain is in the register, whose lock the caller has.
        unsafe fn look<S: Send + Sync + 'static>(domain: NonNull<()>) -> Option<Found> {
            DomainPtr::<S>(domain.cast()).look()
        }
        /// # Safety
        ///
        /// As above.
        unsafe fn take_waiters<S: Send + Sync + 'static>(domain: NonNull<()>) -> Vec<Owned> {
            DomainPtr::<S>(domain.cast()).take_waiters()
        }
        // SAFETY: the caller has just made it.
        let label = unsafe { domain.as_ref() }.label.clone();
        let watched = Watched {
            domain: domain.cast(),
            look: look::<S>,
            take_waiters: take_waiters::<S>,
            label,
            last: None,
        };
        let mut all = lock(&self.watched);
        self.len.store(all.len() + 1, Ordering::Relaxed);
        all.insert(watched)
    }

    /// Takes a domain out, which is about to be freed.
    pub(super) fn leave(&self, key: usize) {
        let mut all = lock(&self.watched);
        drop(all.remove(key));
        self.len.store(all.len(), Ordering::Relaxed);
    }
}

impl Register {
    /// Has any domain a ticket that has not committed?
    pub(crate) fn is_open(&self) -> bool {
        // SAFETY: each domain is in the register, whose lock we have.
        let is_open = |watched: &Watched| unsafe { (watched.look)(watched.domain) }.is_some();
        lock(&self.watched).iter().any(is_open)
    }

    /// The runtime stops, and no domain commits any more: who waits for room in one is let go. They
    /// are dropped unrun, which tells them.
    pub(crate) fn end_waits(&self, core: &Core) {
        // SAFETY: each domain is in the register, whose lock we have.
        let take = |watched: &Watched| unsafe { (watched.take_waiters)(watched.domain) };
        let waiters: Vec<_> = lock(&self.watched).iter().flat_map(take).collect();
        waiters.into_iter().for_each(|event| core.queue_event(event));
    }
}

impl Local {
    /// Is a look at the domains due?
    pub(crate) fn is_look_due(&self, now: u64) -> bool {
        let register = &self.core.domains;
        register.len.load(Ordering::Relaxed) > 0 && now >= register.due.load(Ordering::Relaxed)
    }

    /// Looks at the domains, if that is due. The answer: how many nanoseconds a worker may sleep until the next
    /// look; none if there is nothing to look at.
    pub(crate) fn watch_tickets(&self, now: u64) -> Option<u64> {
        let register = &self.core.domains;
        if register.len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let interval = saturating_nanos(self.core.settings.stall_after) / LOOKS;
        let interval = interval.max(1_000_000);
        let due = register.due.load(Ordering::Relaxed);
        if now < due {
            return Some(due - now);
        }
        let next = now.saturating_add(interval);
        let mine =
            register.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        (!mine || self.look_at_domains(now)).then_some(interval)
    }

    /// A worker that is about to sleep, and has been told by [`watch_tickets`](Self::watch_tickets)
    /// when the next look is due: for how many nanoseconds may it sleep? None: as long as it likes,
    /// as somebody else watches.
    pub(crate) fn sleep_until_look(&self, nanos: u64) -> Option<u64> {
        let (watcher, me) = (&self.core.domains.watcher, self.index + 1);
        let taken = watcher.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed);
        match taken {
            Err(other) if other != me && self.steals() => None,
            Err(other) if other != me => Some(nanos.saturating_mul(RARELY)),
            _ => Some(nanos),
        }
    }

    /// It does not sleep any more.
    pub(crate) fn end_watch(&self) {
        let watcher = &self.core.domains.watcher;
        if watcher.load(Ordering::Relaxed) == self.index + 1 {
            watcher.store(0, Ordering::Relaxed);
        }
    }

    /// True: some ticket has not committed.
    fn look_at_domains(&self, now: u64) -> bool {
        let register = &self.core.domains;
        let mut stalls = Vec::new();
        let mut is_open = false;
        {
            let mut all = lock(&register.watched);
            let first = register.next.load(Ordering::Relaxed);
            let mut is_round = true;
            for (seen, (key, watched)) in all.iter_mut_from(first).enumerate() {
                if seen == DOMAINS {
                    is_round = false;
                    break;
                }
                register.next.store(key + 1, Ordering::Relaxed);
                // SAFETY: the domain is in the register, whose lock we have.
                let Some(found) = (unsafe { (watched.look)(watched.domain) }) else {
                    watched.last = None;
                    continue;
                };
                is_open = true;
                stalls.extend(watched.note(found, now, &self.core));
            }
            // Whether there is anything to look at again is known when all have been seen.
            is_open |= register.seen_open.load(Ordering::Relaxed);
            register.seen_open.store(is_open && !is_round, Ordering::Relaxed);
            if is_round {
                register.next.store(0, Ordering::Relaxed);
            }
            is_open |= !is_round;
        }
        for (found, waiting, label) in stalls {
            self.report_ticket(&found, waiting, label.as_deref());
        }
        is_open
    }

    fn report_ticket(&self, found: &Found, waiting: u64, label: Option<&str>) {
        add(&self.shared().counters.ticket_stalls, 1);
        let report = TicketStall {
            ticket: found.oldest.ticket,
            doing: found.oldest.doing,
            site: found.site,
            label,
            waiting: Duration::from_nanos(waiting),
            uncommitted: found.uncommitted,
        };
        match self.core.settings.ticket_hook() {
            Some(hook) => self.guard(Some(found.site), || hook(&report)),
            None => tracing::warn!(
                domain = label,
                ticket = %report.ticket,
                doing = %report.doing,
                posted_at = %report.site,
                waiting_ms = report.waiting.as_millis() as u64,
                uncommitted = report.uncommitted,
                "a ticket does not commit, and others wait for it"
            ),
        }
    }
}

impl Watched {
    /// Notes what was found, and says whether it is to be reported: with the time for which it has been so.
    fn note(
        &mut self,
        found: Found,
        now: u64,
        core: &Core,
    ) -> Option<(Found, u64, Option<Arc<str>>)> {
        let ticket = found.oldest.ticket;
        let (since, reported) = match self.last {
            Some((last, since, reported)) if last == ticket => (since, reported),
            _ => (now, false),
        };
        let waiting = now.saturating_sub(since);
        let is_stalled = waiting >= saturating_nanos(core.settings.stall_after);
        self.last = Some((ticket, since, reported || is_stalled));
        (is_stalled && !reported).then(|| (found, waiting, self.label.clone()))
    }
}

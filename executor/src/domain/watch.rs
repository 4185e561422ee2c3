//! Watching over tickets: which is the oldest that has not committed, and for how long (I15, E12).
//!
//! A token that is kept somewhere, or forgotten, holds up every commit behind it, and no worker is
//! busy meanwhile. So now and then some worker looks at the domains of the runtime: the worker that
//! finds that a look is due, be it between two entries or before it sleeps. As long as there are
//! tickets that have not committed, one of the sleeping workers wakes up for the next look, the
//! *watcher*; otherwise none does, when it has seen all. A watcher that rises gives that up: it
//! looks between two entries, or becomes the watcher again when it has nothing to do; and if it
//! gets stuck in an event, the sentinel looks (see `worker::sleep`). Where there is no sentinel, as
//! nobody steals, the others wake up for it now and then.
//!
//! A domain is in the register (`register`) from its opening until it is freed. Who looks holds the
//! register's lock, and the domain's for a moment; who frees takes the domain out first.

use std::time::Duration;

use super::register::Stalled;
use crate::clock::saturating_nanos;
use crate::report::{TicketStall, has_subscriber, tell};
use crate::sync::{Ordering, lock};
use crate::turn::local::Local;
use crate::worker::counters::add;

/// Looks in the time after which a ticket counts as stalled.
const LOOKS: u64 = 4;

/// How much more rarely those look that are not the watcher, where nobody stands sentinel.
const RARELY: u64 = 16;

/// Domains that one look sees; the next one goes on behind them.
const DOMAINS: usize = 256;

impl Local {
    /// Says whether a look at the domains is due.
    pub(crate) fn is_look_due(&self, now: u64) -> bool {
        let register = &self.core.domains;
        register.len.load(Ordering::Relaxed) > 0 && now >= register.due.load(Ordering::Relaxed)
    }

    /// Looks at the domains, if that is due. The answer: how many nanoseconds a worker may sleep
    /// until the next look; none if there is nothing to look at.
    pub(crate) fn watch_tickets(&self, now: u64) -> Option<u64> {
        let register = &self.core.domains;
        if register.len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let interval = saturating_nanos(self.core.settings.rules.stall_after) / LOOKS;
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

    /// For how many nanoseconds a worker may sleep that is about to, and has been told by
    /// [`watch_tickets`](Self::watch_tickets) when the next look is due. `None`: as long as it
    /// likes, as somebody else watches.
    pub(crate) fn sleep_until_look(&self, nanos: u64) -> Option<u64> {
        let (watcher, me) = (&self.core.domains.watcher, self.index() + 1);
        let taken = watcher.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed);
        match taken {
            Err(other) if other != me && self.scheduler.steals() => None,
            Err(other) if other != me => Some(nanos.saturating_mul(RARELY)),
            _ => Some(nanos),
        }
    }

    /// Has the worker give up being the watcher, as it no longer sleeps.
    pub(crate) fn end_watch(&self) {
        let watcher = &self.core.domains.watcher;
        if watcher.load(Ordering::Relaxed) == self.index() + 1 {
            watcher.store(0, Ordering::Relaxed);
        }
    }

    /// True: some ticket has not committed.
    fn look_at_domains(&self, now: u64) -> bool {
        let register = &self.core.domains;
        let mut stalls = Vec::new();
        let mut is_open = false;
        let stall_after = saturating_nanos(self.core.settings.rules.stall_after);
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
                let (has_ticket, stalled) = watched.look(now, stall_after);
                is_open |= has_ticket;
                stalls.extend(stalled);
            }
            // Whether there is anything to look at again is known when all have been seen.
            is_open |= register.seen_open.load(Ordering::Relaxed);
            register.seen_open.store(is_open && !is_round, Ordering::Relaxed);
            if is_round {
                register.next.store(0, Ordering::Relaxed);
            }
            is_open |= !is_round;
        }
        stalls.iter().for_each(|stalled| self.report_ticket(stalled));
        is_open
    }

    fn report_ticket(&self, stalled: &Stalled) {
        let Stalled { found, waiting, label } = stalled;
        add(&self.scheduler.shared().counters.ticket_stalls, 1);
        let report = TicketStall {
            ticket: found.oldest.ticket,
            doing: found.oldest.doing,
            site: found.site,
            label: label.as_deref(),
            waiting: Duration::from_nanos(*waiting),
            uncommitted: found.uncommitted,
        };
        match self.core.settings.ticket_hook() {
            Some(hook) => self.guard(Some(found.site), || hook(&report)),
            None if has_subscriber() => tracing::warn!(
                domain = report.label,
                ticket = %report.ticket,
                doing = %report.doing,
                posted_at = %report.site,
                waiting_ms = report.waiting.as_millis() as u64,
                uncommitted = report.uncommitted,
                "a ticket does not commit, and others wait for it"
            ),
            None => tell(&report),
        }
    }
}

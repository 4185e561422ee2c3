//! The watch over tickets: which is the oldest uncommitted one, and for how long (I15, E12).
//!
//! A token that is kept somewhere, or forgotten, delays every commit behind it, and no worker is
//! busy meanwhile. So the workers look at the domains of the runtime, four times in the stall
//! threshold but at most once in 1 ms. The worker that finds that a look is due does it, between
//! two entries or before it sleeps. As long as there are tickets that have not committed, one of
//! the sleeping workers, the *watcher*, wakes up for the next look. Once a look has seen all
//! domains and no such ticket, none does.
//!
//! A watcher that wakes up gives up the watch. It looks between two entries, or becomes the watcher
//! again when it has nothing to do. If it gets stuck in an event, the sentinel looks (see
//! `worker::sleep`). A runtime that does not steal has no sentinel. There the other workers wake up
//! for a look, too, at intervals that are 16 times as long.
//!
//! A domain is in the register (`register`) from its opening until it is freed. A thread that looks
//! has the register's lock, and each domain's lock for a moment. A thread that frees a domain takes
//! it out of the register first.

use std::time::Duration;

use super::register::Stalled;
use crate::clock::saturating_nanos;
use crate::report::{TicketStall, has_subscriber, tell};
use crate::sync::{Ordering, lock};
use crate::turn::local::Local;
use crate::worker::counters::add;

/// The number of looks in the time after which a ticket counts as stalled.
const LOOKS: u64 = 4;

/// The factor by which workers other than the watcher look more rarely, where there is no sentinel.
const RARELY: u64 = 16;

/// The number of domains that one look sees. The next look goes on behind them.
const DOMAINS: usize = 256;

impl Local {
    /// Returns `true` if a look at the domains is due.
    pub(crate) fn is_look_due(&self, now: u64) -> bool {
        let register = &self.core.domains;
        register.len.load(Ordering::Relaxed) > 0 && now >= register.due.load(Ordering::Relaxed)
    }

    /// Looks at the domains, if that is due. Returns the nanoseconds that a worker may sleep until
    /// the next look, or `None` if no ticket has to be watched.
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

    /// Returns the nanoseconds that this worker, which is about to sleep, may sleep. `nanos` is the
    /// time until the next look, as [`watch_tickets`](Self::watch_tickets) has returned it. `None`
    /// means that another worker watches, so this one may sleep without a limit.
    pub(crate) fn sleep_until_look(&self, nanos: u64) -> Option<u64> {
        let (watcher, me) = (&self.core.domains.watcher, self.index() + 1);
        let taken = watcher.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed);
        match taken {
            Err(other) if other != me && self.scheduler.steals() => None,
            Err(other) if other != me => Some(nanos.saturating_mul(RARELY)),
            _ => Some(nanos),
        }
    }

    /// Gives up the watch, as the worker no longer sleeps.
    pub(crate) fn end_watch(&self) {
        let watcher = &self.core.domains.watcher;
        if watcher.load(Ordering::Relaxed) == self.index() + 1 {
            watcher.store(0, Ordering::Relaxed);
        }
    }

    /// Looks at the domains. Returns `true` if a ticket has not committed, or if some domains have
    /// not been seen yet.
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
            // Only when all domains have been seen is it known whether another look is needed.
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
                "a ticket has not committed for a long time, and others may wait for it"
            ),
            None => tell(&report),
        }
    }
}

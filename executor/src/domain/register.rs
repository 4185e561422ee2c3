//! The register of a runtime's domains, for the workers that look at all of them; see `watch`.

use std::time::Duration;

use dapple_colors::{Doing, Oldest, Ticket};

use crate::chunks::Chunks;
use crate::site::Site;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering, lock};

/// The oldest uncommitted event of a domain, as a look at the domain finds it.
pub(super) struct Found {
    pub(super) oldest: Oldest,
    pub(super) site: Site,
    pub(super) uncommitted: usize,
}

/// A domain as the register sees it. The register does not keep the domain, which leaves it before
/// it is freed.
pub(super) trait Observed: Send {
    /// Returns the oldest event that has not committed.
    fn look(&self) -> Option<Found>;
    /// Takes out the events that wait for room. The returned closure queues them, outside any lock,
    /// so that they are dropped unrun.
    fn end_waits(&self) -> Box<dyn FnOnce() + Send>;
}

/// A domain in the register.
pub(super) struct Watched {
    domain: Box<dyn Observed>,
    label: Option<Arc<str>>,
    /// The oldest ticket at the last look, the time since when it has been the oldest, and whether
    /// it has been reported.
    last: Option<(Ticket, u64, bool)>,
}

/// The domains of a runtime, and the state of the watch over them.
#[derive(Default)]
pub(crate) struct Register {
    pub(super) watched: Mutex<Chunks<Watched>>,
    pub(super) len: AtomicUsize,
    /// The time when the next look is due, in nanoseconds on the runtime's clock.
    pub(super) due: AtomicU64,
    /// The key at which the next look begins, and whether a ticket has been seen open since the
    /// first key.
    pub(super) next: AtomicUsize,
    pub(super) seen_open: AtomicBool,
    /// The index of the watcher plus one, or 0 if there is none.
    pub(super) watcher: AtomicUsize,
}

impl Register {
    /// Adds a domain, and returns its key.
    pub(super) fn enter(&self, domain: Box<dyn Observed>, label: Option<Arc<str>>) -> usize {
        let mut all = lock(&self.watched);
        self.len.store(all.len() + 1, Ordering::Relaxed);
        all.insert(Watched { domain, label, last: None })
    }

    /// Removes a domain, which is about to be freed.
    pub(super) fn remove(&self, key: usize) {
        let mut all = lock(&self.watched);
        drop(all.remove(key));
        self.len.store(all.len(), Ordering::Relaxed);
    }

    /// Returns `true` if a domain has a ticket that has not committed.
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.watched).iter().any(|watched| watched.domain.look().is_some())
    }

    /// Ends the waits for room in all domains, since no event commits any longer. The events that
    /// wait are dropped unrun, which tells their owners.
    pub(crate) fn end_waits(&self) {
        let ends: Vec<_> = lock(&self.watched).iter().map(|w| w.domain.end_waits()).collect();
        ends.into_iter().for_each(|end| end());
    }
}

impl Watched {
    /// Looks at the domain, and returns its figures, or `None` if all of its events have committed.
    fn figures(&mut self, now: u64) -> Option<DomainFigures> {
        let Found { oldest, site, uncommitted } = self.domain.look()?;
        let (ticket, doing) = (oldest.ticket, oldest.doing);
        let (since, _) = self.since(ticket, now);
        let waiting = Duration::from_nanos(now.saturating_sub(since));
        let label = self.label.clone();
        Some(DomainFigures { label, uncommitted, ticket, doing, site, waiting })
    }

    /// Returns the time since when this ticket has been known to be the oldest one, and whether
    /// that has been reported.
    fn since(&mut self, ticket: Ticket, now: u64) -> (u64, bool) {
        match self.last {
            Some((last, since, reported)) if last == ticket => (since, reported),
            _ => {
                self.last = Some((ticket, now, false));
                (now, false)
            }
        }
    }

    /// Looks at the domain. Returns whether it has a ticket that has not committed, and that ticket
    /// if it is to be reported now: if it has been the oldest one for `stall_after` nanoseconds.
    pub(super) fn look(&mut self, now: u64, stall_after: u64) -> (bool, Option<Stalled>) {
        let Some(found) = self.domain.look() else {
            self.last = None;
            return (false, None);
        };
        let ticket = found.oldest.ticket;
        let (since, reported) = self.since(ticket, now);
        let waiting = now.saturating_sub(since);
        let is_stalled = waiting >= stall_after;
        self.last = Some((ticket, since, reported || is_stalled));
        let stalled = (is_stalled && !reported).then(|| Stalled {
            found,
            waiting,
            label: self.label.clone(),
        });
        (true, stalled)
    }
}

/// The figures of a domain that has uncommitted events; see
/// [`Handle::open_domains`](crate::Handle::open_domains).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DomainFigures {
    /// The label of the domain, if it has one.
    pub label: Option<Arc<str>>,
    /// The number of its events that have not committed.
    pub uncommitted: usize,
    /// The oldest ticket that has not committed.
    pub ticket: Ticket,
    /// What the event of this ticket does, or waits for.
    pub doing: Doing,
    /// The site that posted this event.
    pub site: Site,
    /// The time for which the ticket has been known to be the oldest one.
    ///
    /// It counts from the first look at the domain that found it so, so the true time may be
    /// longer. The runtime looks four times in the stall threshold, but at most once in 1 ms. Each
    /// call of `open_domains` is a look, too.
    pub waiting: Duration,
}

/// The number of domains that are looked at before the lock is released for a moment.
const AT_ONCE: usize = 256;

impl Register {
    /// Returns the domains that have uncommitted events, but at most `most` of them.
    pub(crate) fn open(&self, now: u64, most: usize) -> Vec<DomainFigures> {
        let (mut open, mut next) = (Vec::new(), Some(0));
        while let Some(first) = next {
            next = None;
            let mut all = lock(&self.watched);
            for (seen, (key, watched)) in all.iter_mut_from(first).enumerate() {
                if open.len() == most {
                    return open;
                }
                if seen == AT_ONCE {
                    next = Some(key);
                    break;
                }
                open.extend(watched.figures(now));
            }
        }
        open
    }
}

/// A ticket that is to be reported.
pub(super) struct Stalled {
    pub(super) found: Found,
    /// The time for which it has been known to be the oldest one, in nanoseconds.
    pub(super) waiting: u64,
    pub(super) label: Option<Arc<str>>,
}

//! The domains of a runtime, for those that look at all of them; see `watch`.

use std::time::Duration;

use dapple_colors::{Doing, Oldest, Ticket};

use crate::chunks::Chunks;
use crate::site::Site;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering, lock};

/// What a look at a domain finds.
pub(super) struct Found {
    pub(super) oldest: Oldest,
    pub(super) site: Site,
    pub(super) uncommitted: usize,
}

/// A domain as the register sees it. It does not keep the domain, which leaves the register before
/// it is freed.
pub(super) trait Looked: Send {
    /// The oldest event that has not committed.
    fn look(&self) -> Option<Found>;
    /// Takes out who waits for room; what is left to be done then is done without a lock.
    fn end_waits(&self) -> Box<dyn FnOnce() + Send>;
}

/// A domain in the register.
pub(super) struct Watched {
    domain: Box<dyn Looked>,
    label: Option<Arc<str>>,
    /// What was the oldest at the last look, since when, and whether that has been reported.
    last: Option<(Ticket, u64, bool)>,
}

/// The domains of a runtime.
#[derive(Default)]
pub(crate) struct Register {
    pub(super) watched: Mutex<Chunks<Watched>>,
    pub(super) len: AtomicUsize,
    /// When the next look is due, on the runtime's clock.
    pub(super) due: AtomicU64,
    /// Where it begins, and whether a ticket has been seen open since the first domain.
    pub(super) next: AtomicUsize,
    pub(super) seen_open: AtomicBool,
    /// Number plus one of the watcher; 0: none.
    pub(super) watcher: AtomicUsize,
}

impl Register {
    /// Takes a domain in, and says under which key.
    pub(super) fn enter(&self, domain: Box<dyn Looked>, label: Option<Arc<str>>) -> usize {
        let mut all = lock(&self.watched);
        self.len.store(all.len() + 1, Ordering::Relaxed);
        all.insert(Watched { domain, label, last: None })
    }

    /// Takes a domain out, which is about to be freed.
    pub(super) fn leave(&self, key: usize) {
        let mut all = lock(&self.watched);
        drop(all.remove(key));
        self.len.store(all.len(), Ordering::Relaxed);
    }

    /// Says whether any domain has a ticket that has not committed.
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.watched).iter().any(|watched| watched.domain.look().is_some())
    }

    /// Lets go who waits for room in a domain: none commits any more. They are dropped unrun, which
    /// tells them.
    pub(crate) fn end_waits(&self) {
        let ends: Vec<_> = lock(&self.watched).iter().map(|w| w.domain.end_waits()).collect();
        ends.into_iter().for_each(|end| end());
    }
}

impl Watched {
    /// Looks at the domain; `None`: all of its events have committed.
    fn figures(&mut self, now: u64) -> Option<DomainFigures> {
        let Found { oldest, site, uncommitted } = self.domain.look()?;
        let (ticket, doing) = (oldest.ticket, oldest.doing);
        let (since, _) = self.since(ticket, now);
        let waiting = Duration::from_nanos(now.saturating_sub(since));
        let label = self.label.clone();
        Some(DomainFigures { label, uncommitted, ticket, doing, site, waiting })
    }

    /// Since when this ticket has been known to be the oldest one, and whether that has been
    /// reported.
    fn since(&mut self, ticket: Ticket, now: u64) -> (u64, bool) {
        match self.last {
            Some((last, since, reported)) if last == ticket => (since, reported),
            _ => {
                self.last = Some((ticket, now, false));
                (now, false)
            }
        }
    }

    /// Looks at the domain, and says whether it has a ticket that has not committed; and, if that
    /// ticket is to be reported now, what it is, with the nanoseconds for which it has been the
    /// oldest one.
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

/// A domain that has events which have not committed; see
/// [`Handle::open_domains`](crate::Handle::open_domains).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DomainFigures {
    /// The label of the domain, if it has one.
    pub label: Option<Arc<str>>,
    /// How many of its events have not committed.
    pub uncommitted: usize,
    /// The oldest ticket of these.
    pub ticket: Ticket,
    /// What its event is about.
    pub doing: Doing,
    /// Where that event was posted.
    pub site: Site,
    /// For how long it has been the oldest one, at least: since a look at the domain first found it
    /// so. The runtime looks a few times in the stall threshold, and with each call.
    pub waiting: Duration,
}

/// Domains that are looked at before the lock is left for a moment.
const AT_ONCE: usize = 256;

impl Register {
    /// Domains with events that have not committed, `most` of them at most.
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
    /// For how many nanoseconds it has been the oldest one, at least.
    pub(super) waiting: u64,
    pub(super) label: Option<Arc<str>>,
}

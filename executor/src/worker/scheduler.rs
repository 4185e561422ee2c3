//! The part of a worker that only its own thread touches: its side of the run queues, what it has
//! learned, and whether it sleeps.
//!
//! All fields are cells: whatever runs on the worker reaches the same scheduler.

use std::cell::{Cell, RefCell};

use crossbeam_utils::CachePadded;
use dapple_colors::priority::Aging;

use super::affine::Affine;
use super::counters::Counters;
use super::figures::{UNKNOWN, blend, blend_thousandths};
use super::fleet::Fleet;
use super::lanes::Resorting;
use super::queues::OwnQueues;
use super::ready::{Credit, Sharing};
use super::rules::StealPolicy;
use super::run_queue::PUBLIC_NANOS;
use super::shared::Shared;
use super::work::{Host, Work};
use crate::sync::{Arc, Ordering, Reached, reached};

/// See the module.
pub(crate) struct Scheduler<W> {
    pub(crate) fleet: Arc<Fleet<W>>,
    shared: Arc<CachePadded<Shared<W>>>,
    pub(crate) index: usize,
    /// What is queued that is ready, and how much of it is served before the rest; see `ready`.
    pub(super) ready: OwnQueues<W>,
    pub(super) credit: Credit,
    pub(super) sharing: Sharing,
    /// Ready work may be shared with other workers, if that pays.
    pub(super) shares_ready: bool,
    /// What is queued that is not.
    pub(super) plain: OwnQueues<W>,
    /// What is queued that no other worker may run; see `affine`.
    pub(super) affine: Box<Affine<W>>,
    /// Something may be ready, here or elsewhere, or bound to this worker. No: nothing was put into
    /// these queues since they were empty.
    pub(super) has_special: Cell<bool>,
    pub(super) aging: Cell<Aging>,
    /// What is known of work that was raised to a higher class; see `lanes`.
    pub(super) resorting: Cell<Resorting>,
    /// The last reading of the clock, unless something has run since; 0: it has.
    now: Cell<u64>,
    /// Average time per run-queue entry, in nanoseconds; what is published.
    pub(crate) entry_nanos: Cell<u32>,
    /// How many events an entry exchanges with other colors, on average, in thousandths; what is
    /// published.
    pub(super) entry_traffic: Cell<u32>,
    /// Which workers this one stands in for, or did when it last looked.
    pub(super) attended: RefCell<Vec<usize>>,
    /// Whom this worker has asked for private work.
    asked: Cell<Option<usize>>,
    /// Counts looks at descriptors, and what came from other workers.
    pub(crate) polls: Cell<u64>,
    /// The worker has said that it sleeps, or spins; see [`rise`](Self::rise).
    is_idle: Cell<bool>,
    /// What runs has been suspended since the last look around (E18).
    pub(crate) was_suspended: Cell<bool>,
    steals: bool,
    pub(super) keeps_home: bool,
    /// Entries worth less than this, in nanoseconds, stay out of the deque.
    pub(super) public_from: u32,
    /// Plain entries worth less than this do: zero while thieves try short ones.
    pub(super) plain_from: Cell<u32>,
    /// Those worth at least this are worth waking somebody for.
    pub(super) wakes_from: u32,
}

impl<W: Work> Scheduler<W> {
    pub(super) fn new(
        fleet: &Arc<Fleet<W>>,
        index: usize,
        ready: OwnQueues<W>,
        plain: OwnQueues<W>,
    ) -> Self {
        let many = fleet.workers.len() > 1;
        let policy = fleet.rules.policy;
        let mut this = Self::create(fleet, index, ready, plain);
        this.shares_ready = many && policy == StealPolicy::CostAware;
        this.keeps_home = many && policy == StealPolicy::Off;
        this.public_from = match policy {
            StealPolicy::Eager if many => 0,
            StealPolicy::CostAware if many => PUBLIC_NANOS,
            _ => u32::MAX,
        };
        this.plain_from = Cell::new(this.public_from);
        this
    }

    /// One that is no worker's, for what is left when the workers are gone. What is queued on it
    /// stays with it, and its run queue is seen by nobody else.
    pub(crate) fn detached(fleet: &Arc<Fleet<W>>) -> Self {
        Self::create(fleet, 0, OwnQueues::detached(), OwnQueues::detached())
    }

    fn create(
        fleet: &Arc<Fleet<W>>,
        index: usize,
        ready: OwnQueues<W>,
        plain: OwnQueues<W>,
    ) -> Self {
        Scheduler {
            shared: Arc::clone(&fleet.workers[index]),
            index,
            ready,
            credit: Credit::default(),
            sharing: Sharing::default(),
            shares_ready: false,
            plain,
            affine: Box::default(),
            has_special: Cell::new(false),
            aging: Cell::default(),
            resorting: Cell::default(),
            now: Cell::new(0),
            entry_nanos: Cell::new(UNKNOWN),
            entry_traffic: Cell::new(0),
            attended: RefCell::default(),
            asked: Cell::new(None),
            polls: Cell::new(0),
            is_idle: Cell::new(false),
            was_suspended: Cell::new(false),
            steals: fleet.rules.steals(),
            keeps_home: false,
            public_from: 0,
            plain_from: Cell::new(0),
            wakes_from: fleet.wakes_from(),
            fleet: Arc::clone(fleet),
        }
    }

    /// Says whether this is no worker's.
    #[inline]
    pub(crate) fn is_detached(&self) -> bool {
        self.plain.is_detached()
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Shared<W> {
        &self.shared
    }

    /// The worker's counters, of which it is the only writer; `None`: this is no worker's.
    #[inline]
    pub(crate) fn counters(&self) -> Option<&Counters> {
        (!self.is_detached()).then(|| &*self.shared.counters)
    }

    /// The queues into which a kind of work is put.
    #[inline]
    pub(super) fn queues_of(&self, work: &W) -> &OwnQueues<W> {
        if work.is_ready() { self.ready_queues() } else { &self.plain }
    }

    #[inline]
    pub(crate) fn steals(&self) -> bool {
        self.steals
    }

    /// Says whether `home` is another worker, and work stays at home.
    #[inline]
    pub(crate) fn leaves_to(&self, home: usize) -> bool {
        self.keeps_home && home != self.index
    }

    /// The time, read once between two events however often it is asked for: a reading costs more
    /// than a small event.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        if self.now.get() == 0 {
            self.now.set(self.fleet.clock.now());
        }
        self.now.get()
    }

    /// Something runs, or the worker sleeps: the time has to be read again.
    #[inline]
    pub(crate) fn time_passes(&self) {
        self.now.set(0);
    }

    /// The worker is about to sleep. From now on, until it [rises](Self::rise), it counts as idle.
    pub(super) fn announce(&self, host: &impl Host) {
        self.fleet.sleep.announce(self.index);
        self.is_idle.set(true);
        host.rests();
    }

    /// The thread is about to leave the runtime, until it enters again. From now on, until it
    /// [rises](Self::rise), the worker counts as idle.
    pub(super) fn go_away(&self, host: &impl Host) {
        self.fleet.sleep.go_away(self.index);
        self.is_idle.set(true);
        host.rests();
    }

    /// The worker looks for work without sleeping; idle as after [`announce`](Self::announce).
    pub(super) fn announce_spinning(&self, host: &impl Host) {
        self.fleet.sleep.announce_spinning(self.index);
        self.is_idle.set(true);
        host.rests();
    }

    /// Says whether it sleeps or spins, and has not risen since.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.is_idle.get()
    }

    /// The worker is awake, if it was not.
    pub(super) fn rise(&self, host: &impl Host) {
        if self.is_idle.replace(false) {
            self.fleet.sleep.rise(self.index);
            host.rises();
        }
    }

    /// Something is about to be queued on this thread: a worker that sleeps or spins rises first,
    /// so that nobody takes the runtime to be at rest between the steps of a post (see `quiesce`).
    /// It is what its poller does that posts, and that may block; so somebody shall watch.
    #[cold]
    pub(crate) fn rise_to_post(&self, host: &impl Host) {
        self.rise(host);
        self.wake_sentinel();
    }

    /// This worker has found work after it had been idle. If nobody watches, an idle one shall.
    pub(super) fn wake_sentinel(&self) {
        if self.steals && self.fleet.sleep.needs_sentinel() {
            reached(Reached::SentinelRelieved);
            self.fleet.notify_any(self.index + 1);
        }
    }

    /// So many run-queue entries have taken so many nanoseconds since this was last called, and so
    /// many thousandths of events crossed.
    pub(super) fn learn_entries(&self, entries: u32, nanos: u64, traffic: u64) {
        let entries = u64::from(entries.max(1));
        let traffic = (traffic / entries).min(u64::from(u32::MAX / 8)) as u32;
        let known = self.entry_nanos.get() != UNKNOWN;
        self.entry_nanos.set(blend(self.entry_nanos.get(), nanos / entries));
        let before = if known { self.entry_traffic.get() } else { traffic };
        self.entry_traffic.set(blend_thousandths(before, traffic));
    }

    /// Says whether this worker has asked another one for private work, and had no answer.
    pub(super) fn has_asked(&self) -> bool {
        let asks = |victim: usize| {
            self.fleet.workers[victim].asked.load(Ordering::Relaxed) == self.index + 1
        };
        self.asked.get().is_some_and(asks)
    }

    /// Asks a worker for some of what it keeps out of its deque.
    pub(super) fn ask(&self, victim: usize) {
        self.asked.set(Some(victim));
        self.fleet.workers[victim].asked.store(self.index + 1, Ordering::Relaxed);
    }

    /// Does not ask any more.
    pub(super) fn withdraw(&self) {
        if let Some(victim) = self.asked.take() {
            let (mine, none) = (self.index + 1, 0);
            let asked = &self.fleet.workers[victim].asked;
            // If it fails, somebody else asks, or the answer is on its way.
            let _ = asked.compare_exchange(mine, none, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;

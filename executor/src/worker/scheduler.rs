//! The part of a worker that only its own thread touches: its side of the run queues, what it has
//! learned, and whether it sleeps.
//!
//! All fields are cells, as everything that runs on the worker reaches the same scheduler.

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

/// One worker's part that only its own thread touches.
pub(crate) struct Scheduler<W> {
    pub(crate) fleet: Arc<Fleet<W>>,
    shared: Arc<CachePadded<Shared<W>>>,
    pub(crate) index: usize,
    /// The ready work, and how much of it is served before other work; see `ready`.
    pub(super) ready: OwnQueues<W>,
    pub(super) credit: Credit,
    pub(super) sharing: Sharing,
    /// Whether ready work may be shared with other workers, if that pays.
    pub(super) shares_ready: bool,
    /// The work that is neither ready nor bound to this worker.
    pub(super) plain: OwnQueues<W>,
    /// The work that no other worker may run; see `affine`.
    pub(super) affine: Box<Affine<W>>,
    /// Whether work may be ready, here or elsewhere, or bound to this worker. If not, nothing was
    /// put into these queues since they were empty.
    pub(super) has_special: Cell<bool>,
    pub(super) aging: Cell<Aging>,
    /// What this worker knows of work that was raised to a higher class; see `lanes`.
    pub(super) resorting: Cell<Resorting>,
    /// The last reading of the clock. 0 if something has run since.
    now: Cell<u64>,
    /// The average time per run-queue entry, in nanoseconds. Published at each look around.
    pub(crate) entry_nanos: Cell<u32>,
    /// The average number of events that an entry exchanges with other colors, in thousandths.
    /// Published at each look around.
    pub(super) entry_traffic: Cell<u32>,
    /// The workers for which this one stands in, or did when it last looked.
    pub(super) attended: RefCell<Vec<usize>>,
    /// The worker that this one has asked for private work.
    asked: Cell<Option<usize>>,
    /// A count that grows with each look at the descriptors, and when work comes from other
    /// workers.
    pub(crate) polls: Cell<u64>,
    /// Whether the worker has announced that it sleeps, spins or is away; see [`rise`](Self::rise).
    is_idle: Cell<bool>,
    /// Whether a running entry was suspended since the last look around (E18).
    pub(crate) was_suspended: Cell<bool>,
    steals: bool,
    pub(super) keeps_home: bool,
    /// The worth in nanoseconds below which entries stay out of the deque.
    pub(super) public_from: u32,
    /// The worth in nanoseconds below which plain entries stay out of the deque: zero while thieves
    /// try short ones.
    pub(super) plain_from: Cell<u32>,
    /// The least worth of an entry for which another worker is woken, in nanoseconds.
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

    /// Creates a scheduler that belongs to no worker, for what is left when the workers are gone.
    /// Entries that are queued on it stay with it, and no other thread sees its run queue.
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

    /// Returns `true` if this scheduler belongs to no worker.
    #[inline]
    pub(crate) fn is_detached(&self) -> bool {
        self.plain.is_detached()
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Shared<W> {
        &self.shared
    }

    /// Returns the worker's counters, of which it is the only writer, or `None` if this scheduler
    /// belongs to no worker.
    #[inline]
    pub(crate) fn counters(&self) -> Option<&Counters> {
        (!self.is_detached()).then(|| &*self.shared.counters)
    }

    /// Returns the queues into which an entry belongs, ready or plain.
    #[inline]
    pub(super) fn queues_of(&self, work: &W) -> &OwnQueues<W> {
        if work.is_ready() { self.ready_queues() } else { &self.plain }
    }

    #[inline]
    pub(crate) fn steals(&self) -> bool {
        self.steals
    }

    /// Returns `true` if work stays at home and `home` is another worker.
    #[inline]
    pub(crate) fn belongs_elsewhere(&self, home: usize) -> bool {
        self.keeps_home && home != self.index
    }

    /// Returns the time in nanoseconds. Between two events the clock is read only once, as a
    /// reading costs more than a small event.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        if self.now.get() == 0 {
            self.now.set(self.fleet.clock.now());
        }
        self.now.get()
    }

    /// Notes that something runs, or that the worker sleeps, so the clock has to be read again.
    #[inline]
    pub(crate) fn time_passes(&self) {
        self.now.set(0);
    }

    /// Announces that the worker is about to sleep. It counts as idle until it [rises](Self::rise).
    pub(super) fn announce(&self, host: &impl Host) {
        self.fleet.sleep.announce(self.index);
        self.is_idle.set(true);
        host.before_rest();
    }

    /// Announces that the thread leaves the runtime until it enters again. The worker counts as
    /// idle until it [rises](Self::rise).
    pub(super) fn go_away(&self, host: &impl Host) {
        self.fleet.sleep.go_away(self.index);
        self.is_idle.set(true);
        host.before_rest();
    }

    /// Announces that the worker looks for work without sleeping. It counts as idle until it
    /// [rises](Self::rise).
    pub(super) fn announce_spinning(&self, host: &impl Host) {
        self.fleet.sleep.announce_spinning(self.index);
        self.is_idle.set(true);
        host.before_rest();
    }

    /// Returns `true` if the worker sleeps, spins or is away, and has not risen since.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.is_idle.get()
    }

    /// Makes the worker count as awake, if it was idle.
    pub(super) fn rise(&self, host: &impl Host) {
        if self.is_idle.replace(false) {
            self.fleet.sleep.rise(self.index);
            host.after_rest();
        }
    }

    /// Makes an idle worker rise before something is queued on this thread, so that nobody takes
    /// the runtime to be at rest between the steps of a post (see `quiesce`). The poster is the
    /// worker's poller, which may block, so another worker has to watch it.
    #[cold]
    pub(crate) fn rise_to_post(&self, host: &impl Host) {
        self.rise(host);
        self.wake_sentinel();
    }

    /// Wakes an idle worker to stand sentinel if there is none, as this worker has found work after
    /// it was idle.
    pub(super) fn wake_sentinel(&self) {
        if self.steals && self.fleet.sleep.needs_sentinel() {
            reached(Reached::SentinelRelieved);
            self.fleet.notify_any(self.index + 1);
        }
    }

    /// Learns from the entries that have run since the last call: their number, the nanoseconds
    /// that they took, and the thousandths of events that crossed between colors.
    pub(super) fn learn_entries(&self, entries: u32, nanos: u64, traffic: u64) {
        let entries = u64::from(entries.max(1));
        let traffic = (traffic / entries).min(u64::from(u32::MAX / 8)) as u32;
        let known = self.entry_nanos.get() != UNKNOWN;
        self.entry_nanos.set(blend(self.entry_nanos.get(), nanos / entries));
        let before = if known { self.entry_traffic.get() } else { traffic };
        self.entry_traffic.set(blend_thousandths(before, traffic));
    }

    /// Returns `true` if this worker has asked another one for private work, and has had no answer.
    pub(super) fn has_asked(&self) -> bool {
        let asks = |victim: usize| {
            self.fleet.workers[victim].asked.load(Ordering::Relaxed) == self.index + 1
        };
        self.asked.get().is_some_and(asks)
    }

    /// Asks a worker for some of its private work.
    pub(super) fn ask(&self, victim: usize) {
        self.asked.set(Some(victim));
        self.fleet.workers[victim].asked.store(self.index + 1, Ordering::Relaxed);
    }

    /// Withdraws the question, if this worker has asked.
    pub(super) fn withdraw(&self) {
        if let Some(victim) = self.asked.take() {
            let (mine, none) = (self.index + 1, 0);
            let asked = &self.fleet.workers[victim].asked;
            // If the exchange fails, another worker has asked since, or the answer is on its way.
            let _ = asked.compare_exchange(mine, none, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;

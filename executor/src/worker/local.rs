//! The part of a worker that only its own thread touches, and the way from a thread to it.
//!
//! `Local` lives on the stack of the worker's thread, and a thread-local pointer leads to it. All
//! fields are cells: user code that runs inside an event reaches the same `Local` through its `Cx`,
//! through handles, and through drops.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::ptr::{self, NonNull};

use crossbeam_deque::Worker as Deque;
use dapple_colors::Priority;
use dapple_colors::priority::Aging;

use super::current::Current;
use super::entry::Entry;
use super::lanes::Resorting;
use super::private::Owner;
use super::shared::{Counters, WorkerShared, add};
use super::steal::{DOMAIN_TRAFFIC, UNCOLORED_TRAFFIC};
use crate::color::cell::{ColorCell, UNKNOWN, blend, blend_thousandths};
use crate::domain::done::Steps;
use crate::event::Memory;
use crate::metrics::{Sample, Sampler};
use crate::panic;
use crate::runtime::core::{Core, CoreRef};
use crate::slab::Magazine;
use crate::sync::Ordering;
use crate::worker::rules::StealPolicy;

thread_local! {
    // No destructor: it can be read from destructors of other thread-locals.
    static CURRENT: Cell<*const Local> = const { Cell::new(ptr::null()) };
}

/// Counts of the core that a worker takes at once, to give to colors that it makes.
const CREDIT_BATCH: usize = 1024;

/// See the module.
pub(crate) struct Local {
    pub(crate) core: CoreRef,
    /// This worker's part of the core.
    shared: NonNull<WorkerShared>,
    /// What it keeps out of its deque; the undertaker keeps nothing.
    pub(super) private: Option<Owner<Entry>>,
    pub(crate) index: usize,
    /// What is queued where thieves may look, by class.
    lanes: [Deque<Entry>; 3],
    pub(super) aging: Cell<Aging>,
    /// What is known of colors that have been raised to a higher class; see `lanes`.
    pub(super) resorting: Cell<Resorting>,
    events: RefCell<Magazine>,
    cells: RefCell<Magazine>,
    credits: Cell<usize>,
    pub(crate) current: Current,
    /// The last reading of the clock, unless something has run since; 0: it has.
    now: Cell<u64>,
    /// Posts since the worker started; the turn counts by difference.
    pub(crate) posts: Cell<u32>,
    /// Of these, those of events to their own color, and those without a color.
    pub(crate) self_posts: Cell<u32>,
    pub(super) uncolored_posts: Cell<u32>,
    /// Events without a color that have run here.
    pub(super) uncolored_events: Cell<u32>,
    /// Of these, those of domains, since entries were last learned from.
    pub(crate) domain_events: Cell<u32>,
    /// Events, uncolored ones, and posts to the own color and to others, when entries were last
    /// learned from.
    learned_from: Cell<(u64, u32, (u32, u32))>,
    /// Average time per run-queue entry, in nanoseconds; what is published.
    pub(crate) entry_nanos: Cell<u32>,
    /// How many events an entry exchanges with other colors, on average, in thousandths; what is
    /// published.
    pub(crate) entry_traffic: Cell<u32>,
    /// Which workers this one stands in for, or did when it last looked.
    pub(super) attended: RefCell<Vec<usize>>,
    /// Whom this worker has asked for private work.
    asked: Cell<Option<usize>>,
    sampler: Sampler,
    pub(crate) samples: RefCell<Vec<Sample>>,
    /// Counts what looks at time and descriptors; see [`Cx::poll_count`].
    pub(crate) polls: Cell<u64>,
    /// Which part of the run queue is looked at first.
    pub(super) deque_first: Cell<bool>,
    /// How far a domain event's steps have come that run here one after the other; see
    /// `domain::done`.
    pub(crate) steps: Cell<Steps>,
    steals: bool,
    /// When it was last reported that a poller fails; 0: never.
    poller_reported: Cell<u64>,
    /// The worker has said that it sleeps, or spins; see [`rise`](Local::rise).
    is_asleep: Cell<bool>,
    pub(super) keeps_home: bool,
    /// Entries worth less than this, in nanoseconds, stay out of the deque.
    pub(super) public_from: u32,
    /// Those worth at least this are worth waking somebody for.
    pub(super) wakes_from: u32,
    /// No worker: it disposes of what comes after the workers are gone, and its counts go to the
    /// core's.
    pub(super) undertaker: bool,
}

impl Local {
    pub(crate) fn new(core: CoreRef, index: usize, lanes: [Deque<Entry>; 3]) -> Self {
        Self::create(core, index, lanes, false)
    }

    fn create(core: CoreRef, index: usize, lanes: [Deque<Entry>; 3], undertaker: bool) -> Self {
        let policy = core.settings.rules.policy;
        let many = core.workers.len() > 1;
        let shared = &*core.workers[index];
        Local {
            // SAFETY: a worker has one `Local` that is not the undertaker's, and `core` keeps the
            // queue.
            private: (!undertaker).then(|| unsafe { Owner::of(&shared.private) }),
            shared: NonNull::from(shared),
            sampler: Sampler::new(core.settings.histograms, core.settings.seed ^ index as u64),
            index,
            lanes,
            aging: Cell::default(),
            resorting: Cell::default(),
            events: RefCell::new(core.events.magazine()),
            cells: RefCell::new(core.cells.magazine()),
            credits: Cell::new(0),
            current: Current::new(),
            now: Cell::new(0),
            posts: Cell::new(0),
            self_posts: Cell::new(0),
            uncolored_posts: Cell::new(0),
            uncolored_events: Cell::new(0),
            domain_events: Cell::new(0),
            learned_from: Cell::default(),
            entry_nanos: Cell::new(0),
            entry_traffic: Cell::new(0),
            attended: RefCell::default(),
            asked: Cell::new(None),
            samples: RefCell::new(Vec::new()),
            polls: Cell::new(0),
            deque_first: Cell::new(false),
            steps: Cell::new(Steps::Off),
            steals: core.settings.rules.steals(),
            poller_reported: Cell::new(0),
            is_asleep: Cell::new(false),
            keeps_home: many && policy == StealPolicy::Off,
            public_from: match policy {
                StealPolicy::Eager if many => 0,
                StealPolicy::CostAware if many => super::run_queue::PUBLIC_NANOS,
                _ => u32::MAX,
            },
            wakes_from: core.wakes_from(),
            undertaker,
            core,
        }
    }

    /// What disposes of events after the workers are gone.
    pub(crate) fn undertaker(core: CoreRef) -> Self {
        let mut local = Local::create(core, 0, [(); 3].map(|()| Deque::new_fifo()), true);
        // It is nobody's owner, and no color's home: what is posted on it stays with it.
        (local.public_from, local.keeps_home) = (0, false);
        local
    }

    /// Makes this the `Local` of the thread until the guard is dropped. The undertaker's may take
    /// the place of another one for a while.
    pub(crate) fn enter(&self) -> Entered<'_> {
        let before = CURRENT.replace(self);
        debug_assert!(before.is_null() || self.undertaker, "a thread is one worker at most");
        Entered { before, _local: self }
    }

    /// The worker that this thread is, if it is one of `core`.
    #[inline]
    pub(crate) fn current<'a>(core: &Core) -> Option<&'a Local> {
        let local = CURRENT.get();
        if local.is_null() {
            return None;
        }
        // SAFETY: the pointer is set by `enter` and reset before the `Local` goes; the reference
        // does not leave the call that asked for it, all of which run below `enter`'s guard.
        let local = unsafe { &*local };
        ptr::eq::<Core>(&*local.core, core).then_some(local)
    }

    /// The number of the worker of `core` that this thread is, if it is one.
    pub(crate) fn index_on(core: &Core) -> Option<usize> {
        Local::current(core).map(|local| local.index)
    }

    /// Is this thread a worker of any runtime?
    pub(crate) fn on_a_worker() -> bool {
        !CURRENT.get().is_null()
    }

    /// Does this thread dispose of what is left of `core`?
    pub(crate) fn is_undertaker_of(core: &Core) -> bool {
        Local::current(core).is_some_and(|local| local.undertaker)
    }

    /// The worker's counters, of which it is the only writer; `None`: this is no worker's.
    #[inline]
    pub(crate) fn counters(&self) -> Option<&Counters> {
        (!self.undertaker).then(|| &*self.shared().counters)
    }

    /// The worker is about to sleep. From now on, until it [rises](Self::rise), it is idle to
    /// whoever asks.
    pub(super) fn announce(&self) {
        self.core.sleep.state.announce(self.index);
        self.is_idle_now();
    }

    /// The same of a worker that looks for work without sleeping.
    pub(super) fn spin(&self) {
        self.core.sleep.state.spin(self.index);
        self.is_idle_now();
    }

    fn is_idle_now(&self) {
        self.is_asleep.set(true);
        self.events.borrow_mut().put_away();
        self.core.quiesce.worker_went_idle();
    }

    /// Has it said that it sleeps or spins, and not risen since?
    pub(super) fn is_asleep(&self) -> bool {
        self.is_asleep.get()
    }

    /// The worker is awake, if it was not.
    pub(super) fn rise(&self) {
        if self.is_asleep.replace(false) {
            self.core.sleep.state.rise(self.index);
            self.events.borrow_mut().take_out();
        }
    }

    /// Something is about to be queued on this thread: a worker that sleeps or spins rises first,
    /// so that nobody takes the runtime to be at rest between the steps of a post (see `quiesce`).
    /// It is what its poller does that posts, and that may block; so somebody shall watch.
    #[inline]
    pub(crate) fn before_post(&self) {
        if self.is_asleep.get() {
            self.rise_to_post();
        }
    }

    #[cold]
    fn rise_to_post(&self) {
        self.rise();
        self.call_sentinel();
    }

    /// This worker has found work after it had been idle. If nobody watches, an idle one shall.
    pub(super) fn call_sentinel(&self) {
        if self.steals && self.core.sleep.state.needs_sentinel() {
            self.core.sleep.notify_any(&self.core, self.index + 1);
        }
    }

    #[inline]
    pub(crate) fn shared(&self) -> &WorkerShared {
        // SAFETY: it points into the core, which `self.core` keeps, and whose workers do not move.
        unsafe { self.shared.as_ref() }
    }

    #[inline]
    pub(super) fn lane(&self, class: Priority) -> &Deque<Entry> {
        &self.lanes[class as usize]
    }

    pub(crate) fn steals(&self) -> bool {
        self.steals
    }

    /// The time, read once between two events however often it is asked for: a reading costs more
    /// than a small event.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        if self.now.get() == 0 {
            self.now.set(self.core.clock.now());
        }
        self.now.get()
    }

    /// Something runs, or the worker sleeps: the time has to be read again.
    #[inline]
    pub(super) fn time_passes(&self) {
        self.now.set(0);
    }

    /// Memory for an event.
    #[inline]
    pub(crate) fn take_memory(&self) -> Memory {
        let at_hand = self.events.borrow_mut().pop();
        // SAFETY: it is a free slot of the slab of events, and ours.
        at_hand.map_or_else(|| self.fetch_memory(), |slot| unsafe { Memory::of(slot) })
    }

    /// Memory for an event if none is at hand: as the magazine is empty, or as it was put away
    /// because the worker sleeps.
    #[cold]
    #[inline(never)]
    fn fetch_memory(&self) -> Memory {
        self.before_post();
        // SAFETY: the slab gives each free slot to one taker.
        unsafe { Memory::of(self.events.borrow_mut().take(&self.core.events)) }
    }

    /// Memory of an event that is spent.
    ///
    /// # Safety
    ///
    /// It is of this runtime.
    #[inline]
    pub(crate) unsafe fn give_memory(&self, memory: Memory) {
        // SAFETY: by contract; all events of a runtime are slots of its slab.
        unsafe { self.events.borrow_mut().give(memory.into_slot(), &self.core.events) };
    }

    /// Memory for the cell of a color.
    pub(crate) fn take_cell(&self) -> NonNull<ColorCell> {
        self.cells.borrow_mut().take(&self.core.cells).cast()
    }

    /// Memory of the cell of a color that is dead.
    ///
    /// # Safety
    ///
    /// Its value has been dropped, and it is not used again.
    pub(crate) unsafe fn give_cell(&self, memory: NonNull<ColorCell>) {
        // SAFETY: by contract; all cells of a runtime are slots of its slab.
        unsafe { self.cells.borrow_mut().give(memory.cast(), &self.core.cells) };
    }

    /// The time, if what begins now is sampled; otherwise 0.
    #[inline]
    pub(crate) fn stamp(&self) -> u64 {
        if self.sampler.hit() { self.core.clock.now() } else { 0 }
    }

    /// So many run-queue entries have taken so many nanoseconds since this was last called.
    pub(super) fn learn_entries(&self, entries: u32, nanos: u64) {
        let events = self.shared().counters.events.load(Ordering::Relaxed);
        let (uncolored, posts) = (self.uncolored_events.get(), self.posts_in_and_out());
        let (events_then, uncolored_then, posts_then) =
            self.learned_from.replace((events, uncolored, posts));
        let uncolored = u64::from(uncolored.wrapping_sub(uncolored_then));
        let own = u64::from(posts.0.wrapping_sub(posts_then.0));
        let out = u64::from(posts.1.wrapping_sub(posts_then.1));
        let colored = events.saturating_sub(events_then).saturating_sub(uncolored);
        // As many events as colors posted to themselves came from themselves; the others from
        // elsewhere.
        let crossed = 1_000 * (colored.saturating_sub(own) + out);
        let domain = u64::from(self.domain_events.take());
        let traffic =
            crossed + u64::from(UNCOLORED_TRAFFIC) * uncolored + u64::from(DOMAIN_TRAFFIC) * domain;
        let entries = u64::from(entries.max(1));
        let traffic = (traffic / entries).min(u64::from(u32::MAX / 8)) as u32;
        let known = self.entry_nanos.get() != UNKNOWN;
        self.entry_nanos.set(blend(self.entry_nanos.get(), nanos / entries));
        let before = if known { self.entry_traffic.get() } else { traffic };
        self.entry_traffic.set(blend_thousandths(before, traffic));
    }

    /// Posts since the worker started: to the own color, and to others.
    #[inline]
    pub(crate) fn posts_in_and_out(&self) -> (u32, u32) {
        let own = self.self_posts.get();
        let not_out = own.wrapping_add(self.uncolored_posts.get());
        (own, self.posts.get().wrapping_sub(not_out))
    }

    /// Has this worker asked another one for private work, and had no answer?
    pub(super) fn has_asked(&self) -> bool {
        let asks = |victim: usize| {
            self.core.workers[victim].asked.load(Ordering::Relaxed) == self.index + 1
        };
        self.asked.get().is_some_and(asks)
    }

    /// Asks a worker for some of what it keeps out of its deque.
    pub(super) fn ask(&self, victim: usize) {
        self.asked.set(Some(victim));
        self.core.workers[victim].asked.store(self.index + 1, Ordering::Relaxed);
    }

    /// Does not ask any more.
    pub(super) fn withdraw(&self) {
        if let Some(victim) = self.asked.take() {
            let (mine, none) = (self.index + 1, 0);
            let asked = &self.core.workers[victim].asked;
            // If it fails, somebody else asks, or the answer is on its way.
            let _ = asked.compare_exchange(mine, none, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Has `worker`, whose work was taken by somebody because it was stuck, come no further since?
    pub(crate) fn is_still_stuck(&self, worker: usize) -> bool {
        let worker = &self.core.workers[worker];
        let progress = worker.published.progress.load(Ordering::Relaxed);
        worker.rescued_progress.load(Ordering::Relaxed) == progress
    }

    /// Runs something that may panic, outside of an event; a panic is caught, counted and reported.
    pub(crate) fn guard(&self, site: Option<&'static Location<'static>>, f: impl FnOnce()) {
        if let Err(payload) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
            match self.counters() {
                None => drop(self.core.panics_outside.fetch_add(1, Ordering::Relaxed)),
                Some(counters) => add(&counters.panics, 1),
            }
            panic::report(&self.core, payload, site, 0);
        }
    }

    /// Counts events that were dropped unrun.
    pub(crate) fn count_dropped(&self, n: u64) {
        match self.counters() {
            None => drop(self.core.dropped_outside.fetch_add(n, Ordering::Relaxed)),
            Some(counters) => add(&counters.dropped, n),
        }
    }

    /// The poller of a worker fails. It is asked again, and may fail again, for a long time: that
    /// is reported once a second.
    #[cold]
    pub(super) fn report_poller(&self, worker: usize, error: &std::io::Error) {
        const AGAIN: u64 = 1_000_000_000;
        let (now, last) = (self.core.clock.now(), self.poller_reported.get());
        if last == 0 || now.saturating_sub(last) >= AGAIN {
            self.poller_reported.set(now.max(1));
            tracing::error!(worker, %error, "the poller of a worker fails");
        }
    }

    /// The event that runs does nothing, as poison covers it: it counts as dropped, not as run.
    #[cold]
    pub(crate) fn count_skipped(&self) {
        self.count_dropped(1);
        self.core.count_in_vain(1);
    }

    /// A count of the core for a new color.
    pub(crate) fn take_credit(&self) {
        let left = self.credits.get();
        if left == 0 {
            self.core.acquire(CREDIT_BATCH);
            self.credits.set(CREDIT_BATCH - 1);
        } else {
            self.credits.set(left - 1);
        }
    }

    /// The count of a color that is dead.
    pub(crate) fn give_credit(&self) {
        let now = self.credits.get() + 1;
        if now > 4 * CREDIT_BATCH {
            self.credits.set(now - CREDIT_BATCH);
            // SAFETY: these counts are ours, and `self.core` is another one.
            unsafe { Core::release(self.core.as_ptr(), CREDIT_BATCH) };
        } else {
            self.credits.set(now);
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: they were taken from these slabs.
        unsafe {
            self.events.get_mut().empty_into(&self.core.events);
            self.cells.get_mut().empty_into(&self.core.cells);
        }
        let credits = self.credits.get();
        if credits > 0 {
            // SAFETY: these counts are ours, and `self.core` is another one.
            unsafe { Core::release(self.core.as_ptr(), credits) };
        }
    }
}

/// See [`Local::enter`].
pub(crate) struct Entered<'a> {
    before: *const Local,
    _local: &'a Local,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

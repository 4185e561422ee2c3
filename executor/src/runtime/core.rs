//! What all threads of one runtime share, and how long it lives.
//!
//! # Counting
//!
//! A core lives while somebody counts on it: handles, workers, colors. Colors come and go by the
//! million, so a worker takes counts in batches (see `worker::local`) and hands them to the colors
//! it makes; `refs` is one counter, and who counted does not matter. The core is freed by the one
//! who brings it to zero; decrements release, and the last one acquires, so that everything that was
//! done to the core happens before its end.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr::NonNull;

use crossbeam_utils::CachePadded;
use dapple_colors::Priority;

use super::phase::PhaseWord;
use super::quiesce::Quiesce;
use super::settings::Settings;
use super::undertaking::Undertaking;
use crate::blocking::pool::BlockingPool;
use crate::clock::Clock;
use crate::color::cell::{ColorCell, Plan, UNKNOWN};
use crate::domain::register::Register;
use crate::event::{Event, Memory, Owned};
use crate::metrics::Sampler;
use crate::metrics::labels::Labels;
use crate::slab::Slab;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use crate::task::register::Tasks;
use crate::worker::entry::Entry;
use crate::worker::local::Local;
use crate::worker::shared::{Sleep, WorkerShared, add};
use crate::worker::steal::{SURELY_LONG, Verdict};

pub(crate) use super::phase::Phase;

/// See the module. What is written often has a line of its own, apart from what every post reads.
pub(crate) struct Core {
    /// The pointer to the allocation, from which every [`CoreRef`] is made.
    me: NonNull<Core>,
    /// Has there been a color that is not of the normal class? Read before every entry of a run
    /// queue.
    has_classes: CachePadded<AtomicBool>,
    /// How many colors have been raised to a higher class while they may have stood in a run queue.
    pub(crate) raised: CachePadded<AtomicUsize>,
    refs: CachePadded<AtomicUsize>,
    /// Read after every event.
    phase: CachePadded<PhaseWord>,
    pub(crate) workers: Box<[CachePadded<WorkerShared>]>,
    /// Workers whose threads have not left.
    pub(crate) live_workers: AtomicUsize,
    /// Of these, those that have not left their loop: they may still post.
    pub(crate) serving: AtomicUsize,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    /// What it takes to move a cache line to another core and back, in nanoseconds.
    pub(crate) move_nanos: u32,
    /// Until when no worker steals on trial, as one has done so in vain.
    pub(crate) trials_paused_until: AtomicU64,
    pub(crate) sleep: CachePadded<Sleep>,
    pub(crate) quiesce: CachePadded<Quiesce>,
    pub(crate) labels: Labels,
    pub(crate) domains: Register,
    pub(crate) tasks: Tasks,
    pub(crate) blocking: BlockingPool,
    /// Who disposes of what is queued after the workers are gone.
    pub(super) undertaking: Undertaking,
    /// Events dropped unrun by threads that are no workers: refused, or disposed of at the end.
    pub(crate) dropped_outside: AtomicU64,
    pub(crate) in_vain_outside: AtomicU64,
    /// Panics caught on threads that are no workers: in drops at the end.
    pub(crate) panics_outside: AtomicU64,
    /// Events of domains and of bounded colors accepted above their limit, from such threads.
    pub(crate) over_limit_outside: AtomicU64,
    /// Memory of events, and of the cells of colors.
    pub(crate) events: Slab,
    pub(crate) cells: Slab,
    next_place: AtomicUsize,
    default_color: Option<NonNull<ColorCell>>,
}

// SAFETY: the fields that are not Send and Sync by themselves are the pointer to the core itself and
// the one to the default color's cell, which the core owns; cells are used from all threads by their own protocol.
unsafe impl Send for Core {}
// SAFETY: as above.
unsafe impl Sync for Core {}

impl Core {
    pub(crate) fn create(
        settings: Settings,
        workers: Vec<WorkerShared>,
        move_nanos: u32,
        blocking: BlockingPool,
    ) -> CoreRef {
        let sleep = Sleep::new(workers.len());
        let core = Box::new(Core {
            me: NonNull::dangling(),
            has_classes: AtomicBool::new(false).into(),
            raised: AtomicUsize::new(0).into(),
            refs: AtomicUsize::new(1).into(),
            phase: PhaseWord::new().into(),
            live_workers: AtomicUsize::new(0),
            serving: AtomicUsize::new(0),
            workers: workers.into_iter().map(CachePadded::new).collect(),
            settings,
            clock: Clock::new(),
            move_nanos,
            trials_paused_until: AtomicU64::new(0),
            sleep: sleep.into(),
            quiesce: Quiesce::new().into(),
            labels: Labels::default(),
            domains: Register::default(),
            tasks: Tasks::default(),
            blocking,
            undertaking: Undertaking::new(),
            dropped_outside: AtomicU64::new(0),
            in_vain_outside: AtomicU64::new(0),
            panics_outside: AtomicU64::new(0),
            over_limit_outside: AtomicU64::new(0),
            events: Slab::of::<Event>(),
            cells: Slab::of::<ColorCell>(),
            next_place: AtomicUsize::new(0),
            default_color: None,
        });
        // SAFETY: a box is not null.
        let core = unsafe { NonNull::new_unchecked(Box::into_raw(core)) };
        // SAFETY: nobody else knows the core yet; the memory is fresh.
        unsafe {
            let memory = core.as_ref().cells.take_outside().cast();
            let plan = Plan { default: true, ..Plan::default() };
            let default = ColorCell::write(memory, core, 0, plan);
            (*core.as_ptr()).me = core;
            (*core.as_ptr()).default_color = Some(default);
        }
        CoreRef(core)
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn as_ptr(&self) -> NonNull<Core> {
        self.me
    }

    /// Need a worker look into any lane but the normal one? What is in another lane when it says no is found when it is about to
    /// sleep, at the latest.
    #[inline]
    pub(crate) fn has_classes(&self) -> bool {
        self.has_classes.load(Ordering::Relaxed)
    }

    /// There will be colors of other classes.
    pub(crate) fn use_classes(&self) {
        self.has_classes.store(true, Ordering::Relaxed);
    }

    /// Goes up to `phase`; false if it had come that far already.
    pub(crate) fn advance(&self, phase: Phase) -> bool {
        self.phase.advance(phase)
    }

    /// Is what the calling thread posts accepted? `local`: the worker that it is.
    #[inline]
    pub(crate) fn accepts(&self, local: Option<&Local>) -> bool {
        local.is_some() || self.phase() == Phase::Running || self.accepts_of_its_own()
    }

    /// The cell of the default color; it lives as long as the core.
    #[inline]
    pub(crate) fn default_color(&self) -> NonNull<ColorCell> {
        self.default_color.expect("set at creation")
    }

    /// Where a color begins that a thread outside has made. With stealing it is the first worker:
    /// colors that belong together stay together until it pays to part them. Without, they are
    /// dealt out, as nothing would ever move them.
    pub(crate) fn place(&self) -> usize {
        if self.settings.rules.steals() {
            0
        } else {
            self.next_place.fetch_add(1, Ordering::Relaxed) % self.workers.len()
        }
    }

    /// Hands something runnable to a worker from elsewhere, and wakes it if it sleeps; if it does not,
    /// and what is handed over is worth so much (in nanoseconds; 0: not known), another one.
    pub(crate) fn inject(&self, worker: usize, entry: Entry, worth: u32) {
        let (worker, entry) = match self.stand_in_of(worker) {
            Some(other) => (other, entry.into_guest()),
            None => (worker, entry),
        };
        self.workers[worker].hand(entry);
        // Partner: the fence of a worker between saying that it sleeps and looking at its inbox,
        // and the fence of `advance`. One of the two sees what the other has done.
        fence(Ordering::SeqCst);
        if self.phase() == Phase::Closed {
            super::shutdown::undertake(self);
        } else {
            let woken = self.sleep.notify(self, worker);
            if !woken && self.settings.rules.steals() && self.sleep.state.any_idle() {
                let published = &self.workers[worker].published;
                let expected = match worth {
                    UNKNOWN => published.entry_nanos.load(Ordering::Relaxed),
                    worth => worth,
                };
                if expected >= self.wakes_from() && self.may_be_taken_from(worker) {
                    self.sleep.notify_any(self, worker + 1);
                }
            }
        }
    }

    /// Who serves what belongs to a worker that is known to be stuck in an event (E4).
    #[inline]
    pub(crate) fn stand_in_of(&self, worker: usize) -> Option<usize> {
        let first = self.workers[worker].stand_in()?;
        // Who stands in may itself be stuck, and have somebody; it is a hint, so one hop is looked
        // at.
        match self.workers[first].stand_in() {
            Some(next) if next != worker => Some(next),
            _ => Some(first),
        }
    }

    /// Memory for an event made by a thread that is not a worker.
    pub(crate) fn take_memory_outside(&self) -> Memory {
        // SAFETY: it is a free slot of the slab of events, and ours.
        unsafe { Memory::of(self.events.take_outside()) }
    }

    /// Gives back memory of an event, from any thread.
    ///
    /// # Safety
    ///
    /// It is of this runtime.
    pub(crate) unsafe fn give_memory(&self, memory: Memory) {
        // SAFETY: by contract it is a slot of this slab, and whoever has the memory has it alone.
        unsafe { self.events.give_outside(memory.into_slot()) }
    }

    /// Queues an event without color, from whatever thread this is.
    pub(crate) fn queue_event(&self, event: Owned) {
        match Local::current(self) {
            Some(local) => {
                // It may have waited somewhere while this worker slept.
                local.before_post();
                local.queue_event(event);
            }
            None => self.inject(self.place(), Entry::event(event, Priority::Normal), UNKNOWN),
        }
    }

    /// Runs something that may panic, outside of an event; a panic is caught, counted and reported.
    pub(crate) fn guard(&self, site: Option<&'static Location<'static>>, f: impl FnOnce()) {
        if let Some(local) = Local::current(self) {
            return local.guard(site, f);
        }
        if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
            self.count_panic();
            crate::panic::report(self, payload, site, 0);
        }
    }

    /// Counts a panic, or what counts as one.
    pub(crate) fn count_panic(&self) {
        match Local::current(self).and_then(Local::counters) {
            Some(counters) => add(&counters.panics, 1),
            None => drop(self.panics_outside.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Counts events that were dropped unrun.
    pub(crate) fn count_dropped(&self, n: u64) {
        match Local::current(self) {
            Some(local) => local.count_dropped(n),
            None => drop(self.dropped_outside.fetch_add(n, Ordering::Relaxed)),
        }
    }

    /// Says that events that are counted as run, or are about to be, have run in vain: they count
    /// as dropped ones only.
    pub(crate) fn count_in_vain(&self, n: u64) {
        match Local::current(self).and_then(Local::counters) {
            Some(counters) => add(&counters.in_vain, n),
            None => drop(self.in_vain_outside.fetch_add(n, Ordering::Relaxed)),
        }
    }

    /// Counts events of domains, and of bounded colors, that were accepted though there were too many.
    pub(crate) fn count_over_limit(&self, n: u64) {
        match Local::current(self).and_then(Local::counters) {
            Some(counters) => add(&counters.over_limit, n),
            None => drop(self.over_limit_outside.fetch_add(n, Ordering::Relaxed)),
        }
    }

    /// When an event posted by a thread that is no worker was posted, if it is sampled; otherwise 0.
    pub(crate) fn stamp_outside(&self) -> u64 {
        match Sampler::outside_hit(self.settings.histograms) {
            true => self.clock.now(),
            false => 0,
        }
    }

    /// Hands several entries to a worker at once.
    pub(crate) fn inject_all(&self, worker: usize, entries: impl IntoIterator<Item = Entry>) {
        let mut last = None;
        for entry in entries {
            if let Some(entry) = last.replace(entry) {
                self.workers[worker].hand(entry);
            }
        }
        // The last one wakes it.
        if let Some(entry) = last {
            self.inject(worker, entry, UNKNOWN);
        }
    }

    /// What takes so many nanoseconds, or more, is worth waking a worker for. The eager policy wakes
    /// somebody for every color that becomes runnable.
    pub(crate) fn wakes_from(&self) -> u32 {
        match (self.settings.rules.steals(), self.settings.rules.is_eager()) {
            (false, _) => u32::MAX,
            (true, true) => 0,
            (true, false) => SURELY_LONG.max(4 * self.move_nanos),
        }
    }

    /// May whoever is woken take what is queued at this worker?
    pub(crate) fn may_be_taken_from(&self, worker: usize) -> bool {
        self.settings.rules.is_eager() || self.judge(worker) == Verdict::Yes
    }

    /// Takes `n` counts.
    pub(crate) fn acquire(&self, n: usize) {
        let before = self.refs.fetch_add(n, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            std::process::abort();
        }
    }

    /// Gives `n` counts back.
    ///
    /// # Safety
    ///
    /// The counts are the caller's; without another one it does not touch the core again.
    pub(crate) unsafe fn release(core: NonNull<Core>, n: usize) {
        // SAFETY: the caller's counts keep the core until this subtraction.
        let before = unsafe { core.as_ref() }.refs.fetch_sub(n, Ordering::Release);
        if before == n {
            // Partner: the release of the other decrements.
            fence(Ordering::Acquire);
            // SAFETY: nobody counts any more, and it was a box.
            drop(unsafe { Box::from_raw(core.as_ptr()) });
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(cell) = self.default_color.take() {
            // SAFETY: handles of the default color count on the core, so there is none; and the
            // runtime is closed, so the color is idle.
            unsafe {
                std::ptr::drop_in_place(cell.as_ptr());
                self.cells.give_outside(cell.cast());
            }
        }
    }
}

/// One count of a core.
pub(crate) struct CoreRef(NonNull<Core>);

// SAFETY: Core is Send and Sync, and the count is atomic.
unsafe impl Send for CoreRef {}
// SAFETY: as above.
unsafe impl Sync for CoreRef {}

impl CoreRef {
    pub(crate) fn as_ptr(&self) -> NonNull<Core> {
        self.0
    }

    /// One more count, of a core that somebody else keeps meanwhile.
    pub(crate) fn of(core: &Core) -> CoreRef {
        core.acquire(1);
        CoreRef(core.me)
    }
}

impl Deref for CoreRef {
    type Target = Core;
    #[inline]
    fn deref(&self) -> &Core {
        // SAFETY: our count keeps it.
        unsafe { self.0.as_ref() }
    }
}

impl std::fmt::Debug for CoreRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("workers", &self.workers.len())
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

impl Clone for CoreRef {
    fn clone(&self) -> Self {
        CoreRef::of(self)
    }
}

impl Drop for CoreRef {
    fn drop(&mut self) {
        // SAFETY: the count is ours, and it is the last thing that we do with the core.
        unsafe { Core::release(self.0, 1) }
    }
}

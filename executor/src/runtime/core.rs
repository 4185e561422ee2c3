//! What all threads of one runtime share, and how long it lives.
//!
//! # Counting
//!
//! A core lives while somebody counts on it: handles, workers, colors. Colors come and go by the
//! million, so a worker takes counts in batches (see `turn::local`) and hands them to the colors it
//! makes; `refs` is one counter, and who counted does not matter. The core is freed by the one who
//! brings it to zero; decrements release, and the last one acquires, so that everything that was
//! done to the core happens before its end.

use std::ops::Deref;
use std::ptr::NonNull;

use crossbeam_utils::CachePadded;

use super::phase::PhaseWord;
use super::quiesce::Quiesce;
use super::settings::Settings;
use super::undertaking::Undertaking;
use crate::blocking::pool::BlockingPool;
use crate::clock::Clock;
use crate::color::cell::{Birth, CellMemory, ColorCell, DefaultCell, Plan};
use crate::color::marks::Affinity;
use crate::domain::register::Register;
use crate::event::Event;
use crate::metrics::labels::Labels;
use crate::metrics::{LatestStalls, OwnHistograms};
use crate::park::Driver;
use crate::slab::Slab;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use crate::task::register::Tasks;
use crate::turn::entry::Entry;
use crate::turn::local::Local;
use crate::turn::seat::Seat;
use crate::worker::fleet::Fleet;

pub(crate) use super::phase::Phase;

/// The worker that the user's thread is, in a runtime that has such a one.
pub(crate) const HERE: usize = 0;

/// See the module. What is written often has a line of its own, apart from what every post reads.
pub(crate) struct Core {
    /// The pointer to the allocation, from which every [`CoreRef`] is made.
    me: NonNull<Core>,
    refs: CachePadded<AtomicUsize>,
    /// Read after every event.
    phase: CachePadded<PhaseWord>,
    /// The workers, as schedulers; and what else belongs to each.
    pub(crate) fleet: Arc<Fleet<Entry>>,
    pub(crate) seats: Box<[Arc<Seat>]>,
    /// Workers whose threads have not left.
    pub(crate) live_workers: AtomicUsize,
    /// Of these, those that have not left their loop: they may still post.
    pub(crate) serving: AtomicUsize,
    pub(crate) settings: Settings,
    pub(crate) driver: Option<Arc<dyn Driver>>,
    pub(crate) quiesce: CachePadded<Quiesce>,
    pub(crate) labels: Labels,
    pub(crate) own_histograms: OwnHistograms,
    pub(crate) latest_stalls: LatestStalls,
    pub(crate) domains: Register,
    pub(crate) tasks: Tasks,
    pub(crate) blocking: BlockingPool,
    /// Who disposes of what is queued after the workers are gone.
    pub(super) undertaking: Undertaking,
    /// Somebody has begun to dispose of what was queued when the runtime stopped.
    pub(crate) was_drained: AtomicBool,
    pub(crate) outside: OutsideCounters,
    /// Memory of events, and of the cells of colors.
    pub(crate) events: Slab,
    pub(crate) cells: Slab,
    /// The number of the next color.
    serials: CachePadded<AtomicU64>,
    default_color: Option<DefaultCell>,
}

/// What is counted on threads that are no workers.
#[derive(Default)]
pub(crate) struct OutsideCounters {
    /// Events dropped unrun: refused, or disposed of at the end.
    pub(crate) dropped: AtomicU64,
    pub(crate) in_vain: AtomicU64,
    /// Panics caught: in drops at the end.
    pub(crate) panics: AtomicU64,
    /// Events of domains and of bounded colors accepted above their limit.
    pub(crate) over_limit: AtomicU64,
}

// SAFETY: the fields that are not Send and Sync by themselves are the pointer to the core itself
// and the default color's cell, which the core owns; cells are used from all threads by their own
// protocol.
unsafe impl Send for Core {}
// SAFETY: what `&Core` gives may be used from all threads.
unsafe impl Sync for Core {}

impl Core {
    pub(crate) fn create(
        settings: Settings,
        driver: Option<Arc<dyn Driver>>,
        fleet: Arc<Fleet<Entry>>,
        seats: Vec<Seat>,
        blocking: BlockingPool,
    ) -> CoreRef {
        let core = Box::new(Core {
            me: NonNull::dangling(),
            refs: AtomicUsize::new(1).into(),
            phase: PhaseWord::new().into(),
            live_workers: AtomicUsize::new(0),
            serving: AtomicUsize::new(0),
            fleet,
            seats: seats.into_iter().map(Arc::new).collect(),
            settings,
            driver,
            quiesce: Quiesce::new().into(),
            labels: Labels::default(),
            own_histograms: OwnHistograms::default(),
            latest_stalls: LatestStalls::default(),
            domains: Register::default(),
            tasks: Tasks::default(),
            blocking,
            undertaking: Undertaking::new(),
            was_drained: AtomicBool::new(false),
            outside: OutsideCounters::default(),
            events: Slab::of::<Event>(),
            cells: Slab::of::<ColorCell>(),
            serials: AtomicU64::new(0).into(),
            default_color: None,
        });
        let core = NonNull::from(Box::leak(core));
        // SAFETY: nobody else knows the core yet.
        unsafe { (*core.as_ptr()).me = core };
        // It was made with this count, and does not move.
        let count = CoreRef(core);
        // SAFETY: the memory is fresh. The default color is made of the core that is there, to
        // which nobody else writes.
        unsafe {
            let memory = CellMemory::of(count.cells.take_outside());
            let affinity = match count.has_here() && count.settings.default_here {
                true => count.affinity_to(HERE),
                false => Affinity::None,
            };
            if affinity != Affinity::None {
                count.fleet.use_affine();
            }
            let label = count.labels.intern("default");
            let plan = Plan { label, default: true, affinity, ..Plan::default() };
            let birth = Birth { memory, home: 0, serial: count.take_serials(1) };
            let default = ColorCell::create(birth, &count, plan).into_default();
            (*core.as_ptr()).default_color = Some(default);
        }
        count
    }

    #[inline]
    pub(crate) fn clock(&self) -> &Clock {
        &self.fleet.clock
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn as_ptr(&self) -> NonNull<Core> {
        self.me
    }

    /// Goes up to `phase`; false if it had come that far already.
    pub(crate) fn advance(&self, phase: Phase) -> bool {
        self.phase.advance(phase)
    }

    /// Says whether what the calling thread posts is accepted. `local`: the worker that it is.
    #[inline]
    pub(crate) fn accepts(&self, local: Option<&Local>) -> bool {
        local.is_some() || self.phase() == Phase::Running || self.accepts_of_its_own()
    }

    /// The default color; it lives as long as the core.
    #[inline]
    pub(crate) fn default_color(&self) -> &ColorCell {
        self.default_color.as_ref().expect("set at creation").get()
    }

    /// The first of so many numbers for new colors.
    pub(crate) fn take_serials(&self, n: u64) -> u64 {
        self.serials.fetch_add(n, Ordering::Relaxed)
    }

    /// Takes `n` counts.
    pub(crate) fn acquire(&self, n: usize) {
        let before = self.refs.fetch_add(n, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            std::process::abort();
        }
    }

    /// Says whether a worker is a thread of the user's (E18).
    pub(crate) fn has_here(&self) -> bool {
        self.fleet.rules.first_may_be_away
    }

    /// What it means for a color to be bound to a worker.
    pub(crate) fn affinity_to(&self, worker: usize) -> Affinity {
        match self.has_here() && worker == HERE {
            true => Affinity::Here(worker),
            false => Affinity::Worker(worker),
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
        if let Some(default) = self.default_color.take() {
            // SAFETY: the runtime is closed, and nobody counts on the core: the color is idle, and
            // has no handle. Its memory is of this slab.
            unsafe { self.cells.free_outside(default.end().into_memory().into_slot()) };
        }
    }
}

/// A reference to a core, which holds one count of it.
pub(crate) struct CoreRef(NonNull<Core>);

// SAFETY: Core is Send and Sync, and the count is atomic.
unsafe impl Send for CoreRef {}
// SAFETY: a shared count gives `&Core`, which is Sync.
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
            .field("workers", &self.fleet.workers.len())
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

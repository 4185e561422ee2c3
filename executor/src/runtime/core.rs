//! The core of a runtime: the state that all its threads share, and its lifetime.
//!
//! # Counting
//!
//! A core lives while it is referenced by handles, workers or colors. Colors come and go by the
//! million, so a worker takes counts in batches (see `turn::local`) and gives one to each color
//! that it makes. `refs` is one counter, and it does not matter which owner took a count. The owner
//! that brings it to zero frees the core. Decrements release, and the last one acquires, so
//! everything that was done to the core happens before it is freed.

use std::ops::Deref;
use std::ptr::NonNull;

use crossbeam_utils::CachePadded;

use super::disposal::Disposal;
use super::phase::PhaseWord;
use super::quiesce::Quiesce;
use super::settings::Settings;
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

/// The worker that runs on the user's thread, if the runtime has one.
pub(crate) const HERE: usize = 0;

/// The shared state of a runtime; see the module. Fields that are written often have cache lines of
/// their own, apart from those that every post reads.
pub(crate) struct Core {
    /// The pointer to the allocation, from which every [`CoreRef`] is made.
    me: NonNull<Core>,
    refs: CachePadded<AtomicUsize>,
    /// The phase, which is read after every event.
    phase: CachePadded<PhaseWord>,
    /// The workers as the scheduler knows them. `seats` has the other parts of each.
    pub(crate) fleet: Arc<Fleet<Entry>>,
    pub(crate) seats: Box<[Arc<Seat>]>,
    /// The number of workers whose threads have not ended.
    pub(crate) live_workers: AtomicUsize,
    /// The number of workers that have not exited their loops, and so may still post.
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
    /// Decides which thread disposes of the queues once the runtime is closed.
    pub(super) disposal: Disposal,
    /// Set when a thread has begun to dispose of the entries that were queued when the runtime
    /// stopped.
    pub(crate) drain_begun: AtomicBool,
    pub(crate) outside: OutsideCounters,
    /// The memory of events. `cells` is that of colors.
    pub(crate) events: Slab,
    pub(crate) cells: Slab,
    /// The number of the next color.
    serials: CachePadded<AtomicU64>,
    default_color: Option<DefaultCell>,
}

/// The counters for threads that are not workers.
#[derive(Default)]
pub(crate) struct OutsideCounters {
    /// Events that were dropped unrun: refused, or disposed of at the end.
    pub(crate) dropped: AtomicU64,
    pub(crate) in_vain: AtomicU64,
    /// Panics that were caught outside the workers, such as those of drops at the end.
    pub(crate) panics: AtomicU64,
    /// Events of domains and of bounded colors that were accepted above the limit.
    pub(crate) over_limit: AtomicU64,
}

// SAFETY: only two fields are not Send and Sync by themselves: the pointer to the core itself, and
// the default color's cell. The core owns the cell, and every thread uses cells by their own
// protocol.
unsafe impl Send for Core {}
// SAFETY: only two fields are not Sync by themselves. `me` is never written after `create`, and the
// default color's cell is used from all threads by the cells' own protocol.
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
            disposal: Disposal::new(),
            drain_begun: AtomicBool::new(false),
            outside: OutsideCounters::default(),
            events: Slab::of::<Event>(),
            cells: Slab::of::<ColorCell>(),
            serials: AtomicU64::new(0).into(),
            default_color: None,
        });
        let core = NonNull::from(Box::leak(core));
        // SAFETY: the pointer came from the box, and no other thread knows the core yet.
        unsafe { (*core.as_ptr()).me = core };
        // `refs` began at 1, which is this count, and the leaked box does not move.
        let count = CoreRef(core);
        // SAFETY: the cell's memory was just taken from the slab of this core. The default color is
        // made from the finished core, to which no other thread writes: `count` is still the only
        // reference.
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

    /// Advances to `phase`. Returns `false` if the runtime had reached it already.
    pub(crate) fn advance(&self, phase: Phase) -> bool {
        self.phase.advance(phase)
    }

    /// Returns `true` if a post of the calling thread is accepted. `local` is the worker of this
    /// core that runs on the thread, if there is one.
    #[inline]
    pub(crate) fn accepts(&self, local: Option<&Local>) -> bool {
        local.is_some() || self.phase() == Phase::Running || self.accepts_of_its_own()
    }

    /// Returns the default color, which lives as long as the core.
    #[inline]
    pub(crate) fn default_color(&self) -> &ColorCell {
        self.default_color.as_ref().expect("set at creation").get()
    }

    /// Takes `n` consecutive numbers for new colors, and returns the first.
    pub(crate) fn take_serials(&self, n: u64) -> u64 {
        self.serials.fetch_add(n, Ordering::Relaxed)
    }

    /// Takes `n` counts of the core.
    pub(crate) fn acquire(&self, n: usize) {
        let before = self.refs.fetch_add(n, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            std::process::abort();
        }
    }

    /// Returns `true` if worker 0 runs on the user's thread (E18).
    pub(crate) fn has_here(&self) -> bool {
        self.fleet.rules.first_may_be_away
    }

    /// Returns the affinity of a color that is bound to `worker`.
    pub(crate) fn affinity_to(&self, worker: usize) -> Affinity {
        match self.has_here() && worker == HERE {
            true => Affinity::Here(worker),
            false => Affinity::Worker(worker),
        }
    }

    /// Releases `n` counts, and frees the core if they were the last ones.
    ///
    /// # Safety
    ///
    /// The caller owns the counts. Unless it owns a further one, it does not touch the core again.
    pub(crate) unsafe fn release(core: NonNull<Core>, n: usize) {
        // SAFETY: the caller's counts keep the core until this subtraction.
        let before = unsafe { core.as_ref() }.refs.fetch_sub(n, Ordering::Release);
        if before == n {
            // Partner: the release of the other decrements, whose writes to the core this makes
            // visible.
            fence(Ordering::Acquire);
            // SAFETY: no count is left, so no other thread can reach the core, and `create` made it
            // of a box.
            drop(unsafe { Box::from_raw(core.as_ptr()) });
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(default) = self.default_color.take() {
            // SAFETY: the runtime is closed, and no count of the core is left, so the color is idle
            // and has no handle. Its memory was taken from this slab.
            unsafe { self.cells.free_outside(default.end().into_memory().into_slot()) };
        }
    }
}

/// A reference to a core, which owns one count of it.
pub(crate) struct CoreRef(NonNull<Core>);

// SAFETY: `Core` is Send and Sync, and its count is atomic.
unsafe impl Send for CoreRef {}
// SAFETY: a `&CoreRef` only gives `&Core`, and `Core` is Sync.
unsafe impl Sync for CoreRef {}

impl CoreRef {
    pub(crate) fn as_ptr(&self) -> NonNull<Core> {
        self.0
    }

    /// Takes one more count of a core, which another count keeps alive meanwhile.
    pub(crate) fn of(core: &Core) -> CoreRef {
        core.acquire(1);
        CoreRef(core.me)
    }
}

impl Deref for CoreRef {
    type Target = Core;
    #[inline]
    fn deref(&self) -> &Core {
        // SAFETY: the count of this reference keeps the core alive.
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
        // SAFETY: this reference owns the count, and does not touch the core after the release.
        unsafe { Core::release(self.0, 1) }
    }
}

//! The part of a worker that only its own thread touches, and the way from a thread to it.
//!
//! All fields that change are cells, because user code in an event reaches the same `Local` through
//! its `Cx`, through handles, and through drops.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::ptr;

use super::current::Current;
use super::entry::Entry;
use super::futures::LocalFutures;
use super::seat::Seat;
use super::steps::Steps;
use super::traffic::Traffic;
use crate::color::cell::{CellMemory, DeadCell};
use crate::event::{Memory, Owned};
use crate::metrics::Samples;
use crate::runtime::core::{Core, CoreRef};
use crate::slab::{Magazine, Slot};
use crate::sync::Arc;
use crate::thread;
use crate::worker::scheduler::Scheduler;

/// The number of counts of the core that a worker takes at once, for the colors that it makes.
const CREDIT_BATCH: usize = 1024;

/// The number of color numbers that a worker takes at once.
const SERIAL_BATCH: u64 = 1024;

/// The thread-local part of a worker; see the module.
pub(crate) struct Local {
    pub(crate) core: CoreRef,
    pub(crate) scheduler: Scheduler<Entry>,
    pub(crate) seat: Arc<Seat>,
    pub(crate) current: Current,
    pub(crate) traffic: Traffic,
    pub(crate) samples: Samples,
    /// The progress of a domain's steps that run here one after the other. `next_step` is the next
    /// one; see `domain::done`.
    pub(crate) steps: Cell<Steps>,
    pub(crate) next_step: Cell<Option<Owned>>,
    /// The futures that must not leave this thread.
    pub(crate) futures: Box<LocalFutures>,
    events: RefCell<Magazine>,
    cells: RefCell<Magazine>,
    credits: Cell<usize>,
    /// The numbers for new colors that are left of the last batch.
    serials: Cell<Range<u64>>,
    /// The time of the last report that a poller fails, or 0.
    pub(super) poller_reported: Cell<u64>,
    /// The number of events that had run when the worker last looked around. `parts` is the number
    /// of runs since then that do not count as events: drops of values, later steps, deferred
    /// actions.
    pub(super) events_at_look: Cell<u64>,
    pub(super) parts: Cell<u64>,
}

/// Returns the worker that runs on this thread, or null.
#[inline]
fn current() -> *const Local {
    thread::state(|state| state.worker.get()).cast()
}

impl Local {
    pub(crate) fn new(core: CoreRef, scheduler: Scheduler<Entry>) -> Self {
        let seed = core.settings.seed ^ scheduler.index as u64;
        Local {
            seat: Arc::clone(&core.seats[scheduler.index]),
            scheduler,
            current: Current::new(),
            traffic: Traffic::default(),
            samples: Samples::new(core.settings.histograms, seed),
            steps: Cell::new(Steps::Off),
            next_step: Cell::new(None),
            futures: Box::default(),
            events: RefCell::new(core.events.magazine()),
            cells: RefCell::new(core.cells.magazine()),
            credits: Cell::new(0),
            serials: Cell::new(0..0),
            poller_reported: Cell::new(0),
            events_at_look: Cell::new(0),
            parts: Cell::new(0),
            core,
        }
    }

    /// Makes the disposer, which disposes of events after the workers have ended. It is not a
    /// worker and no color's home, and events that are posted on it stay with it.
    pub(crate) fn disposer(core: CoreRef) -> Self {
        let scheduler = Scheduler::detached(&core.fleet);
        Local::new(core, scheduler)
    }

    /// Runs `f` with the calling thread acting as this worker.
    ///
    /// It may take the place of another `Local` meanwhile. This happens within one runtime if one
    /// of the two is the disposer, or both are the same. It happens across runtimes if the user's
    /// thread enters this runtime in an event of another one.
    pub(crate) fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Leave(*const ());
        impl Drop for Leave {
            fn drop(&mut self) {
                thread::state(|state| state.worker.set(self.0));
            }
        }
        let me: *const Local = self;
        let before = thread::state(|state| state.worker.replace(me.cast()));
        let _leave = Leave(before);
        f()
    }

    /// Calls `f` with the worker of `core` that runs on this thread, if there is one.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn with<R>(core: &Core, f: impl FnOnce(Option<&Local>) -> R) -> R {
        // SAFETY: the pointer is null, or comes from `enter`, which borrows the `Local` and resets
        // the pointer before the borrow ends. The reference ends with `f`, which this thread runs
        // inside `enter`.
        let local = unsafe { current().as_ref() };
        f(local.filter(|local| ptr::eq::<Core>(&*local.core, core)))
    }

    /// Returns the number of the worker of `core` that runs on this thread, if there is one.
    pub(crate) fn index_on(core: &Core) -> Option<usize> {
        Local::with(core, |local| local.map(Local::index))
    }

    /// Returns `true` if a worker of `core` runs on this thread.
    pub(crate) fn is_on(core: &Core) -> bool {
        Local::with(core, |local| local.is_some())
    }

    /// Returns `true` if a worker of any runtime runs on this thread.
    pub(crate) fn on_a_worker() -> bool {
        !current().is_null()
    }

    /// Returns `true` if this thread is disposing of what is left of `core`.
    pub(crate) fn is_disposer_of(core: &Core) -> bool {
        Local::with(core, |local| local.is_some_and(Local::is_disposer))
    }

    #[inline]
    pub(crate) fn is_disposer(&self) -> bool {
        self.scheduler.is_detached()
    }

    /// Returns `true` if this is the worker with this number, and not the disposer.
    pub(crate) fn is_worker(&self, index: usize) -> bool {
        self.index() == index && !self.is_disposer()
    }

    #[inline]
    pub(crate) fn index(&self) -> usize {
        self.scheduler.index
    }

    /// Takes memory for an event.
    #[inline]
    pub(crate) fn take_memory(&self) -> Memory {
        let at_hand = self.events.borrow_mut().pop();
        let slot = at_hand.unwrap_or_else(|| self.fetch_slot());
        // SAFETY: the slot is a free one of the slab of events, which gives each free slot to one
        // taker.
        unsafe { Memory::of(slot) }
    }

    /// Takes a slot for an event if none is at hand, because the magazine is empty, or was put away
    /// while the worker sleeps.
    #[cold]
    #[inline(never)]
    fn fetch_slot(&self) -> Slot {
        self.before_post();
        self.events.borrow_mut().take(&self.core.events)
    }

    /// Frees the memory of a spent event, for reuse.
    ///
    /// # Safety
    ///
    /// The memory is of this runtime.
    #[inline]
    pub(crate) unsafe fn free_memory(&self, memory: Memory) {
        // SAFETY: the caller guarantees that the memory is of this runtime, and all events of a
        // runtime are slots of its slab.
        unsafe { self.events.borrow_mut().free(memory.into_slot(), &self.core.events) };
    }

    /// Takes memory and a number for a new color, and a count of the core for it.
    #[inline]
    pub(crate) fn take_cell(&self) -> (CellMemory, u64) {
        self.take_credit();
        // SAFETY: the slot is a free one of the slab of cells, which gives each free slot to one
        // taker.
        let memory = unsafe { CellMemory::of(self.cells.borrow_mut().take(&self.core.cells)) };
        let mut serials = self.serials.take();
        let serial = serials.next().unwrap_or_else(|| {
            let first = self.core.take_serials(SERIAL_BATCH);
            serials = first + 1..first + SERIAL_BATCH;
            first
        });
        self.serials.set(serials);
        (memory, serial)
    }

    /// Takes back the memory and the count of a dead color of this runtime.
    #[inline]
    pub(crate) fn free_cell(&self, dead: DeadCell) {
        let slot = dead.into_memory().into_slot();
        // SAFETY: the cell is of this runtime, because its color was run here, and a `DeadCell` is
        // used by no other thread.
        unsafe { self.cells.borrow_mut().free(slot, &self.core.cells) };
        self.give_credit();
    }

    fn take_credit(&self) {
        let left = self.credits.get();
        if left == 0 {
            self.core.acquire(CREDIT_BATCH);
            self.credits.set(CREDIT_BATCH - 1);
        } else {
            self.credits.set(left - 1);
        }
    }

    fn give_credit(&self) {
        let now = self.credits.get() + 1;
        if now > 4 * CREDIT_BATCH {
            self.credits.set(now - CREDIT_BATCH);
            // SAFETY: this worker owns these counts, and `self.core` is another one.
            unsafe { Core::release(self.core.as_ptr(), CREDIT_BATCH) };
        } else {
            self.credits.set(now);
        }
    }

    /// Puts the magazine away while the worker is idle, so that a post on its thread has to come
    /// through [`fetch_slot`](Self::fetch_slot), which makes the worker rise.
    pub(super) fn put_memory_away(&self) {
        self.events.borrow_mut().put_away();
    }

    /// Takes the magazine out again, once the worker is no longer idle.
    pub(super) fn take_memory_out(&self) {
        self.events.borrow_mut().take_out();
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: the slots were taken from these slabs. This worker owns the counts, and
        // `self.core` is another one.
        unsafe {
            self.events.get_mut().empty_into(&self.core.events);
            self.cells.get_mut().empty_into(&self.core.cells);
            let credits = self.credits.get();
            if credits > 0 {
                Core::release(self.core.as_ptr(), credits);
            }
        }
    }
}

//! A worker's part of a runtime that only its own thread touches, and the way from a thread to it.
//!
//! All fields are cells: user code that runs inside an event reaches the same `Local` through its
//! `Cx`, through handles, and through drops.

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

/// Counts of the core that a worker takes at once, to give to colors that it makes.
const CREDIT_BATCH: usize = 1024;

/// Numbers of colors that it takes at once.
const SERIAL_BATCH: u64 = 1024;

/// See the module.
pub(crate) struct Local {
    pub(crate) core: CoreRef,
    pub(crate) scheduler: Scheduler<Entry>,
    pub(crate) seat: Arc<Seat>,
    pub(crate) current: Current,
    pub(crate) traffic: Traffic,
    pub(crate) samples: Samples,
    /// How far a domain's steps have come that run here one after the other, and the next one; see
    /// `domain::done`.
    pub(crate) steps: Cell<Steps>,
    pub(crate) next_step: Cell<Option<Owned>>,
    /// Futures that are not to leave this thread.
    pub(crate) futures: Box<LocalFutures>,
    events: RefCell<Magazine>,
    cells: RefCell<Magazine>,
    credits: Cell<usize>,
    /// Numbers for new colors.
    serials: Cell<Range<u64>>,
    /// When it was last reported that a poller fails; 0: never.
    pub(super) poller_reported: Cell<u64>,
    /// How many events had run when the worker last looked around, and how much has since that
    /// counts as none: drops of values, steps that follow, deferred actions.
    pub(super) events_at_look: Cell<u64>,
    pub(super) parts: Cell<u64>,
}

/// The worker that this thread is; null: none.
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

    /// What disposes of events after the workers are gone. It is nobody's owner, and no color's
    /// home: what is posted on it stays with it.
    pub(crate) fn undertaker(core: CoreRef) -> Self {
        let scheduler = Scheduler::detached(&core.fleet);
        Local::new(core, scheduler)
    }

    /// Runs `f`, during which the calling thread is this worker. It may take the place of another
    /// one for a while: of this runtime if one of them is the undertaker, or the same; or of
    /// another runtime, in an event of which a thread of the user's enters this one.
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

    /// Calls `f` with the worker that this thread is, if it is one of `core`.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn with<R>(core: &Core, f: impl FnOnce(Option<&Local>) -> R) -> R {
        // SAFETY: it is null, or `enter` borrows it and resets this before the borrow ends; the
        // reference ends with `f`, which this thread runs inside of `enter`.
        let local = unsafe { current().as_ref() };
        f(local.filter(|local| ptr::eq::<Core>(&*local.core, core)))
    }

    /// The number of the worker of `core` that this thread is, if it is one.
    pub(crate) fn index_on(core: &Core) -> Option<usize> {
        Local::with(core, |local| local.map(Local::index))
    }

    /// Says whether this thread is a worker of `core`.
    pub(crate) fn is_on(core: &Core) -> bool {
        Local::with(core, |local| local.is_some())
    }

    /// Says whether this thread is a worker of any runtime.
    pub(crate) fn on_a_worker() -> bool {
        !current().is_null()
    }

    /// Says whether this thread disposes of what is left of `core`.
    pub(crate) fn is_undertaker_of(core: &Core) -> bool {
        Local::with(core, |local| local.is_some_and(Local::is_undertaker))
    }

    #[inline]
    pub(crate) fn is_undertaker(&self) -> bool {
        self.scheduler.is_detached()
    }

    /// Says whether this is that worker, and not what disposes of what workers have left.
    pub(crate) fn is_worker(&self, index: usize) -> bool {
        self.index() == index && !self.is_undertaker()
    }

    #[inline]
    pub(crate) fn index(&self) -> usize {
        self.scheduler.index
    }

    /// Memory for an event.
    #[inline]
    pub(crate) fn take_memory(&self) -> Memory {
        let at_hand = self.events.borrow_mut().pop();
        let slot = at_hand.unwrap_or_else(|| self.fetch_slot());
        // SAFETY: it is a free slot of the slab of events, which gives each to one taker.
        unsafe { Memory::of(slot) }
    }

    /// A slot for an event if none is at hand: as the magazine is empty, or as it was put away
    /// because the worker sleeps.
    #[cold]
    #[inline(never)]
    fn fetch_slot(&self) -> Slot {
        self.before_post();
        self.events.borrow_mut().take(&self.core.events)
    }

    /// Memory of an event that is spent.
    ///
    /// # Safety
    ///
    /// The memory is of this runtime.
    #[inline]
    pub(crate) unsafe fn free_memory(&self, memory: Memory) {
        // SAFETY: the caller says so; all events of a runtime are slots of its slab.
        unsafe { self.events.borrow_mut().free(memory.into_slot(), &self.core.events) };
    }

    /// Memory for a color, and its number, with a count of the core for it.
    #[inline]
    pub(crate) fn take_cell(&self) -> (CellMemory, u64) {
        self.take_credit();
        // SAFETY: the slab gives each free slot to one taker.
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

    /// Takes back what a color of this runtime had.
    #[inline]
    pub(crate) fn free_cell(&self, dead: DeadCell) {
        let slot = dead.into_memory().into_slot();
        // SAFETY: it is of this runtime, as its color was run here, and nobody uses it any more.
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
            // SAFETY: these counts are ours, and `self.core` is another one.
            unsafe { Core::release(self.core.as_ptr(), CREDIT_BATCH) };
        } else {
            self.credits.set(now);
        }
    }

    /// The worker is idle: whatever posts in its name comes by
    /// [`fetch_slot`](Self::fetch_slot).
    pub(super) fn put_memory_away(&self) {
        self.events.borrow_mut().put_away();
    }

    pub(super) fn take_memory_out(&self) {
        self.events.borrow_mut().take_out();
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: the slots were taken from these slabs; the counts are ours, and `self.core` is
        // another one.
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

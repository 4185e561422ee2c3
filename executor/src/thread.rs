//! All thread-local state of this crate, in one value.
//!
//! A simulation, which runs the work of several threads on one thread, has only this value to swap.
//! Nothing here has a destructor, so the state can be read from the destructors of other
//! thread-locals.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::task::RawWakerVTable;

use crate::metrics::Sampler;
use crate::sync::{Arc, AtomicUsize, Ordering};

thread_local! {
    static STATE: ThreadState = const { ThreadState::new() };
}

/// The thread-local state of this crate: see the [module](self).
pub(crate) struct ThreadState {
    /// The worker that runs on this thread, a pointer to a `Local`. Null if there is none.
    pub(crate) worker: Cell<*const ()>,
    /// The runtime whose blocking work this thread does, a pointer to a `Core`. Null if there is
    /// none.
    pub(crate) works_for: Cell<*const ()>,
    /// The data pointer and the vtable of the waker of the task that is being polled.
    pub(crate) polled: Cell<Option<(*const (), &'static RawWakerVTable)>>,
    /// The number of events that are suspended on this thread.
    pub(crate) suspended: Cell<u32>,
    /// Whether a future is being dropped because it has panicked.
    pub(crate) is_after_a_panic: Cell<bool>,
    /// Whether actions are being dropped because poison covers their event.
    pub(crate) is_covered: Cell<bool>,
    /// The fate of the domain event whose task is being polled.
    pub(crate) fate: Shelf,
    /// The tickets of the task that is being polled.
    #[cfg(debug_assertions)]
    pub(crate) tickets: Shelf,
    /// The sampler that chooses which posts of this thread are measured, if it is outside the
    /// runtime.
    pub(crate) sampler: Sampler,
    /// The number of the thread, which only spreads threads; 0 if the thread has none yet.
    number: Cell<usize>,
}

/// A slot for a value that belongs to the task that is being polled.
pub(crate) struct Shelf(RefCell<ManuallyDrop<Option<Arc<dyn Any + Send + Sync>>>>);

impl Shelf {
    const fn new() -> Self {
        Shelf(RefCell::new(ManuallyDrop::new(None)))
    }

    /// Puts a value on the shelf, and returns the one that was there before.
    pub(crate) fn replace<T: Send + Sync + 'static>(&self, with: Option<Arc<T>>) -> Option<Arc<T>> {
        let with = with.map(|value| value as Arc<dyn Any + Send + Sync>);
        let before = self.0.replace(ManuallyDrop::new(with));
        ManuallyDrop::into_inner(before).and_then(|value| Arc::downcast(value).ok())
    }

    /// Returns the value on the shelf, if there is one of this type.
    pub(crate) fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let value = (**self.0.borrow()).clone();
        value.and_then(|value| Arc::downcast(value).ok())
    }
}

impl ThreadState {
    pub(crate) const fn new() -> Self {
        ThreadState {
            worker: Cell::new(std::ptr::null()),
            works_for: Cell::new(std::ptr::null()),
            polled: Cell::new(None),
            suspended: Cell::new(0),
            is_after_a_panic: Cell::new(false),
            is_covered: Cell::new(false),
            fate: Shelf::new(),
            #[cfg(debug_assertions)]
            tickets: Shelf::new(),
            sampler: Sampler::outside(),
            number: Cell::new(0),
        }
    }

    /// Returns a number that few other threads have.
    pub(crate) fn number(&self) -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        if self.number.get() == 0 {
            self.number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        self.number.get()
    }
}

/// Calls `f` with the state of the calling thread.
#[inline(always)]
pub(crate) fn state<R>(f: impl FnOnce(&ThreadState) -> R) -> R {
    #[cfg(feature = "sim")]
    if let Some(state) = fiber::state() {
        return f(&state);
    }
    STATE.with(f)
}

/// The states of fibers, which stand for threads in a simulation.
#[cfg(feature = "sim")]
pub(crate) mod fiber {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::ThreadState;

    thread_local! {
        static RUNNING: RefCell<Option<Rc<ThreadState>>> = const { RefCell::new(None) };
    }

    /// Returns the state of the fiber that runs on this thread, if there is one; `None` while the
    /// thread's locals are being destroyed.
    #[inline]
    pub(super) fn state() -> Option<Rc<ThreadState>> {
        RUNNING.try_with(|running| running.borrow().clone()).ok().flatten()
    }

    /// Sets the state of the fiber that runs from now on, or `None` if no fiber runs.
    pub(crate) fn set(state: Option<Rc<ThreadState>>) {
        drop(RUNNING.replace(state));
    }
}

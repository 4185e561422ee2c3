//! All that this crate keeps for a thread, in one value.
//!
//! Code that runs several threads' work on one thread has one thing to swap. Nothing here has a
//! destructor: it can be read from the destructors of other thread-locals.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::task::RawWakerVTable;

use crate::metrics::Sampler;
use crate::sync::{Arc, AtomicUsize, Ordering};

thread_local! {
    static STATE: ThreadState = const { ThreadState::new() };
}

/// See the module.
pub(crate) struct ThreadState {
    /// The worker that this thread is: a `Local`. Null: none.
    pub(crate) worker: Cell<*const ()>,
    /// The runtime whose blocking work this thread does: a `Core`. Null: none.
    pub(crate) works_for: Cell<*const ()>,
    /// The waker of the task that is polled: what it leads to, and how.
    pub(crate) polled: Cell<Option<(*const (), &'static RawWakerVTable)>>,
    /// How many events are suspended on this thread.
    pub(crate) suspended: Cell<u32>,
    /// A future is dropped because it has panicked.
    pub(crate) is_after_a_panic: Cell<bool>,
    /// Actions are dropped because poison covers their event.
    pub(crate) is_covered: Cell<bool>,
    /// The fate of the event of a domain whose task is polled.
    pub(crate) fate: Shelf,
    /// The tickets that this task holds.
    #[cfg(debug_assertions)]
    pub(crate) tickets: Shelf,
    /// Which of its posts are measured, if it is no worker.
    pub(crate) sampler: Sampler,
    /// Its number plus one, which only spreads threads; 0: it has none yet.
    number: Cell<usize>,
}

/// Something that stands here while a task is polled.
pub(crate) struct Shelf(RefCell<ManuallyDrop<Option<Arc<dyn Any + Send + Sync>>>>);

impl Shelf {
    const fn new() -> Self {
        Shelf(RefCell::new(ManuallyDrop::new(None)))
    }

    /// Puts something there, and takes out what was there before.
    pub(crate) fn replace<T: Send + Sync + 'static>(&self, with: Option<Arc<T>>) -> Option<Arc<T>> {
        let with = with.map(|value| value as Arc<dyn Any + Send + Sync>);
        let before = self.0.replace(ManuallyDrop::new(with));
        ManuallyDrop::into_inner(before).and_then(|value| Arc::downcast(value).ok())
    }

    /// What is there.
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

    /// A number that few other threads have.
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

/// The states of fibers that stand for threads, in a simulation.
#[cfg(feature = "sim")]
pub(crate) mod fiber {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::ThreadState;

    thread_local! {
        static RUNNING: RefCell<Option<Rc<ThreadState>>> = const { RefCell::new(None) };
    }

    /// That of the fiber that runs on this thread. (Not while the thread ends.)
    #[inline]
    pub(super) fn state() -> Option<Rc<ThreadState>> {
        RUNNING.try_with(|running| running.borrow().clone()).ok().flatten()
    }

    /// The fiber that runs from now on has this state; `None`: none runs.
    pub(crate) fn set(state: Option<Rc<ThreadState>>) {
        drop(RUNNING.replace(state));
    }
}

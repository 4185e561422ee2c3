//! What a fiber of a simulation does where a thread would wait or read a clock.
//!
//! A simulation (`crate::sim`) implements the trait. This module knows nothing of simulations, so
//! that every module can use it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use dapple_colors::Access;

use super::Point;
use super::told::{DomainStep, Reached, Sort};

/// A simulation as its fibers see it. Most methods report what has happened in the fiber that runs.
pub(crate) trait Simulation {
    /// Lets another fiber go on, as the running one waits in a loop.
    fn spin(&self);

    /// Waits until a notification of `key`, for `limit` at most. Returns `true` if the limit has
    /// passed.
    fn wait(&self, key: usize, limit: Option<Duration>) -> bool;

    /// Wakes up to `most` fibers that wait for `key`.
    fn notify(&self, key: usize, most: usize);

    /// Suspends the running fiber for this virtual time.
    fn sleep(&self, time: Duration);

    /// Returns the virtual time.
    fn now(&self) -> Instant;

    /// Returns the virtual time of day.
    fn wall(&self) -> SystemTime;

    /// Starts a fiber.
    fn spawn(&self, name: String, body: Box<dyn FnOnce() + Send>) -> FiberHandle;

    /// The running fiber has come to a marked place.
    fn point(&self, point: Point);

    /// A color was made at this address, perhaps with a label, and perhaps bound to a worker.
    fn color_made(&self, address: usize, worker: Option<usize>, label: Option<Arc<str>>);

    /// A worker of the runtime at this address begins. `steal_delay` is in nanoseconds.
    fn worker_begins(&self, runtime: usize, steal_delay: Option<u64>);

    /// An event was made at this address; `site` is a `Site`.
    fn event_made(&self, address: usize, site: &dyn Any, sort: Sort);

    /// The event at the address `from` has moved to the address `to`.
    fn event_moved(&self, from: usize, to: usize);

    /// The event at `address` was posted to the color at the address `color`.
    fn event_posted(&self, address: usize, color: usize, access: Access);

    /// The event at this address begins.
    fn event_begins(&self, address: usize);

    /// A part of the running event begins: a step or an action at this address.
    fn part_begins(&self, address: usize);

    /// The event at this address is dropped without having run.
    fn event_dropped(&self, address: usize);

    /// An event has panicked.
    fn event_panicked(&self, message: String);

    /// The order of the domain at this address has decided a step of an event.
    fn domain_decides(&self, address: usize, ticket: u64, step: DomainStep);

    /// Something rare has happened.
    fn reached(&self, what: Reached);

    /// The call that posted an event is over.
    fn posted(&self);

    /// Returns the time at which a timer of the color at this address fires, in nanoseconds.
    fn late(&self, color: usize, deadline: u64) -> u64;
}

/// A handle to a fiber that was started, which knows whether the fiber has ended.
#[derive(Clone, Debug, Default)]
pub struct FiberHandle(Arc<AtomicBool>);

impl FiberHandle {
    pub(crate) fn is_finished(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn finish(&self) {
        self.0.store(true, Ordering::Release);
    }
}

thread_local! {
    /// The simulation whose fiber runs on this thread.
    static RUNNING: RefCell<Option<Rc<dyn Simulation>>> = const { RefCell::new(None) };
    /// Whether a fiber runs on this thread: a cheaper check than `RUNNING`, and without a
    /// destructor.
    static IS_FIBER: Cell<bool> = const { Cell::new(false) };
    /// The number of locks that the fibers of this thread hold.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Runs `f`, which resumes a fiber of the simulation until that waits.
pub(crate) fn inside<R>(simulation: Rc<dyn Simulation>, f: impl FnOnce() -> R) -> R {
    /// Ends the fiber's time on this thread, also if `f` panics.
    struct Outside;
    impl Drop for Outside {
        fn drop(&mut self) {
            IS_FIBER.set(false);
            RUNNING.with_borrow_mut(Option::take);
        }
    }
    let outside = Outside;
    RUNNING.with_borrow_mut(|running| *running = Some(simulation));
    IS_FIBER.set(true);
    let result = f();
    drop(outside);
    result
}

/// Runs `f` on the simulation if this thread runs a fiber.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(&dyn Simulation) -> R) -> Option<R> {
    if is_fiber() { running().map(|simulation| f(&*simulation)) } else { None }
}

/// Returns a counted reference to the simulation, as the call that follows may switch to another
/// fiber.
#[inline]
fn running() -> Option<Rc<dyn Simulation>> {
    RUNNING.with_borrow(Option::clone)
}

#[inline]
pub(crate) fn is_fiber() -> bool {
    IS_FIBER.get()
}

/// Counts a lock that a fiber has taken.
pub(super) fn takes_lock() {
    if is_fiber() {
        HELD.set(HELD.get() + 1);
    }
}

/// Counts a lock that a fiber has released.
pub(super) fn gives_lock() {
    if is_fiber() {
        HELD.set(HELD.get().saturating_sub(1));
    }
}

/// Returns `true` if the holder of a lock may be a fiber of this thread.
pub(super) fn may_hold() -> bool {
    HELD.get() > 0
}

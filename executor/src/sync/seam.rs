//! What a fiber of a simulation does instead of what a thread does. A simulation (`crate::sim`)
//! implements it; what is here knows nothing of it, so that everything may ask.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use dapple_colors::Access;

use super::Point;
use super::told::{DomainStep, Reached, Sort};

/// A simulation, as its fibers see it.
pub(crate) trait Simulation {
    /// A fiber waits in a loop: another one goes on.
    fn spin(&self);

    /// Waits until notified by a key, for so long at most. True: the time is over.
    fn wait(&self, key: usize, limit: Option<Duration>) -> bool;

    /// Makes those go on that wait by a key, so many at most.
    fn notify(&self, key: usize, most: usize);

    fn sleep(&self, time: Duration);

    /// The virtual time.
    fn now(&self) -> Instant;

    /// The virtual time of day.
    fn wall(&self) -> SystemTime;

    /// Starts a fiber.
    fn spawn(&self, name: String, body: Box<dyn FnOnce() + Send>) -> FiberHandle;

    /// The fiber that runs has come to a marked place.
    fn point(&self, point: Point);

    /// A color was made at this address, perhaps bound to this worker.
    fn color_made(&self, address: usize, worker: Option<usize>, label: Option<Arc<str>>);

    /// A worker of the runtime at this address begins.
    fn worker_begins(&self, runtime: usize, steal_delay: Option<u64>);

    /// An event was made at this address; `site` is a `Site`.
    fn event_made(&self, address: usize, site: &dyn Any, sort: Sort);

    /// The event at this address stands at another one from now on.
    fn event_moved(&self, from: usize, to: usize);

    /// The event at this address goes to the color at that one.
    fn event_posted(&self, address: usize, color: usize, access: Access);

    /// The event at this address begins.
    fn event_begins(&self, address: usize);

    /// A part of the event that runs begins, which stands at this address.
    fn part_begins(&self, address: usize);

    /// The event at this address is dropped unrun.
    fn event_dropped(&self, address: usize);

    /// An event has panicked.
    fn event_panicked(&self, message: String);

    /// The order of the domain at this address has decided this of an event.
    fn domain_decides(&self, address: usize, ticket: u64, step: DomainStep);

    /// Something that is seldom has been reached.
    fn reached(&self, what: Reached);

    /// The call that has posted an event is over.
    fn posted(&self);

    /// When a timer of the color at this address fires.
    fn late(&self, color: usize, deadline: u64) -> u64;
}

/// A fiber that was started, and whether it has ended.
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
    /// Whether there is one: it costs less to ask, and has no destructor.
    static IS_FIBER: Cell<bool> = const { Cell::new(false) };
    /// Locks that fibers of this thread hold.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Runs `f`, which has a fiber of the simulation go on until it waits.
pub(crate) fn inside<R>(simulation: Rc<dyn Simulation>, f: impl FnOnce() -> R) -> R {
    /// No fiber runs any more, also if what it has left panics.
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

/// Runs `f` if this thread runs a fiber.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(&dyn Simulation) -> R) -> Option<R> {
    if is_fiber() { running().map(|simulation| f(&*simulation)) } else { None }
}

/// A count of the simulation: what is called may have another fiber go on.
#[inline]
fn running() -> Option<Rc<dyn Simulation>> {
    RUNNING.with_borrow(Option::clone)
}

#[inline]
pub(crate) fn is_fiber() -> bool {
    IS_FIBER.get()
}

/// A fiber takes a lock.
pub(super) fn takes_lock() {
    if is_fiber() {
        HELD.set(HELD.get() + 1);
    }
}

/// A fiber gives a lock back.
pub(super) fn gives_lock() {
    if is_fiber() {
        HELD.set(HELD.get().saturating_sub(1));
    }
}

/// Says whether a lock that is held may be that of a fiber of this thread.
pub(super) fn may_hold() -> bool {
    HELD.get() > 0
}

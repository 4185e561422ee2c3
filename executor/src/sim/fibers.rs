//! The fibers of one run, and what they wait for.
//!
//! A fiber goes on until it waits; a [pause](super::choice) is a wait like others. Who goes on next
//! is in [`schedule`](super::schedule); what the runtime asks of a run, and tells it, in
//! [`seam`](super::seam).
//!
//! All of this is of one thread. No borrow of a `RefCell` in here is held while fibers change.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::choice::{Choices, Length, Mark, Spot};
use super::log::{Log, Use, What};
use super::names::{Frames, Names, Table};
use super::runner::message;
use super::timed::Costs;
use super::watchdog::Heart;
use crate::clock::{self, saturating_nanos};
use crate::sync::seam::{self, FiberHandle, Simulation};
use crate::sync::{Arc, panicking};
use crate::thread::{ThreadState, fiber};

/// Virtual nanoseconds that an event takes, a look of a loop that waits, and a look at the clock.
pub(super) const EVENT: u64 = 300;
pub(super) const SPIN: u64 = 50;
pub(super) const LOOK: u64 = 25;

/// How long a pause is at most that waits for the end of an event, in virtual nanoseconds: the
/// event may be there no more.
pub(super) const LONGEST: u64 = 50_000_000;

/// How long it takes until it is looked whether a pause is over that waits until nobody else can go
/// on, in virtual nanoseconds: work that waits behind it is taken by others meanwhile.
pub(super) const REST: u64 = 4_000_000;

/// How long it is at most: somebody may always go on.
pub(super) const LONGEST_REST: u64 = 20_000_000;

/// How long a fiber goes on, in virtual nanoseconds, before others have their turn: longer than
/// most programs that are tested take at all.
const QUANTUM: u64 = 1_000_000;

/// Looks without anybody getting on, after which nobody will.
const MOST_IDLE_SPINS: u64 = 1 << 20;

/// Bytes of a fiber's stack. What is not used of it takes no memory.
const STACK: usize = 1 << 20;

/// When the virtual time of day begins, since 1970: in 2026, whenever the run does.
pub(super) const BEGIN: Duration = Duration::from_secs(1_767_225_600);

thread_local! {
    /// The run whose fiber runs on this thread.
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// Runs `f` with the run whose fiber this thread runs, if it does.
pub(super) fn world<R>(f: impl FnOnce(&World) -> R) -> Option<R> {
    let world = WORLD.with_borrow(Option::clone);
    world.map(|world| f(&world))
}

/// What a fiber waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wait {
    /// For its turn.
    Turn,
    /// For its turn, and then it looks again whether it may go on.
    Spin,
    /// To be notified by this key.
    Key(usize),
    /// For a time only.
    Time,
    /// For a time, or for the end of the event of this name, as it was paused.
    Pause(Option<u64>),
    /// Until nobody can go on, but those that wait so with a smaller number; since when.
    Rest(u32, u64),
    /// Until nobody else can go on without time passing by.
    Settled,
    /// It has ended.
    Over,
}

/// How a wait ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ends {
    /// Somebody has notified the one that waits.
    Notified,
    /// Its time is over, or what it was paused for.
    Otherwise,
}

/// Something that has a stack of its own.
pub(super) struct Fiber {
    pub(super) name: String,
    thread: Rc<ThreadState>,
    pub(super) place: Frames,
    coroutine: RefCell<Option<Coroutine<(), (), (), DefaultStack>>>,
    yielder: Cell<*const Yielder<(), ()>>,
    pub(super) wait: Cell<Wait>,
    /// Counts its waits, so that what was planned for one does not end another.
    pub(super) waits: Cell<u64>,
    pub(super) was_notified: Cell<bool>,
    end: FiberHandle,
    /// In timed mode: until when it has run, or when it may go on.
    pub(super) time: Cell<u64>,
}

/// A time at which a fiber's wait ends: the time, the order of planning, the fiber, and which of
/// its waits.
pub(super) type Planned = Reverse<(u64, u64, usize, u64)>;

/// See the module.
pub(super) struct World {
    pub(super) now: Cell<u64>,
    start: Instant,
    pub(super) fibers: RefCell<Vec<Rc<Fiber>>>,
    pub(super) current: Cell<usize>,
    pub(super) ready: RefCell<VecDeque<usize>>,
    pub(super) planned: RefCell<BinaryHeap<Planned>>,
    pub(super) plans: Cell<u64>,
    pub(super) paused: Cell<usize>,
    /// Looks of fibers that wait in a loop since something else happened.
    pub(super) idle_spins: Cell<u64>,
    /// When the fiber that runs went on.
    pub(super) resumed: Cell<u64>,
    pub(super) steps: Cell<u64>,
    most_steps: u64,
    pub(super) names: Names,
    pub(super) choices: Choices,
    pub(super) log: Log,
    stacks: RefCell<Vec<DefaultStack>>,
    pub(super) heart: Arc<Heart>,
    /// In timed mode: what things cost.
    pub(super) costs: Option<Costs>,
    /// In timed mode: until when the fiber that runs is the one that is furthest behind.
    pub(super) ahead_of: Cell<u64>,
    /// By how much the timers of each color are late, by its name.
    pub(super) late: RefCell<Table<u64>>,
    /// The numbers of the runtimes, by their addresses.
    pub(super) runtimes: RefCell<Table<u32>>,
    /// How often each label was reached.
    pub(super) reached: RefCell<BTreeMap<String, u64>>,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All fibers have ended, or only such are left as wait for what never comes, and the first
    /// one has ended.
    Over,
    /// The first one waits for what never comes.
    Stuck,
    /// It takes too long.
    Endless,
}

impl World {
    pub(super) fn new(
        choices: Choices,
        most_steps: u64,
        stacks: Vec<DefaultStack>,
        heart: Arc<Heart>,
        costs: Option<Costs>,
    ) -> Rc<World> {
        Rc::new(World {
            now: Cell::new(1),
            start: clock::now(),
            fibers: RefCell::default(),
            current: Cell::new(0),
            ready: RefCell::default(),
            planned: RefCell::default(),
            plans: Cell::new(0),
            paused: Cell::new(0),
            idle_spins: Cell::new(0),
            resumed: Cell::new(0),
            steps: Cell::new(0),
            most_steps,
            names: Names::default(),
            choices,
            log: Log::default(),
            stacks: RefCell::new(stacks),
            heart,
            costs,
            ahead_of: Cell::new(0),
            late: RefCell::default(),
            runtimes: RefCell::default(),
            reached: RefCell::default(),
        })
    }

    /// The stacks of the fibers that have ended, for the next run.
    pub(super) fn take_stacks(&self) -> Vec<DefaultStack> {
        self.stacks.take()
    }

    pub(super) fn nanos(&self) -> u64 {
        self.now.get()
    }

    /// The virtual time as the program sees it.
    pub(super) fn instant(&self) -> Instant {
        self.start + Duration::from_nanos(self.now.get())
    }

    /// The how-manieth fiber it is that runs.
    pub(super) fn index(&self) -> u32 {
        self.current.get() as u32
    }

    pub(super) fn takes_a_step(&self) {
        self.steps.set(self.steps.get() + 1);
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Time passes by.
    pub(super) fn pass(&self, nanos: u64) {
        self.now.set(self.now.get().saturating_add(nanos));
    }

    /// A label is reached.
    pub(super) fn reaches(&self, label: &str) {
        let mut reached = self.reached.borrow_mut();
        match reached.get_mut(label) {
            Some(times) => *times += 1,
            None => drop(reached.insert(label.to_owned(), 1)),
        }
    }

    /// The fiber that runs computes for so long.
    pub(super) fn works(&self, time: Duration) {
        match self.costs {
            Some(_) => {
                self.pass(saturating_nanos(time));
                self.shares_time();
            }
            None => self.sleep(time),
        }
    }

    /// The fiber that runs.
    pub(super) fn current(&self) -> Rc<Fiber> {
        Rc::clone(&self.fibers.borrow()[self.current.get()])
    }

    /// Adds a fiber, which is ready.
    pub(super) fn start(&self, name: String, body: Box<dyn FnOnce()>) -> FiberHandle {
        let stack = self.stacks.borrow_mut().pop();
        let stack = stack.unwrap_or_else(|| DefaultStack::new(STACK).expect("room for a stack"));
        let end = FiberHandle::default();
        let index = self.fibers.borrow().len();
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            world(|world| world.begins(yielder));
            let caught = catch_unwind(AssertUnwindSafe(body));
            // Nobody suspends it any more.
            world(|world| world.ends(caught.err()));
        });
        let place = self.names.fiber(&name);
        self.log.fiber_starts(&name);
        self.fibers.borrow_mut().push(Rc::new(Fiber {
            name,
            thread: Rc::new(ThreadState::new()),
            place,
            coroutine: RefCell::new(Some(coroutine)),
            yielder: Cell::new(std::ptr::null()),
            wait: Cell::new(Wait::Turn),
            waits: Cell::new(0),
            was_notified: Cell::new(false),
            end: end.clone(),
            time: Cell::new(self.now.get()),
        }));
        self.ahead_of.set(self.ahead_of.get().min(self.now.get()));
        self.ready.borrow_mut().push_back(index);
        end
    }

    /// The fiber that runs has begun, and can be suspended by this.
    fn begins(&self, yielder: &Yielder<(), ()>) {
        self.current().yielder.set(yielder);
    }

    /// The fiber that runs is about to end, perhaps by a panic of the runtime's own.
    fn ends(&self, panic: Option<Box<dyn Any + Send>>) {
        let fiber = self.current();
        fiber.yielder.set(std::ptr::null());
        if let Some(payload) = panic {
            let message = message(&*payload);
            self.log.broken(format!("{} panics: {message}", fiber.name));
            // Its drop is the program's, and might panic.
            std::mem::forget(payload);
        }
    }

    /// Runs until nobody can go on.
    pub(super) fn run(self: &Rc<Self>) -> End {
        let main = Rc::clone(&self.fibers.borrow()[0]);
        loop {
            if self.steps.get() > self.most_steps || self.idle_spins.get() > MOST_IDLE_SPINS {
                return End::Endless;
            }
            let Some(index) = self.next() else {
                return if main.end.is_finished() { End::Over } else { End::Stuck };
            };
            self.takes_a_step();
            self.current.set(index);
            let fiber = self.current();
            let mut coroutine = fiber.coroutine.take().expect("it has not ended");
            WORLD.set(Some(Rc::clone(self)));
            fiber::set(Some(Rc::clone(&fiber.thread)));
            let simulation: Rc<dyn Simulation> = Rc::clone(self) as _;
            if self.costs.is_some() {
                self.now.set(fiber.time.get());
                self.ahead_of.set(self.next_time());
            }
            self.resumed.set(self.now.get());
            self.heart.goes_on(fiber.place.site());
            let result = seam::inside(simulation, || coroutine.resume(()));
            fiber.time.set(self.now.get());
            fiber::set(None);
            WORLD.set(None);
            match result {
                CoroutineResult::Yield(()) => *fiber.coroutine.borrow_mut() = Some(coroutine),
                CoroutineResult::Return(()) => {
                    fiber.wait.set(Wait::Over);
                    fiber.end.finish();
                    self.stacks.borrow_mut().push(coroutine.into_stack());
                    self.idle_spins.set(0);
                }
            }
        }
    }

    /// The event that a fiber runs has ended, or panicked; or, with no number, a part of it.
    pub(super) fn has_ended(&self, fiber: &Fiber, event: Option<u32>) {
        let name = fiber.place.name();
        self.record(|| What::Ends { name, event });
        if self.paused.get() > 0 {
            self.ready_all(Wait::Pause(Some(name)), usize::MAX, Ends::Otherwise);
        }
    }

    /// Lets others go on if the fiber that runs has done so for long.
    pub(super) fn shares_time(&self) {
        let is_long = match self.costs {
            Some(_) => self.now.get() > self.ahead_of.get(),
            None => self.now.get() - self.resumed.get() > QUANTUM,
        };
        if is_long && !panicking() {
            self.suspend(Wait::Turn, None);
        }
    }

    /// Suspends the fiber that runs. True: it was notified, and its time is not over.
    pub(super) fn suspend(&self, wait: Wait, limit: Option<u64>) -> bool {
        let (index, fiber) = (self.current.get(), self.current());
        fiber.wait.set(wait);
        if let Some(limit) = limit {
            self.plan(index, limit);
        }
        match wait {
            Wait::Turn | Wait::Spin => self.ready.borrow_mut().push_back(index),
            Wait::Pause(_) | Wait::Rest(..) => self.paused.set(self.paused.get() + 1),
            _ => {}
        }
        if wait != Wait::Spin {
            self.idle_spins.set(0);
        }
        let yielder = fiber.yielder.get();
        assert!(!yielder.is_null(), "a fiber that has ended does not wait");
        // SAFETY: the yielder was stored by this fiber when it began, and lives on its stack until
        // it is taken away at its end. This is called on the fiber that runs, which is the one of
        // the yielder: a thread knows of a run only while a fiber of that runs on it.
        unsafe { (*yielder).suspend(()) };
        fiber.was_notified.replace(false)
    }

    /// Waits until nobody else can go on without time passing by.
    pub(super) fn settle(&self) {
        self.suspend(Wait::Settled, None);
    }

    /// Something happens in the fiber that runs.
    #[inline]
    pub(super) fn record(&self, what: impl FnOnce() -> What) {
        self.log.record(self.now.get(), self.current.get() as u32, what);
    }

    /// The program says what it has read, or written.
    pub(super) fn uses(&self, how: Use, label: &str, value: impl FnOnce() -> String) {
        if self.log.keeps_all() {
            let fiber = self.current();
            let (event, ticket) = (fiber.place.event(), fiber.place.ticket());
            let (label, value) = (label.to_owned(), value());
            self.record(|| What::Uses { label, value, how, event, ticket });
        }
    }

    /// What is done at a place other than by default.
    pub(super) fn deviation(&self, fiber: &Fiber, spot: Spot) -> Option<(Mark, Length)> {
        let passes = fiber.place.passes(spot);
        if !self.choices.has_any() || panicking() {
            return None;
        }
        let mark = passes.mark(spot);
        Some((mark, self.choices.deviation(mark, passes.color, self.steps.get())?))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for fiber in self.fibers.get_mut().drain(..) {
            // One that waits for ever keeps its stack: to unwind it would run its code once more.
            if let Some(coroutine) = fiber.coroutine.take() {
                std::mem::forget(coroutine);
            }
        }
    }
}

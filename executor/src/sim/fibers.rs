//! The fibers of one run, and what they wait for.
//!
//! A fiber goes on until it waits. A [pause](super::choice) is a wait like any other. The choice of
//! the fiber that goes on next is in [`schedule`](super::schedule). What the runtime asks of a run,
//! and reports to it, is in [`seam`](super::seam).
//!
//! All of this belongs to one thread. No borrow of a `RefCell` in here lives across a switch of
//! fibers.

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

/// The time that an event, an iteration of a waiting loop, and a reading of the clock take, in
/// virtual nanoseconds.
pub(super) const EVENT: u64 = 300;
pub(super) const SPIN: u64 = 50;
pub(super) const LOOK: u64 = 25;

/// The limit of a pause that waits for the end of an event, in virtual nanoseconds. The event may
/// never come.
pub(super) const LONGEST: u64 = 50_000_000;

/// The interval of the checks whether a fiber that rests may go on, in virtual nanoseconds. It is
/// longer than the steal delay, so other workers take over work that waits behind such a fiber.
pub(super) const REST: u64 = 4_000_000;

/// The limit of a rest, in virtual nanoseconds, as another fiber may always be able to go on.
pub(super) const LONGEST_REST: u64 = 20_000_000;

/// The time after which a fiber that runs lets others have their turn, in virtual nanoseconds. Most
/// tests take less than this.
const QUANTUM: u64 = 1_000_000;

/// The number of iterations of waiting loops without any other progress, after which a run counts
/// as endless.
const MOST_IDLE_SPINS: u64 = 1 << 20;

/// The size of a fiber's stack in bytes. Unused pages take no memory.
const STACK: usize = 1 << 20;

/// The start of the virtual time of day, since 1970: the first day of 2026.
pub(super) const BEGIN: Duration = Duration::from_secs(1_767_225_600);

thread_local! {
    /// The run whose fiber runs on this thread.
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// Runs `f` with the run whose fiber runs on this thread, if there is one.
pub(super) fn world<R>(f: impl FnOnce(&World) -> R) -> Option<R> {
    let world = WORLD.with_borrow(Option::clone);
    world.map(|world| f(&world))
}

/// What a fiber waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wait {
    /// Its turn.
    Turn,
    /// Its turn, in a loop that then checks again whether it may go on.
    Spin,
    /// A notification by this key.
    Key(usize),
    /// The end of a time limit only.
    Time,
    /// The end of a time limit, or of the event of this name: the fiber was paused.
    Pause(Option<u64>),
    /// Until no other fiber can go on, except those that wait in the same way with a smaller
    /// number. The second value is the time at which the wait began.
    Rest(u32, u64),
    /// Until no other fiber can go on unless time passes.
    Settled,
    /// The fiber has ended.
    Over,
}

/// The way in which a wait ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ends {
    /// Another fiber has notified the one that waits.
    Notified,
    /// The time limit has passed, or what the pause was for has happened.
    Otherwise,
}

/// A thread of control with a stack of its own.
pub(super) struct Fiber {
    pub(super) name: String,
    thread: Rc<ThreadState>,
    pub(super) place: Frames,
    coroutine: RefCell<Option<Coroutine<(), (), (), DefaultStack>>>,
    yielder: Cell<*const Yielder<(), ()>>,
    pub(super) wait: Cell<Wait>,
    /// The number of waits that have ended. A time that was planned for one wait must not end
    /// another.
    pub(super) waits: Cell<u64>,
    pub(super) was_notified: Cell<bool>,
    end: FiberHandle,
    /// In timed mode, the time until which the fiber has run, or at which it may go on.
    pub(super) time: Cell<u64>,
}

/// A time at which a fiber's wait ends: the time, the order of planning, the index of the fiber,
/// and the number of its wait.
pub(super) type Planned = Reverse<(u64, u64, usize, u64)>;

/// One run: its fibers, its virtual time, and everything that is recorded of it.
pub(super) struct World {
    pub(super) now: Cell<u64>,
    start: Instant,
    pub(super) fibers: RefCell<Vec<Rc<Fiber>>>,
    pub(super) current: Cell<usize>,
    pub(super) ready: RefCell<VecDeque<usize>>,
    pub(super) planned: RefCell<BinaryHeap<Planned>>,
    pub(super) plans: Cell<u64>,
    pub(super) paused: Cell<usize>,
    /// The number of iterations of waiting loops since anything else happened.
    pub(super) idle_spins: Cell<u64>,
    /// The time at which the running fiber went on.
    pub(super) resumed: Cell<u64>,
    pub(super) steps: Cell<u64>,
    most_steps: u64,
    pub(super) names: Names,
    pub(super) choices: Choices,
    pub(super) log: Log,
    stacks: RefCell<Vec<DefaultStack>>,
    pub(super) heart: Arc<Heart>,
    /// The costs of operations, in timed mode.
    pub(super) costs: Option<Costs>,
    /// In timed mode, the time until which the running fiber is the one that is furthest behind.
    pub(super) ahead_of: Cell<u64>,
    /// The lateness of each color's timers in nanoseconds, by the name of the color.
    pub(super) late: RefCell<Table<u64>>,
    /// The numbers of the runtimes, by their addresses.
    pub(super) runtimes: RefCell<Table<u32>>,
    /// The number of times that each label was reached.
    pub(super) reached: RefCell<BTreeMap<String, u64>>,
}

/// The way in which a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The first fiber has ended, and no other fiber can go on.
    Over,
    /// The first fiber waits for something that never comes.
    Stuck,
    /// The run has taken too many steps, or its fibers do nothing but spin.
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

    /// Takes the stacks of the fibers that have ended, for the next run.
    pub(super) fn take_stacks(&self) -> Vec<DefaultStack> {
        self.stacks.take()
    }

    pub(super) fn nanos(&self) -> u64 {
        self.now.get()
    }

    /// Returns the virtual time as the program sees it.
    pub(super) fn instant(&self) -> Instant {
        self.start + Duration::from_nanos(self.now.get())
    }

    /// Returns the index of the running fiber.
    pub(super) fn index(&self) -> u32 {
        self.current.get() as u32
    }

    pub(super) fn takes_a_step(&self) {
        self.steps.set(self.steps.get() + 1);
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Lets virtual time pass.
    pub(super) fn pass(&self, nanos: u64) {
        self.now.set(self.now.get().saturating_add(nanos));
    }

    /// Counts that a label was reached.
    pub(super) fn reaches(&self, label: &str) {
        let mut reached = self.reached.borrow_mut();
        match reached.get_mut(label) {
            Some(times) => *times += 1,
            None => drop(reached.insert(label.to_owned(), 1)),
        }
    }

    /// Lets the running fiber compute for a virtual time.
    pub(super) fn works(&self, time: Duration) {
        match self.costs {
            Some(_) => {
                self.pass(saturating_nanos(time));
                self.shares_time();
            }
            None => self.sleep(time),
        }
    }

    /// Returns the running fiber.
    pub(super) fn current(&self) -> Rc<Fiber> {
        Rc::clone(&self.fibers.borrow()[self.current.get()])
    }

    /// Adds a fiber, which is ready to run.
    pub(super) fn start(&self, name: String, body: Box<dyn FnOnce()>) -> FiberHandle {
        let stack = self.stacks.borrow_mut().pop();
        let stack = stack.unwrap_or_else(|| DefaultStack::new(STACK).expect("room for a stack"));
        let end = FiberHandle::default();
        let index = self.fibers.borrow().len();
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            world(|world| world.begins(yielder));
            let caught = catch_unwind(AssertUnwindSafe(body));
            // From here on the fiber is not suspended again.
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

    /// Stores the yielder of the running fiber, which has begun and can now be suspended.
    fn begins(&self, yielder: &Yielder<(), ()>) {
        self.current().yielder.set(yielder);
    }

    /// Ends the running fiber. A panic in it is one of the runtime itself, not of an event.
    fn ends(&self, panic: Option<Box<dyn Any + Send>>) {
        let fiber = self.current();
        fiber.yielder.set(std::ptr::null());
        if let Some(payload) = panic {
            let message = message(&*payload);
            self.log.broken(format!("{} panics: {message}", fiber.name));
            // The drop of the payload is code of the program, and might panic.
            std::mem::forget(payload);
        }
    }

    /// Runs fibers until none can go on.
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
            self.heart.beat(fiber.place.site());
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

    /// Records that the running event of a fiber has ended or panicked, or, without a number, a
    /// part of that event.
    pub(super) fn has_ended(&self, fiber: &Fiber, event: Option<u32>) {
        let name = fiber.place.name();
        self.record(|| What::Ends { name, event });
        if self.paused.get() > 0 {
            self.ready_all(Wait::Pause(Some(name)), usize::MAX, Ends::Otherwise);
        }
    }

    /// Lets others go on if the running fiber has run for long.
    pub(super) fn shares_time(&self) {
        let is_long = match self.costs {
            Some(_) => self.now.get() > self.ahead_of.get(),
            None => self.now.get() - self.resumed.get() > QUANTUM,
        };
        if is_long && !panicking() {
            self.suspend(Wait::Turn, None);
        }
    }

    /// Suspends the running fiber. Returns `true` if it was notified, and `false` if the wait ended
    /// otherwise.
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
        // SAFETY: the fiber stored the yielder when it began. The yielder lives on the fiber's
        // stack until the end of the fiber, which clears the pointer. The fiber that calls this is
        // the current one, to which the yielder belongs, because a thread has a current run only
        // while a fiber of that run runs on it.
        unsafe { (*yielder).suspend(()) };
        fiber.was_notified.replace(false)
    }

    /// Waits until no other fiber can go on unless time passes.
    pub(super) fn settle(&self) {
        self.suspend(Wait::Settled, None);
    }

    /// Records that something happens in the running fiber.
    #[inline]
    pub(super) fn record(&self, what: impl FnOnce() -> What) {
        self.log.record(self.now.get(), self.current.get() as u32, what);
    }

    /// Records that the program has read or written a value.
    pub(super) fn uses(&self, how: Use, label: &str, value: impl FnOnce() -> String) {
        if self.log.keeps_all() {
            let fiber = self.current();
            let (event, ticket) = (fiber.place.event(), fiber.place.ticket());
            let (label, value) = (label.to_owned(), value());
            self.record(|| What::Uses { label, value, how, event, ticket });
        }
    }

    /// Returns the deviation at a spot that a fiber passes, if there is one.
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
            // A fiber that waits forever keeps its stack: unwinding it would run its code again.
            if let Some(coroutine) = fiber.coroutine.take() {
                std::mem::forget(coroutine);
            }
        }
    }
}

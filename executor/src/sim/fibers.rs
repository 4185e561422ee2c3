//! The fibers of one run: who goes on, and what time it is.
//!
//! A fiber goes on until it waits. By default the one goes on that has been ready for longest; a
//! [pause](super::choice) is a wait like others. Time is virtual: it passes as events run and
//! loops spin, and jumps to the next fiber that sleeps when nobody is ready.
//!
//! All of this is of one thread. No borrow of a `RefCell` in here is held while fibers change.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::choice::{Choices, Length};
use super::names::{Names, Place};
use super::story::{Log, Seen};
use super::watchdog::Heart;
use crate::clock::{self, saturating_nanos};
use crate::site::Site;
use crate::sync::seam::{self, FiberHandle, Simulation};
use crate::sync::{Arc, Point, panicking};
use crate::thread::{ThreadState, fiber};

/// Virtual nanoseconds that an event takes, a look of a loop that waits, and a look at the clock.
const EVENT: u64 = 300;
const SPIN: u64 = 50;
const LOOK: u64 = 5;

/// How long a pause is at most that waits for the end of an event, in virtual nanoseconds: the
/// event may be there no more.
const LONGEST: u64 = 50_000_000;

/// How long a fiber goes on, in virtual nanoseconds, before others have their turn: longer than
/// most programs that are tested take at all.
const QUANTUM: u64 = 1_000_000;

/// Looks without anybody getting on, after which nobody will.
const MOST_IDLE_SPINS: u64 = 1 << 20;

/// Bytes of a fiber's stack. What is not used of it takes no memory.
const STACK: usize = 1 << 20;

/// When the virtual time of day begins, since 1970: in 2026, whenever the run does.
const BEGIN: Duration = Duration::from_secs(1_767_225_600);

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
enum Wait {
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
    /// Until nobody else can go on without time passing by.
    Settled,
    /// It has ended.
    Over,
}

/// Something that has a stack of its own.
pub(super) struct Fiber {
    pub(super) name: String,
    thread: Rc<ThreadState>,
    pub(super) place: Place,
    coroutine: RefCell<Option<Coroutine<(), (), (), DefaultStack>>>,
    yielder: Cell<*const Yielder<(), ()>>,
    wait: Cell<Wait>,
    /// Counts its waits, so that what was planned for one does not end another.
    waits: Cell<u64>,
    was_notified: Cell<bool>,
    end: FiberHandle,
}

/// A time at which a fiber's wait ends: the time, the order of planning, the fiber, and which of
/// its waits.
type Planned = Reverse<(u64, u64, usize, u64)>;

/// See the module.
pub(super) struct World {
    now: Cell<u64>,
    start: Instant,
    fibers: RefCell<Vec<Rc<Fiber>>>,
    current: Cell<usize>,
    ready: RefCell<VecDeque<usize>>,
    planned: RefCell<BinaryHeap<Planned>>,
    plans: Cell<u64>,
    paused: Cell<usize>,
    /// Looks of fibers that wait in a loop since something else happened.
    idle_spins: Cell<u64>,
    /// When the fiber that runs went on.
    resumed: Cell<u64>,
    steps: Cell<u64>,
    most_steps: u64,
    pub(super) names: Names,
    pub(super) choices: Choices,
    pub(super) log: Log,
    stacks: RefCell<Vec<DefaultStack>>,
    heart: Arc<Heart>,
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
        })
    }

    /// The stacks of the fibers that have ended, for the next run.
    pub(super) fn take_stacks(&self) -> Vec<DefaultStack> {
        self.stacks.take()
    }

    pub(super) fn nanos(&self) -> u64 {
        self.now.get()
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Time passes by.
    pub(super) fn pass(&self, nanos: u64) {
        self.now.set(self.now.get() + nanos);
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
        let place = Place::of_fiber(&name, index);
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
        }));
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
            let message = super::message(&*payload);
            self.log.broken(format!("{} panics: {message}", fiber.name));
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
            self.steps.set(self.steps.get() + 1);
            self.current.set(index);
            let fiber = self.current();
            let mut coroutine = fiber.coroutine.take().expect("it has not ended");
            WORLD.set(Some(Rc::clone(self)));
            fiber::set(Some(Rc::clone(&fiber.thread)));
            let simulation: Rc<dyn Simulation> = Rc::clone(self) as _;
            self.resumed.set(self.now.get());
            self.heart.goes_on(fiber.place.site());
            let result = seam::inside(simulation, || coroutine.resume(()));
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

    /// Who goes on.
    fn next(&self) -> Option<usize> {
        loop {
            self.fire();
            let (front, all_spin) = {
                let ready = self.ready.borrow();
                let fibers = self.fibers.borrow();
                let spins = |index: &usize| fibers[*index].wait.get() == Wait::Spin;
                let all_spin = self.idle_spins.get() >= ready.len() as u64;
                (ready.front().copied(), all_spin && ready.iter().all(spins))
            };
            match front {
                Some(front) if !all_spin || !self.jump() => {
                    self.ready.borrow_mut().pop_front();
                    let fiber = Rc::clone(&self.fibers.borrow()[front]);
                    if fiber.wait.replace(Wait::Turn) == Wait::Spin {
                        self.idle_spins.set(self.idle_spins.get() + 1);
                        self.pass(SPIN);
                    }
                    return Some(front);
                }
                Some(_) => {}
                None if self.paused.get() == 0 && self.ready_all(Wait::Settled, 1) => {}
                None if self.ends_a_pause() || self.jump() => {}
                None => return None,
            }
        }
    }

    /// The first wait that is to end at a time, and the time.
    fn first_planned(&self) -> Option<(u64, usize)> {
        loop {
            let Reverse((at, _, index, waits)) = self.planned.borrow().peek().copied()?;
            if self.fibers.borrow()[index].waits.get() == waits {
                return Some((at, index));
            }
            self.planned.borrow_mut().pop();
        }
    }

    /// Ends somebody's pause before its time, if somebody waits for all to settle: no time is to
    /// pass by for that.
    fn ends_a_pause(&self) -> bool {
        let fibers = self.fibers.borrow();
        let settles = fibers.iter().any(|fiber| fiber.wait.get() == Wait::Settled);
        let paused = |fiber: &Rc<Fiber>| matches!(fiber.wait.get(), Wait::Pause(_));
        let paused = fibers.iter().position(paused).filter(|_| settles);
        drop(fibers);
        paused.inspect(|index| self.ready_now(*index, false)).is_some()
    }

    /// Those whose time has come are ready.
    fn fire(&self) {
        while let Some((at, index)) = self.first_planned() {
            if at > self.now.get() {
                return;
            }
            self.ready_now(index, false);
        }
    }

    /// Goes to the first time that is planned; false: there is none.
    fn jump(&self) -> bool {
        let first = self.first_planned();
        if let Some((at, index)) = first {
            self.now.set(self.now.get().max(at));
            self.ready_now(index, false);
        }
        first.is_some()
    }

    fn ready_now(&self, index: usize, notified: bool) {
        let fiber = Rc::clone(&self.fibers.borrow()[index]);
        if let Wait::Pause(_) = fiber.wait.get() {
            self.paused.set(self.paused.get() - 1);
        }
        fiber.waits.set(fiber.waits.get() + 1);
        fiber.wait.set(Wait::Turn);
        fiber.was_notified.set(notified);
        self.ready.borrow_mut().push_back(index);
        self.idle_spins.set(0);
    }

    /// Makes those ready that wait so, so many at most, in the order of the fibers.
    fn ready_all(&self, wait: Wait, most: usize) -> bool {
        let mut any = false;
        for _ in 0..most {
            let waits = |fiber: &Rc<Fiber>| fiber.wait.get() == wait;
            let waiting = self.fibers.borrow().iter().position(waits);
            let Some(index) = waiting else { break };
            self.ready_now(index, true);
            any = true;
        }
        any
    }

    /// The event that a fiber runs has ended, or panicked.
    fn has_ended(&self, fiber: &Fiber) {
        let name = fiber.place.name();
        self.log.ended(name, self.now.get());
        if self.paused.get() > 0 {
            self.ready_all(Wait::Pause(Some(name)), usize::MAX);
        }
    }

    /// Lets others go on if the fiber that runs has done so for long.
    fn shares_time(&self) {
        if self.now.get() - self.resumed.get() > QUANTUM && !panicking() {
            self.suspend(Wait::Turn, None);
        }
    }

    /// Suspends the fiber that runs. True: it was notified, and its time is not over.
    fn suspend(&self, wait: Wait, limit: Option<u64>) -> bool {
        let (index, fiber) = (self.current.get(), self.current());
        fiber.wait.set(wait);
        if let Some(limit) = limit {
            self.plans.set(self.plans.get() + 1);
            let at = self.now.get().saturating_add(limit);
            let planned = Reverse((at, self.plans.get(), index, fiber.waits.get()));
            self.planned.borrow_mut().push(planned);
        }
        match wait {
            Wait::Turn | Wait::Spin => self.ready.borrow_mut().push_back(index),
            Wait::Pause(_) => self.paused.set(self.paused.get() + 1),
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
}

impl Simulation for World {
    fn spin(&self) {
        self.suspend(Wait::Spin, None);
    }

    fn wait(&self, key: usize, limit: Option<Duration>) -> bool {
        !self.suspend(Wait::Key(key), limit.map(saturating_nanos))
    }

    fn notify(&self, key: usize, most: usize) {
        self.ready_all(Wait::Key(key), most);
    }

    fn sleep(&self, time: Duration) {
        self.suspend(Wait::Time, Some(saturating_nanos(time)));
    }

    fn now(&self) -> Instant {
        // It takes some time itself, so that whoever waits by looking comes to an end.
        self.pass(LOOK);
        self.shares_time();
        self.start + Duration::from_nanos(self.now.get())
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + BEGIN + Duration::from_nanos(self.now.get())
    }

    fn spawn(&self, name: String, body: Box<dyn FnOnce() + Send>) -> FiberHandle {
        self.start(name, body)
    }

    fn point(&self, point: Point) {
        let fiber = self.current();
        let (mark, color) = (fiber.place.passes(point), fiber.place.color());
        if point == Point::Ended {
            self.pass(EVENT);
            self.has_ended(&fiber);
        }
        let length = if panicking() { None } else { self.choices.pause(mark, color) };
        let seen = length.map(|length| (length, Seen::of(&fiber)));
        if point == Point::Ended {
            fiber.place.leaves();
            self.steps.set(self.steps.get() + 1);
        }
        let Some((length, seen)) = seen else { return self.shares_time() };
        let at = self.now.get();
        match length {
            Length::For(nanos) => self.suspend(Wait::Pause(None), Some(nanos)),
            Length::Until(name) => self.suspend(Wait::Pause(Some(name)), Some(LONGEST)),
        };
        self.log.paused(mark, seen, at, self.now.get());
    }

    fn color_made(&self, address: usize, label: Option<Arc<str>>) {
        self.names.color_made(address, label, &self.current().place);
    }

    fn event_made(&self, address: usize, site: &dyn Any) {
        let site = site.downcast_ref::<Site>().copied();
        self.names.event_made(address, site, &self.current().place);
    }

    fn event_posted(&self, address: usize, color: usize) {
        self.names.event_posted(address, color, &self.current().place);
    }

    fn event_begins(&self, address: usize) {
        let fiber = self.current();
        self.names.event_begins(address, &fiber.place);
        self.log.began(&fiber, self.now.get());
        self.heart.goes_on(fiber.place.site());
        self.point(Point::Begins);
    }

    fn event_panicked(&self, message: String) {
        self.log.panicked(message);
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

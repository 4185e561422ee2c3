//! Who goes on, and what time it is.
//!
//! By default the one goes on that has been ready for longest. Time is virtual: it passes as events
//! run and loops spin, and jumps to the next fiber that sleeps when nobody is ready.
//!
//! In [timed mode](super::timed) each fiber has a time of its own, and the one goes on whose time
//! is the earliest; `now` is the time of the fiber that runs.

use std::cmp::Reverse;
use std::rc::Rc;

use super::fibers::{Ends, Fiber, LONGEST_REST, REST, SPIN, Wait, World};

impl World {
    /// In timed mode: the earliest time at which another one may go on.
    pub(super) fn next_time(&self) -> u64 {
        let fibers = self.fibers.borrow();
        let ready = self.ready.borrow();
        let ready = ready.iter().map(|index| fibers[*index].time.get()).min();
        let planned = self.planned.borrow().peek().map(|Reverse((at, ..))| *at);
        ready.into_iter().chain(planned).min().unwrap_or(u64::MAX)
    }

    /// In timed mode: the one whose time is the earliest stands in front, and it is that time.
    fn order(&self) {
        let mut ready = self.ready.borrow_mut();
        let fibers = self.fibers.borrow();
        let time = |nth: &usize| fibers[ready[*nth]].time.get();
        let Some(first) = (0..ready.len()).min_by_key(time) else { return };
        let earliest = time(&first);
        if let Some(index) = ready.remove(first) {
            ready.push_front(index);
        }
        drop((ready, fibers));
        // Who sleeps until then is as early.
        self.now.set(earliest);
    }

    /// In timed mode: a fiber looks in a loop, until another one that does not has done something.
    fn spins_until_another(&self, spinner: &Fiber) {
        let (ready, fibers) = (self.ready.borrow(), self.fibers.borrow());
        let others = ready.iter().map(|index| &fibers[*index]);
        let others = others.filter(|fiber| fiber.wait.get() != Wait::Spin);
        let first = others.map(|fiber| fiber.time.get()).min();
        let planned = self.planned.borrow().peek().map(|Reverse((at, ..))| *at);
        let until = first.into_iter().chain(planned).min().unwrap_or(0);
        spinner.time.set(spinner.time.get().saturating_add(SPIN).max(until));
    }

    /// Who goes on.
    pub(super) fn next(&self) -> Option<usize> {
        loop {
            if self.costs.is_some() {
                self.order();
            }
            self.fire();
            let (front, all_spin) = {
                let ready = self.ready.borrow();
                let fibers = self.fibers.borrow();
                let spins = |index: &usize| fibers[*index].wait.get() == Wait::Spin;
                let all_spin = self.idle_spins.get() >= ready.len() as u64;
                (ready.front().copied(), all_spin && ready.iter().all(spins))
            };
            match front {
                Some(_) if all_spin && self.jump() => {}
                Some(front) => {
                    self.ready.borrow_mut().pop_front();
                    let fiber = Rc::clone(&self.fibers.borrow()[front]);
                    if fiber.wait.replace(Wait::Turn) == Wait::Spin {
                        self.idle_spins.set(self.idle_spins.get() + 1);
                        match self.costs {
                            Some(_) => self.spins_until_another(&fiber),
                            None => self.pass(SPIN),
                        }
                    }
                    return Some(front);
                }
                None if self.paused.get() == 0
                    && self.ready_all(Wait::Settled, 1, Ends::Otherwise) => {}
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
        let paused =
            |fiber: &Rc<Fiber>| matches!(fiber.wait.get(), Wait::Pause(_) | Wait::Rest(..));
        let paused = fibers.iter().position(paused).filter(|_| settles);
        drop(fibers);
        let paused = paused.map(|index| self.first_resting().unwrap_or(index));
        paused.inspect(|index| self.ready_now(*index, Ends::Otherwise)).is_some()
    }

    /// The one that waits until nobody else can go on with the greatest number.
    fn first_resting(&self) -> Option<usize> {
        let fibers = self.fibers.borrow();
        let resting = fibers.iter().enumerate().filter_map(|(n, fiber)| match fiber.wait.get() {
            Wait::Rest(rank, _) => Some((rank, Reverse(n))),
            _ => None,
        });
        resting.max().map(|(_, Reverse(first))| first)
    }

    /// Who goes on as the time of this one has come; `None`: nobody, as it waits until nobody else
    /// can go on, and somebody can. It looks again then.
    fn expires(&self, index: usize) -> Option<usize> {
        let Wait::Rest(_, since) = self.fibers.borrow()[index].wait.get() else {
            return Some(index);
        };
        if self.now.get() - since > LONGEST_REST {
            return Some(index);
        }
        let somebody_can = {
            let (ready, fibers) = (self.ready.borrow(), self.fibers.borrow());
            ready.iter().any(|index| fibers[*index].wait.get() != Wait::Spin)
        };
        let first = self.first_resting().filter(|_| !somebody_can);
        if first != Some(index) {
            self.plan(index, REST);
        }
        first
    }

    /// A wait of a fiber is to end after so long.
    pub(super) fn plan(&self, index: usize, nanos: u64) {
        self.plans.set(self.plans.get() + 1);
        let at = self.now.get().saturating_add(nanos);
        let waits = self.fibers.borrow()[index].waits.get();
        self.planned.borrow_mut().push(Reverse((at, self.plans.get(), index, waits)));
    }

    /// The time of this one has come, which was planned.
    fn comes(&self, index: usize) {
        self.planned.borrow_mut().pop();
        if let Some(first) = self.expires(index) {
            self.ready_now(first, Ends::Otherwise);
        }
    }

    /// Those whose time has come are ready.
    fn fire(&self) {
        while let Some((at, index)) = self.first_planned() {
            if at > self.now.get() {
                return;
            }
            if self.costs.is_some() {
                // It is ready from then on, and others may be earlier than the one behind it.
                self.now.set(at);
            }
            self.comes(index);
            if self.costs.is_some() {
                self.order();
            }
        }
    }

    /// Goes to the first time that is planned; false: there is none.
    fn jump(&self) -> bool {
        let first = self.first_planned();
        if let Some((at, index)) = first {
            self.now.set(if self.costs.is_some() { at } else { self.now.get().max(at) });
            self.comes(index);
        }
        first.is_some()
    }

    fn ready_now(&self, index: usize, ends: Ends) {
        let fiber = Rc::clone(&self.fibers.borrow()[index]);
        if let Wait::Pause(_) | Wait::Rest(..) = fiber.wait.get() {
            self.paused.set(self.paused.get() - 1);
        }
        if let Some(costs) = self.costs {
            let (wake, waking) = match ends {
                Ends::Notified => (costs.wake, costs.waking),
                Ends::Otherwise => (0, 0),
            };
            fiber.time.set(fiber.time.get().max(self.now.get().saturating_add(wake)));
            self.ahead_of.set(self.ahead_of.get().min(fiber.time.get()));
            self.pass(waking);
        }
        fiber.waits.set(fiber.waits.get() + 1);
        fiber.wait.set(Wait::Turn);
        fiber.was_notified.set(ends == Ends::Notified);
        self.ready.borrow_mut().push_back(index);
        self.idle_spins.set(0);
    }

    /// Makes those ready that wait so, so many at most, in the order of the fibers.
    pub(super) fn ready_all(&self, wait: Wait, most: usize, ends: Ends) -> bool {
        let mut any = false;
        for _ in 0..most {
            let waits = |fiber: &Rc<Fiber>| fiber.wait.get() == wait;
            let waiting = self.fibers.borrow().iter().position(waits);
            let Some(index) = waiting else { break };
            self.ready_now(index, ends);
            any = true;
        }
        any
    }
}

//! The choice of the fiber that goes on, and the virtual time.
//!
//! By default the fiber goes on that has been ready for longest. Time is virtual: it passes as
//! events run and loops spin. If no fiber is ready, it jumps to the time at which the first
//! sleeping fiber wakes.
//!
//! In [timed mode](super::timed) each fiber has a time of its own, and the fiber with the earliest
//! time goes on. `now` is the time of the running fiber.

use std::cmp::Reverse;
use std::rc::Rc;

use super::fibers::{Ends, Fiber, LONGEST_REST, REST, SPIN, Wait, World};

impl World {
    /// Returns the earliest time at which another fiber may go on, for timed mode.
    pub(super) fn next_time(&self) -> u64 {
        let fibers = self.fibers.borrow();
        let ready = self.ready.borrow();
        let ready = ready.iter().map(|index| fibers[*index].time.get()).min();
        let planned = self.planned.borrow().peek().map(|Reverse((at, ..))| *at);
        ready.into_iter().chain(planned).min().unwrap_or(u64::MAX)
    }

    /// Moves the ready fiber with the earliest time to the front, and sets `now` to that time, for
    /// timed mode.
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
        // Fibers that sleep until this time are as early, and `fire` makes them ready.
        self.now.set(earliest);
    }

    /// Advances the time of a spinning fiber, for timed mode, to that of the first fiber that can
    /// change something.
    fn spins_until_another(&self, spinner: &Fiber) {
        let (ready, fibers) = (self.ready.borrow(), self.fibers.borrow());
        let others = ready.iter().map(|index| &fibers[*index]);
        let others = others.filter(|fiber| fiber.wait.get() != Wait::Spin);
        let first = others.map(|fiber| fiber.time.get()).min();
        let planned = self.planned.borrow().peek().map(|Reverse((at, ..))| *at);
        let until = first.into_iter().chain(planned).min().unwrap_or(0);
        spinner.time.set(spinner.time.get().saturating_add(SPIN).max(until));
    }

    /// Removes and returns the index of the fiber that goes on, if one can.
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

    /// Returns the first planned end of a wait that is not over: the time, and the index of the
    /// fiber.
    fn first_planned(&self) -> Option<(u64, usize)> {
        loop {
            let Reverse((at, _, index, waits)) = self.planned.borrow().peek().copied()?;
            if self.fibers.borrow()[index].waits.get() == waits {
                return Some((at, index));
            }
            self.planned.borrow_mut().pop();
        }
    }

    /// Ends one pause early if a fiber waits for all others to settle, as no time may pass for
    /// that. Returns `false` if there is no such pause.
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

    /// Returns the resting fiber with the greatest number.
    fn first_resting(&self) -> Option<usize> {
        let fibers = self.fibers.borrow();
        let resting = fibers.iter().enumerate().filter_map(|(n, fiber)| match fiber.wait.get() {
            Wait::Rest(rank, _) => Some((rank, Reverse(n))),
            _ => None,
        });
        resting.max().map(|(_, Reverse(first))| first)
    }

    /// Returns the fiber that goes on when the time of the fiber at `index` has come.
    ///
    /// A fiber that rests goes on only if no other fiber can. Otherwise its time is planned again,
    /// and another resting fiber may go on in its place.
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

    /// Plans the end of a fiber's wait, after a time in nanoseconds.
    pub(super) fn plan(&self, index: usize, nanos: u64) {
        self.plans.set(self.plans.get() + 1);
        let at = self.now.get().saturating_add(nanos);
        let waits = self.fibers.borrow()[index].waits.get();
        self.planned.borrow_mut().push(Reverse((at, self.plans.get(), index, waits)));
    }

    /// Handles the first planned end of a wait, that of the fiber at `index`, as its time has come.
    fn comes(&self, index: usize) {
        self.planned.borrow_mut().pop();
        if let Some(first) = self.expires(index) {
            self.ready_now(first, Ends::Otherwise);
        }
    }

    /// Makes the fibers ready whose time has come.
    fn fire(&self) {
        while let Some((at, index)) = self.first_planned() {
            if at > self.now.get() {
                return;
            }
            if self.costs.is_some() {
                // The fiber is ready from this time on. After that another fiber may be the
                // earliest.
                self.now.set(at);
            }
            self.comes(index);
            if self.costs.is_some() {
                self.order();
            }
        }
    }

    /// Jumps to the first planned time. Returns `false` if there is none.
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

    /// Makes up to `most` fibers ready that wait like this, in the order of the fibers. Returns
    /// `true` if there was one.
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

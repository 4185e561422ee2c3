//! The implementation of what the runtime asks of a simulation, and reports to it.

use std::any::Any;
use std::time::{Duration, Instant, SystemTime};

use dapple_colors::Access;

use super::choice::{Length, Mark, Spot};
use super::fibers::{BEGIN, EVENT, Ends, LONGEST, LOOK, REST, Wait, World};
use super::log::What;
use super::names::{Posting, Who, nobody};
use crate::clock::saturating_nanos;
use crate::site::Site;
use crate::sync::seam::{FiberHandle, Simulation};
use crate::sync::{Arc, DomainStep, Fault, Point, Reached, Sort};

impl Simulation for World {
    fn spin(&self) {
        self.suspend(Wait::Spin, None);
    }

    fn wait(&self, key: usize, limit: Option<Duration>) -> bool {
        let limit = limit.map(saturating_nanos);
        // An early end is allowed: after each wait a fiber checks whether what it waits for has
        // come.
        let (early, from) = (self.wakes_early(limit), self.nanos());
        let until = early.map(|(_, nanos)| nanos).or(limit);
        let notified = self.suspend(Wait::Key(key), until);
        match early {
            Some((mark, nanos)) if !notified => {
                let who = self.current().place.who();
                self.reaches("a wait that ends early");
                self.log.record(from, self.index(), || What::Fails { mark, who, nanos });
                false
            }
            _ => !notified,
        }
    }

    fn notify(&self, key: usize, most: usize) {
        self.ready_all(Wait::Key(key), most, Ends::Notified);
    }

    fn sleep(&self, time: Duration) {
        self.suspend(Wait::Time, Some(saturating_nanos(time)));
    }

    fn now(&self) -> Instant {
        // A reading takes time itself, so that a fiber that waits by reading the clock comes to an
        // end.
        self.pass(self.costs.map_or(LOOK, |costs| costs.clock));
        self.shares_time();
        self.instant()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + BEGIN + Duration::from_nanos(self.nanos())
    }

    fn spawn(&self, name: String, body: Box<dyn FnOnce() + Send>) -> FiberHandle {
        self.start(name, body)
    }

    fn point(&self, point: Point) {
        let fiber = self.current();
        let deviation = self.deviation(&fiber, Spot::Point(point));
        let deviation = deviation.map(|deviation| (deviation, fiber.place.who()));
        if let Some(costs) = self.costs {
            self.pass(costs.of(point));
        }
        match point {
            Point::Ended => {
                if self.costs.is_none() {
                    self.pass(EVENT);
                }
                self.has_ended(&fiber, fiber.place.event());
                fiber.place.leaves();
                self.takes_a_step();
            }
            Point::Posted => self.posted(),
            Point::Timer => drop(fiber.place.has_posted()),
            Point::Parks => self.record(|| What::Parks),
            Point::Woken => self.record(|| What::Wakes),
            _ => {}
        }
        let Some(((mark, length), who)) = deviation else { return self.shares_time() };
        let (from, index) = (self.nanos(), self.index());
        self.log.pause_begins(index, mark, from);
        match length {
            Length::For(nanos) => self.suspend(Wait::Pause(None), Some(nanos)),
            Length::Until(name) => self.suspend(Wait::Pause(Some(name)), Some(LONGEST)),
            Length::Rest(rank) => self.suspend(Wait::Rest(rank, from), Some(REST)),
        };
        self.log.pause_ends(index);
        self.record(|| What::Pauses { mark, who, from });
    }

    fn color_made(&self, address: usize, worker: Option<usize>, label: Option<Arc<str>>) {
        self.names.color_made(address, worker, label, &self.current().place);
    }

    fn worker_begins(&self, runtime: usize, steal_delay: Option<u64>) {
        let mut runtimes = self.runtimes.borrow_mut();
        let next = runtimes.len() as u32;
        let runtime = *runtimes.entry(runtime as u64).or_insert(next);
        self.record(|| What::Works { runtime, steal_delay });
    }

    fn event_made(&self, address: usize, site: &dyn Any, sort: Sort) {
        let site = site.downcast_ref::<Site>().copied();
        let event = self.names.event_made(address, site, &self.current().place);
        self.record(|| What::Makes { event, sort });
    }

    fn event_moved(&self, from: usize, to: usize) {
        self.names.event_moved(from, to);
    }

    fn event_posted(&self, address: usize, color: usize, access: Access) {
        let posting = self.names.event_posted(address, color, &self.current().place);
        if let Some(Posting { event, color, is_bound }) = posting {
            self.record(|| What::Posts { event, color, access, is_bound });
        }
    }

    fn event_begins(&self, address: usize) {
        let fiber = self.current();
        self.names.event_begins(address, &fiber.place);
        let (now, index) = (self.nanos(), self.index());
        self.log.begins(now, index, fiber.place.name(), || fiber.place.who());
        self.heart.beat(fiber.place.site());
        self.point(Point::Begins);
    }

    fn part_begins(&self, address: usize) {
        let fiber = self.current();
        self.has_ended(&fiber, None);
        let part = self.names.part_begins(address, &fiber.place);
        self.record(|| What::Part { part });
        self.heart.beat(fiber.place.site());
        self.point(Point::Begins);
    }

    fn event_dropped(&self, address: usize) {
        if let Some(event) = self.names.event_dropped(address) {
            self.record(|| What::Drops { event });
        }
    }

    fn event_panicked(&self, message: String) {
        self.log.panicked(message);
    }

    fn domain_decides(&self, address: usize, ticket: u64, step: DomainStep) {
        let domain = match step {
            DomainStep::Made(_) => self.names.domain_made(address),
            _ => self.names.domain(address),
        };
        let event = match step {
            DomainStep::Reads | DomainStep::Writes => {
                self.current().place.has_ticket(domain, ticket);
                None
            }
            DomainStep::Defers(address) => self.names.number(address),
            DomainStep::Takes(_) | DomainStep::Repairs => self.current().place.posts(),
            _ => None,
        };
        self.record(|| What::Decides { domain, ticket, step, event });
    }

    fn reached(&self, what: Reached) {
        self.reaches(what.name());
    }

    fn posted(&self) {
        if let Some(event) = self.current().place.has_posted() {
            self.record(|| What::Posted { event });
        }
    }

    fn late(&self, color: usize, deadline: u64) -> u64 {
        let Some((name, label)) = self.names.color(color) else { return deadline };
        let mark = Mark { who: name, spot: Spot::Fault(Fault::LateTimer), nth: 0 };
        let known = self.late.borrow().get(&name).copied();
        let late = known.unwrap_or_else(|| {
            let late = match self.choices.deviation(mark, name, self.steps()) {
                Some(Length::For(nanos)) => nanos,
                _ => 0,
            };
            self.late.borrow_mut().insert(name, late);
            if late > 0 {
                let who = Who { label, ..nobody(name) };
                self.reaches("timers that are late");
                self.record(|| What::Fails { mark, who, nanos: late });
            }
            late
        });
        // All timers of a color are late by the same time, so they keep their order.
        deadline.saturating_add(late)
    }
}

impl World {
    /// Returns the time after which a wait of the running fiber ends early, with its mark, if it
    /// does.
    fn wakes_early(&self, limit: Option<u64>) -> Option<(Mark, u64)> {
        let deviation = self.deviation(&self.current(), Spot::Fault(Fault::EarlyWake));
        match deviation? {
            (mark, Length::For(nanos)) if limit.is_none_or(|limit| nanos < limit) => {
                Some((mark, nanos))
            }
            _ => None,
        }
    }
}

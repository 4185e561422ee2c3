//! What the code of the runtime asks of a simulation, and tells it.

use std::any::Any;
use std::time::{Duration, Instant, SystemTime};

use dapple_colors::Access;

use super::choice::{Length, Spot};
use super::fibers::{BEGIN, EVENT, LONGEST, LONGEST_REST, LOOK, Wait, World};
use super::log::What;
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
        // Whoever waits has to look whether what it waits for has come.
        match self.fault(Fault::EarlyWake) {
            0 => !self.suspend(Wait::Key(key), limit),
            early => {
                let early_limit = limit.map_or(early, |limit| limit.min(early));
                let notified = self.suspend(Wait::Key(key), Some(early_limit));
                !notified && limit == Some(early_limit)
            }
        }
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
        if let Some(costs) = self.costs() {
            self.pass(costs.of(point));
        }
        match point {
            Point::Ended => {
                if self.costs().is_none() {
                    self.pass(EVENT);
                }
                self.has_ended(&fiber, fiber.place.event());
                fiber.place.leaves();
                self.takes_a_step();
            }
            Point::Posted => {
                if let Some(event) = fiber.place.has_posted() {
                    self.record(|| What::Posted { event });
                }
            }
            Point::Timer => drop(fiber.place.has_posted()),
            Point::Parks => self.record(|| What::Parks),
            Point::Woken => self.record(|| What::Wakes),
            _ => {}
        }
        let Some(((mark, length), who)) = deviation else { return self.shares_time() };
        let from = self.nanos();
        match length {
            Length::For(nanos) => self.suspend(Wait::Pause(None), Some(nanos)),
            Length::Until(name) => self.suspend(Wait::Pause(Some(name)), Some(LONGEST)),
            Length::Rest(rank) => self.suspend(Wait::Rest(rank), Some(LONGEST_REST)),
        };
        self.record(|| What::Deviates { mark, who, from });
    }

    fn color_made(&self, address: usize, label: Option<Arc<str>>) {
        self.names.color_made(address, label, &self.current().place);
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
        let numbers = self.names.event_posted(address, color, &self.current().place);
        if let Some((event, color)) = numbers {
            self.record(|| What::Posts { event, color, access });
        }
    }

    fn event_begins(&self, address: usize) {
        let fiber = self.current();
        self.names.event_begins(address, &fiber.place);
        let (now, index) = (self.nanos(), self.index());
        self.log.begins(now, index, fiber.place.name(), || fiber.place.who());
        self.heart.goes_on(fiber.place.site());
        self.point(Point::Begins);
    }

    fn part_begins(&self, address: usize) {
        let fiber = self.current();
        self.has_ended(&fiber, None);
        let part = self.names.part_begins(address, &fiber.place);
        self.record(|| What::Part { part });
        self.heart.goes_on(fiber.place.site());
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
        let domain = self.names.domain(address, matches!(step, DomainStep::Made(_)));
        let event = match step {
            DomainStep::Reads | DomainStep::Writes => {
                self.current().place.has_ticket(domain, ticket);
                None
            }
            DomainStep::Defers(address) => self.names.number(address),
            DomainStep::Takes(_) => self.current().place.posts(),
            _ => None,
        };
        self.record(|| What::Decides { domain, ticket, step, event });
    }

    fn reached(&self, what: Reached) {
        self.reaches(what.name());
    }

    fn fault(&self, fault: Fault) -> u64 {
        let fiber = self.current();
        let deviation = self.deviation(&fiber, Spot::Fault(fault));
        let Some((mark, Length::For(nanos))) = deviation else { return 0 };
        let (who, from) = (fiber.place.who(), self.nanos());
        let (at, index) = (from + nanos, self.index());
        self.log.record(at, index, || What::Deviates { mark, who, from });
        nanos
    }
}

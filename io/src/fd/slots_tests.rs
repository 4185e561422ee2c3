//! A model of the registrations of one descriptor, searched in every interleaving. It has bytes
//! that arrive, a poller, events that run on other workers, and a program that pauses registrations
//! and changes their interest. The poller's worker may get stuck. Then another worker attends,
//! which looks only when something has become ready.
//!
//! The model of the system has a number of bytes, what it was asked for, and the edges that it has
//! not reported: those of the descriptor, and those of the poller to the worker that attends. Two
//! properties are checked in each state:
//!
//! * When no event is under way, and the poller finds nothing or no worker looks, no byte is left
//!   for which a registration would be called.
//! * A poller that looks again and again while no event makes progress comes to find nothing: after
//!   two looks that would wait, so that it can sleep, and after `PASSES + 2` looks in passing.

use std::collections::HashSet;

use super::*;
use crate::readiness::Readiness;

/// The number of bytes that arrive in a run.
const BYTES: u8 = 2;

/// The number of steps of the program in a run.
const ACTS: u8 = 2;

/// The code that drives the step function. All variants but the first are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    Right,
    /// After an event, it does not have the system look afresh.
    NeverLooksAfresh,
    /// It does not tell the system what a report has changed.
    ForgetsReports,
    /// It does not tell the system what the end of an event has changed.
    ForgetsEnds,
    /// It does not tell the system that a registration was resumed.
    ForgetsResumes,
    /// It does not notice that another worker attends.
    SeesNoAttention,
}

/// An event of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Event {
    Queued,
    /// The event has begun, and passes this readiness to the callback.
    Begun(Option<Ready>),
    /// The callback has returned.
    Called,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    slots: Slots<()>,
    keys: Vec<Key>,
    /// The events of each registration, in the order of its color. The first one runs, and the
    /// others wait.
    events: Vec<Vec<Event>>,
    asked: Option<(Wants, Reports)>,
    has_edge: bool,
    bytes: u8,
    to_come: u8,
    acts: u8,
    /// Whether a worker that attends has been woken; `None` if no other worker attends.
    attends: Option<bool>,
    /// The poller's worker may still get stuck.
    may_stick: bool,
}

impl World {
    fn new(registrations: &[(Interest, Owns)]) -> World {
        let mut slots = Slots::default();
        let keys = registrations.iter().map(|(interest, owns)| slots.add((), *interest, *owns));
        let keys: Vec<_> = keys.collect();
        let events = vec![Vec::new(); keys.len()];
        let (asked, has_edge) = (None, false);
        let mut world = World {
            slots,
            keys,
            events,
            asked,
            has_edge,
            bytes: 0,
            to_come: BYTES,
            acts: ACTS,
            attends: None,
            // The interplay of two registrations does not depend on the worker that looks.
            may_stick: registrations.len() == 1,
        };
        world.settle(Renew::Always);
        world
    }

    /// Does what an entry does after a change.
    fn settle(&mut self, renew: Renew) {
        let wants = self.slots.wanted();
        let wanted = (!wants.is_nothing()).then(|| (wants, self.slots.reports()));
        if self.asked != wanted || renew == Renew::Always {
            self.asked = wanted;
            self.has_edge = self.bytes > 0 && self.reads();
            self.tell_who_attends();
        }
    }

    /// Wakes the worker that attends, if the descriptor is ready.
    fn tell_who_attends(&mut self) {
        if self.is_reported()
            && let Some(is_told) = &mut self.attends
        {
            *is_told = true;
        }
    }

    /// Returns `true` if a worker looks and finds the descriptor ready.
    fn is_found(&self) -> bool {
        self.is_reported() && self.attends != Some(false)
    }

    fn reads(&self) -> bool {
        self.asked.is_some_and(|(wants, _)| wants.reads())
    }

    fn is_reported(&self) -> bool {
        self.reads()
            && match self.asked {
                Some((_, Reports::Levels)) => self.bytes > 0,
                Some((_, Reports::Edges)) => self.has_edge,
                None => false,
            }
    }

    fn poll(&mut self, driver: Driver, how: How) {
        self.has_edge = false;
        self.attends = self.attends.map(|_| false);
        let readiness = Readiness { readable: true, ..Readiness::default() };
        let mut queued = Vec::new();
        self.slots
            .report(readiness.into(), Seen { look: u64::MAX, how }, |key, ()| queued.push(key));
        for key in queued {
            let at = self.keys.iter().position(|known| *known == key).unwrap();
            self.events[at].push(Event::Queued);
        }
        if driver != Driver::ForgetsReports && self.slots.reports() == Reports::Levels {
            self.settle(Renew::IfChanged);
        }
    }

    /// Returns the states that one step leads to.
    fn steps(&self, driver: Driver) -> Vec<World> {
        let mut next = Vec::new();
        let mut step = |change: &dyn Fn(&mut World)| {
            let mut world = self.clone();
            change(&mut world);
            next.push(world);
        };
        if self.to_come > 0 {
            step(&|world| {
                world.to_come -= 1;
                world.bytes += 1;
                world.has_edge = world.reads();
                world.tell_who_attends();
            });
        }
        if self.is_found() {
            step(&|world| world.poll(driver, How::InPassing));
            if self.attends.is_none() {
                step(&|world| world.poll(driver, How::Waiting));
            }
        }
        if self.may_stick {
            // A worker that begins to attend is told of what is ready.
            step(&|world| {
                (world.may_stick, world.attends) = (false, Some(world.is_reported()));
            });
        }
        for at in 0..self.keys.len() {
            let key = self.keys[at];
            match self.events[at].first() {
                None => {}
                Some(Event::Queued) => step(&|world| {
                    let told = world.slots.begin(key);
                    world.events[at][0] = Event::Begun(told);
                }),
                Some(Event::Begun(told)) => step(&|world| {
                    if told.is_some() {
                        // A level-triggered callback reads one byte, an edge-triggered one reads
                        // all bytes.
                        let slot = world.slots.slots.iter().find(|slot| slot.key == key);
                        let is_edge = slot.unwrap().interest.is_edge_triggered();
                        world.bytes = if is_edge { 0 } else { world.bytes.saturating_sub(1) };
                    }
                    world.events[at][0] = Event::Called;
                }),
                Some(Event::Called) => {
                    // Either the event ran on the stuck worker, which goes on now, or it ran on
                    // another one.
                    for is_over in [false, true] {
                        step(&|world| {
                            world.events[at].remove(0);
                            world.attends = world.attends.filter(|_| !is_over);
                            let polled_by = match world.attends.is_some() {
                                true if driver != Driver::SeesNoAttention => PolledBy::Another,
                                _ => PolledBy::OwnWorker,
                            };
                            let renew = world.slots.finish(key, polled_by, 0);
                            match driver {
                                Driver::ForgetsEnds => {}
                                Driver::NeverLooksAfresh => world.settle(Renew::IfChanged),
                                _ => world.settle(renew),
                            }
                        });
                    }
                }
            }
            if self.acts > 0 {
                step(&|world| {
                    world.acts -= 1;
                    match world.slots.is_paused(key) {
                        true => {
                            let renew = world.slots.resume(key);
                            if driver != Driver::ForgetsResumes {
                                world.settle(renew);
                            }
                        }
                        false => {
                            world.slots.pause(key);
                            world.settle(Renew::IfChanged);
                        }
                    }
                });
                for interest in [Interest::READABLE, Interest::READABLE.edge_triggered()] {
                    step(&|world| {
                        world.acts -= 1;
                        let renew = world.slots.set_interest(key, interest);
                        world.settle(renew);
                    });
                }
            }
        }
        next
    }

    /// Returns what is wrong with the state, if anything is.
    fn fault(&self, driver: Driver) -> Option<&'static str> {
        let is_called = |slot: &Slot<()>| !slot.is_paused && slot.interest.is_readable();
        let is_quiet = self.events.iter().all(Vec::is_empty) && !self.is_found();
        if is_quiet && self.bytes > 0 && self.slots.slots.iter().any(is_called) {
            return Some("bytes are left, and nobody is called");
        }
        for (how, times) in [(How::Waiting, 2), (How::InPassing, PASSES + 2)] {
            let mut looked = World { attends: None, ..self.clone() };
            for _ in 0..times {
                if looked.is_reported() {
                    looked.poll(driver, how);
                }
            }
            if looked.is_reported() {
                return Some("the poller finds the same again and again");
            }
        }
        None
    }
}

/// Searches all states. Returns the fault that was found, if any, and the number of states.
fn search(registrations: &[(Interest, Owns)], driver: Driver) -> (Option<&'static str>, usize) {
    let mut todo = vec![World::new(registrations)];
    let mut seen: HashSet<World> = todo.iter().cloned().collect();
    while let Some(world) = todo.pop() {
        if let Some(fault) = world.fault(driver) {
            return (Some(fault), seen.len());
        }
        for next in world.steps(driver) {
            if seen.insert(next.clone()) {
                todo.push(next);
            }
        }
    }
    (None, seen.len())
}

fn programs() -> Vec<Vec<(Interest, Owns)>> {
    let level = Interest::READABLE;
    let edge = level.edge_triggered();
    let all = [(level, Owns::Yes), (level, Owns::No), (edge, Owns::Yes), (edge, Owns::No)];
    let ones = all.iter().map(|one| vec![*one]);
    let pairs = all.iter().flat_map(|one| all.iter().map(|other| vec![*one, *other]));
    ones.chain(pairs).collect()
}

#[test]
fn n2_no_byte_is_forgotten_and_no_poller_spins() {
    let mut states = 0;
    for program in programs() {
        let (fault, seen) = search(&program, Driver::Right);
        assert_eq!(fault, None, "{program:?}");
        states += seen;
    }
    println!("{states} states");
    assert!(states > 10_000, "the search looks at little: {states}");
}

#[test]
fn n2_wrong_drivers_are_caught() {
    for driver in [
        Driver::NeverLooksAfresh,
        Driver::ForgetsReports,
        Driver::ForgetsEnds,
        Driver::ForgetsResumes,
        Driver::SeesNoAttention,
    ] {
        let caught = programs().iter().any(|program| search(program, driver).0.is_some());
        assert!(caught, "{driver:?} passes");
    }
}

#[test]
fn n2_what_an_earlier_look_has_found_is_told_by_the_next_one() {
    let mut slots = Slots::default();
    let key = slots.add((), Interest::READABLE, Owns::Yes);
    let ready = Readiness { readable: true, ..Readiness::default() };
    let report = |slots: &mut Slots<()>, look| {
        let mut posts = 0;
        let seen = Seen { look, how: How::InPassing };
        slots.report(ready.into(), seen, |_, ()| posts += 1);
        posts
    };
    assert_eq!(report(&mut slots, 1), 1);
    assert!(slots.begin(key).is_some());
    // This look began before the event had read what there was.
    assert_eq!(slots.finish(key, PolledBy::OwnWorker, 2), Renew::IfChanged);
    assert_eq!(report(&mut slots, 2), 0);
    assert_eq!(report(&mut slots, 3), 1);
}

//! The serial interpreter.
use std::collections::VecDeque;

use crate::program::*;

pub struct Stopped;

pub struct World {
    outcome: Outcome,
    queue: VecDeque<Event>,
    poisoned: bool,
}

pub struct Running {
    ticket: u64,
    deferred: Vec<Act>,
}

impl World {
    fn step(&mut self, run: &mut Running, acts: &[Act]) -> Result<(), Stopped> {
        for act in acts {
            match act {
                Act::Write(k) => write(&mut self.outcome.state, *k),
                Act::Read => {
                    let seen = self.outcome.state;
                    self.outcome.reads.entry(run.ticket).or_default().push(seen);
                }
                Act::Panic => return Err(Stopped),
                deferred => run.deferred.push(deferred.clone()),
            }
        }
        Ok(())
    }

    fn commit(&mut self, run: &mut Running) {
        for act in run.deferred.drain(..) {
            match act {
                Act::Defer(k) => self.outcome.effects.push((run.ticket, u16::from(k))),
                Act::Post(event) => self.queue.push_back(*event),
                _ => unreachable!("only these are deferred"),
            }
        }
    }

    fn event(&mut self, ticket: u64, e: &Event, transactional: bool) {
        if self.poisoned && !e.repairs {
            return;
        }
        let mut run = Running { ticket, deferred: vec![] };
        let before = self.outcome.state;
        for acts in &e.none {
            if self.step(&mut run, acts).is_err() {
                return;
            }
        }
        for acts in &e.global {
            if self.step(&mut run, acts).is_err() {
                match transactional {
                    true => self.outcome.state = before,
                    false => self.poisoned = true,
                }
                return;
            }
        }
        for acts in &e.alone {
            self.commit(&mut run);
            self.outcome.effects.push((ticket, AT_ONCE));
            if self.step(&mut run, acts).is_err() {
                self.poisoned = true;
                return;
            }
        }
        self.poisoned &= !e.repairs;
        let kept = if e.global.is_empty() { 0 } else { run.deferred.len() };
        for acts in &e.anon {
            if self.step(&mut run, acts).is_err() {
                run.deferred.truncate(kept);
                return self.commit(&mut run);
            }
        }
        self.commit(&mut run);
        if let Some(then) = &e.then {
            self.queue.push_back((**then).clone());
        }
    }
}

pub fn run(program: &[Event], transactional: bool) -> Outcome {
    let queue = program.iter().cloned().collect();
    let mut world = World { outcome: Outcome::default(), queue, poisoned: false };
    let mut ticket = 0;
    while let Some(event) = world.queue.pop_front() {
        // Ticket 1 belongs to the event that posts the program.
        ticket += 1;
        world.event(ticket + 1, &event, transactional);
    }
    world.outcome
}

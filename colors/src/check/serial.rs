//! Runs the sub-events one by one by ticket (I13), with neither an order nor versions.
//!
//! Only the assignment of tickets to sub-events is taken from the parallel run. Everything else
//! follows from the scenario.

use std::rc::Rc;

use super::State;
use super::event::{Action, Event, How, Made};
use super::scenario::{Listed, Scenario};
use super::script::Step;
use super::world::Origin;
use crate::{Context, Ticket};

#[derive(Debug)]
pub(super) struct Serial<S> {
    pub(super) state: S,
    pub(super) effects: Vec<(Ticket, Rc<str>)>,
    pub(super) saw: Vec<Vec<Rc<str>>>,
    poisoned: bool,
    /// Events and sub-events that have not run yet.
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    origin: Origin,
    script: usize,
    next: usize,
    kept: Vec<i64>,
    is_exempt: bool,
}

/// A sub-event that runs.
struct Running<S> {
    ticket: Ticket,
    context: Context,
    deferred: Vec<Action>,
    /// The number of deferred actions that a panic does not drop.
    safe: usize,
    posts: usize,
    saw: Vec<Rc<str>>,
    /// The state before the event entered global, to restore after a panic.
    before: Option<S>,
    was_alone: bool,
    panicked: bool,
    /// The first step of the sub-event that follows.
    then: Option<usize>,
}

/// Runs the events in ticket order, and returns the outcome.
///
/// The error describes a mismatch: a ticket for an event that does not happen in this order, or an
/// event without a ticket.
pub(super) fn run<S: State>(
    scenario: &Scenario<S>,
    tickets: &[(Origin, usize)],
) -> Result<Serial<S>, String> {
    let pending = |(i, listed): (usize, &Listed)| Pending {
        origin: Origin::Listed(i),
        script: listed.script,
        next: 0,
        kept: Vec::new(),
        is_exempt: listed.repairs,
    };
    let mut serial = Serial {
        state: scenario.state.clone(),
        effects: Vec::new(),
        saw: Vec::new(),
        poisoned: false,
        pending: scenario.listed.iter().enumerate().map(pending).collect(),
    };
    for (i, (origin, _)) in tickets.iter().enumerate() {
        let ticket = Ticket::from_number(i as u64 + 1);
        let found = serial.pending.iter().position(|pending| pending.origin == *origin);
        let Some(found) = found else {
            return Err(format!(
                "ticket {ticket} is for an event that does not happen when the events run one by \
                 one"
            ));
        };
        let pending = serial.pending.remove(found);
        serial.sub_event(scenario, ticket, pending)?;
    }
    match serial.pending.first() {
        Some(pending) => Err(format!(
            "{:?} happens when the events run one by one, but has no ticket",
            scenario.scripts[pending.script].0
        )),
        None => Ok(serial),
    }
}

impl<S: State> Serial<S> {
    fn sub_event(
        &mut self,
        scenario: &Scenario<S>,
        ticket: Ticket,
        mut event: Pending,
    ) -> Result<(), String> {
        let covered = self.poisoned && !event.is_exempt;
        let mut now = Running {
            ticket,
            context: Context::None,
            deferred: Vec::new(),
            safe: 0,
            posts: 0,
            saw: Vec::new(),
            before: None,
            was_alone: false,
            panicked: false,
            then: None,
        };
        let steps = &scenario.scripts[event.script].1.steps;
        for (i, step) in steps.iter().enumerate().skip(event.next) {
            let made = match step {
                Step::Renounce(_) => continue,
                Step::Commit => {
                    now.then = Some(i + 1);
                    break;
                }
                Step::In(Context::None, closure) => {
                    let run = (Context::None, false);
                    Event::run(closure, run, None, &mut event.kept)
                }
                Step::In(..) | Step::Alone(_) if covered => break,
                Step::In(context, closure) => {
                    self.go_to(*context, &mut now, &event);
                    Event::run(closure, (*context, false), Some(&mut self.state), &mut event.kept)
                }
                Step::Alone(closure) => {
                    self.go_to(Context::Global, &mut now, &event);
                    self.have_effect(scenario, &mut now);
                    now.was_alone = true;
                    let run = (Context::Global, true);
                    Event::run(closure, run, Some(&mut self.state), &mut event.kept)
                }
            };
            if self.goes_on(&mut now, made)? {
                continue;
            }
            break;
        }
        self.end(scenario, now, event, covered);
        Ok(())
    }

    fn go_to(&mut self, context: Context, now: &mut Running<S>, event: &Pending) {
        if context == now.context {
            return;
        }
        if now.context == Context::Global {
            now.safe = now.deferred.len();
            self.poisoned &= !event.is_exempt;
        }
        if context == Context::Global {
            now.before = Some(self.state.clone());
        }
        now.context = context;
    }

    fn goes_on(&mut self, now: &mut Running<S>, made: Made) -> Result<bool, String> {
        now.saw.extend(made.saw);
        now.deferred.extend(made.deferred);
        self.effects.extend(made.acted.into_iter().map(|effect| (now.ticket, effect)));
        match made.how {
            How::Returned => Ok(!made.ends),
            How::Panicked => {
                now.panicked = true;
                Ok(false)
            }
            How::Broke(_, what) => {
                Err(format!("when the events run one by one, ticket {}: {what}", now.ticket))
            }
        }
    }

    fn end(&mut self, scenario: &Scenario<S>, mut now: Running<S>, event: Pending, covered: bool) {
        match (now.panicked, now.context) {
            (true, Context::None) => now.deferred.clear(),
            (true, Context::Anon) => now.deferred.truncate(now.safe),
            (true, Context::Global) => {
                now.deferred.clear();
                if scenario.transactional && !now.was_alone {
                    self.state = now.before.take().expect("it was in global");
                } else {
                    self.poisoned = true;
                }
            }
            (false, Context::Global) => self.poisoned &= !event.is_exempt,
            (false, _) => {}
        }
        if covered {
            now.deferred.clear();
            now.then = None;
        }
        self.have_effect(scenario, &mut now);
        self.saw.push(now.saw);
        if let Some(next) = now.then.filter(|_| !now.panicked) {
            let origin = Origin::After(now.ticket);
            self.pending.push(Pending { origin, next, is_exempt: false, ..event });
        }
    }

    /// Runs the deferred actions.
    fn have_effect(&mut self, scenario: &Scenario<S>, now: &mut Running<S>) {
        for action in now.deferred.drain(..) {
            match action {
                Action::Effect(effect) => self.effects.push((now.ticket, effect)),
                Action::Post(name) => {
                    let origin = Origin::PostedBy(now.ticket, now.posts);
                    now.posts += 1;
                    let Some(script) = scenario.find_handler(&name) else { continue };
                    let kept = Vec::new();
                    self.pending.push(Pending { origin, script, next: 0, kept, is_exempt: false });
                }
            }
        }
    }
}

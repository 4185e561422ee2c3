//! Visits every world once, nearest first.
//!
//! For each world the search keeps its predecessor and the choice that led from there.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use super::State;
use super::scenario::{Report, Scenario};
use super::serial::{self, Serial};
use super::steps::Steps;
use super::story::{self, Line};
use super::violation::{Broken, Checked, Rule, Violation};
use super::world::{Choice, Origin, World};

/// How a world was reached: its predecessor and the choice. `None` for the first world.
pub(super) type Way = Option<(usize, Choice)>;

/// The outcomes of the one-by-one runs, by how the tickets were handed out.
type Serials<S> = HashMap<Vec<(Origin, usize)>, Result<Serial<S>, String>>;

pub(super) fn search<S: State, O: Steps>(scenario: &Scenario<S>) -> Result<Report, Violation> {
    let first = Rc::new(World::<S, O>::new(scenario));
    let mut ways: Vec<Way> = vec![None];
    let mut seen = HashSet::from([first.clone()]);
    let mut todo = VecDeque::from([(0, first)]);
    let mut serials = Serials::new();
    let (mut transitions, mut ends) = (0, 0);
    while let Some((at, world)) = todo.pop_front() {
        let mut is_end = true;
        for choice in world.choices(scenario) {
            is_end = false;
            transitions += 1;
            let mut next = (*world).clone();
            if let Err(broken) = go(&mut next, scenario, choice, &mut Line::unread()) {
                return Err(story::tell(scenario, &ways, (at, Some(choice)), &next, broken));
            }
            let next = Rc::new(next);
            if seen.insert(next.clone()) {
                todo.push_back((ways.len(), next.clone()));
                ways.push(Some((at, choice)));
            }
            if ways.len() > scenario.limit {
                let what = format!("there are more than {} worlds", scenario.limit);
                let broken = Broken::new(Rule::Scenario, what);
                return Err(story::tell(scenario, &ways, (at, Some(choice)), &next, broken));
            }
        }
        if is_end {
            ends += 1;
            let mut world = (*world).clone();
            if let Err(broken) = check_end(scenario, &mut world, &mut serials) {
                return Err(story::tell(scenario, &ways, (at, None), &world, broken));
            }
        }
    }
    Ok(Report { states: ways.len(), transitions, ends, orders: serials.len() })
}

/// Applies one transition. A panic of the step functions becomes a violation.
pub(super) fn go<S: State, O: Steps>(
    world: &mut World<S, O>,
    scenario: &Scenario<S>,
    choice: Choice,
    line: &mut Line,
) -> Checked {
    let went = panic::catch_unwind(AssertUnwindSafe(|| world.apply(scenario, choice, line)));
    went.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Broken::new(Rule::Steps, format!("the step functions panicked: {text}")))
    })
}

/// I13: checks that the outcome is that of the events run one by one.
fn check_end<S: State, O: Steps>(
    scenario: &Scenario<S>,
    world: &mut World<S, O>,
    serials: &mut Serials<S>,
) -> Checked {
    let state = world.end()?.clone();
    let log = &world.log;
    let tickets = log.tickets.clone();
    let serial = serials.entry(tickets).or_insert_with_key(|key| serial::run(scenario, key));
    let serial = match serial {
        Ok(serial) => serial,
        Err(what) => return Err(Broken::new(Rule::I13, what.clone())),
    };
    let differ = |what: &str, is: &dyn fmt::Debug, should: &dyn fmt::Debug| {
        let what = format!("{what} {is:?}, but {should:?} when the events run one by one");
        Err(Broken::new(Rule::I13, what))
    };
    if state != serial.state {
        return differ("the state is", &state, &serial.state);
    }
    if log.saw != serial.saw {
        return differ("the events saw (by ticket)", &log.saw, &serial.saw);
    }
    if log.effects != serial.effects {
        return differ("the effects are (with their tickets)", &log.effects, &serial.effects);
    }
    Ok(())
}

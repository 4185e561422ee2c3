//! The interleaving that broke a rule, told line by line.

use super::State;
use super::event::{Action, How, Made};
use super::scenario::Scenario;
use super::search::{self, Way};
use super::steps::Steps;
use super::violation::{Broken, Violation};
use super::world::{Choice, World};

/// Replays the way to the violation, and describes each transition. Closures that are not
/// deterministic may lead elsewhere; then the story says so.
pub(super) fn tell<S: State, O: Steps>(
    scenario: &Scenario<S>,
    ways: &[Way],
    (mut at, last): (usize, Option<Choice>),
    broken_in: &World<S, O>,
    broken: Broken,
) -> Violation {
    let mut choices = Vec::from_iter(last);
    while let Some((before, choice)) = ways[at] {
        choices.push(choice);
        at = before;
    }
    let mut world = World::<S, O>::new(scenario);
    let mut interleaving = Vec::new();
    for (i, choice) in choices.iter().rev().enumerate() {
        let mut line = Line(Some(String::new()));
        let can = world.choices(scenario).any(|c| c == *choice);
        let went = can.then(|| search::go(&mut world, scenario, *choice, &mut line));
        interleaving.extend(line.0);
        if !matches!(went, Some(Ok(()))) {
            if i + 1 < choices.len() {
                interleaving
                    .push("(the replay differs here: a closure is not deterministic)".into());
            }
            break;
        }
    }
    let Broken { rule, ticket, what } = broken;
    let place = ticket.and_then(|t| Some((t, broken_in.place(t, scenario)?)));
    let (event, step) = match place {
        Some((ticket, (name, step))) => (Some((name, ticket)), step),
        None => (None, None),
    };
    Violation { rule, event, step, what, interleaving }
}

/// The description of a transition; `None` if nobody reads it.
pub(super) struct Line(Option<String>);

impl Line {
    pub(super) fn unread() -> Self {
        Line(None)
    }

    pub(super) fn say(&mut self, what: impl FnOnce() -> String) {
        let Some(line) = &mut self.0 else { return };
        let what = what();
        let between = match line.ends_with(':') || what.starts_with("->") {
            _ if line.is_empty() => "",
            true => " ",
            false => ", ",
        };
        line.push_str(between);
        line.push_str(&what);
    }

    /// Adds what a step did.
    pub(super) fn made<S: State>(&mut self, made: &Made, state: Option<&S>) {
        if let Some(state) = state.filter(|_| made.wrote) {
            self.say(|| format!("writes {state:?}"));
        }
        for value in &made.saw {
            self.say(|| format!("sees {value}"));
        }
        for action in &made.deferred {
            self.say(|| match action {
                Action::Effect(effect) => format!("defers {effect:?}"),
                Action::Post(handler) => format!("is to post {handler:?}"),
            });
        }
        for effect in &made.acted {
            self.say(|| format!("does {effect:?} at once"));
        }
        if made.ends {
            self.say(|| "ends".into());
        }
        if let How::Panicked = made.how {
            self.say(|| "panics".into());
        }
    }
}

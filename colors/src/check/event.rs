//! The argument of a step's closure, and what the step did with it.
//!
//! The closure runs on a copy of the state that it may read. What it did is collected in [`Made`],
//! and the caller applies it. Misuse unwinds out of the closure as a panic does, but prints no
//! message.

use std::any::Any;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use super::violation::Rule;
use crate::Context;

/// A deferred action.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Effect(Rc<str>),
    /// The post of the handler with this name.
    Post(Rc<str>),
}

/// What a step did.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) wrote: bool,
    pub(super) ends: bool,
    pub(super) deferred: Vec<Action>,
    pub(super) acted: Vec<Rc<str>>,
    pub(super) saw: Vec<Rc<str>>,
    pub(super) how: How,
}

/// How a step ended.
#[derive(Debug, Default)]
pub(super) enum How {
    #[default]
    Returned,
    Panicked,
    Broke(Rule, String),
}

/// An event in one of its steps: what the closure of a [`Script`](super::Script)'s step can do.
pub struct Event<'a, S> {
    context: Context,
    alone: bool,
    state: Option<&'a mut S>,
    kept: &'a mut Vec<i64>,
    made: Made,
}

/// The payload of a panic that the scenario planned.
struct Planned;
struct Misuse(Rule, String);

impl<'a, S> Event<'a, S> {
    /// Runs a step in a context, or alone in global. `state` is `None` in none only.
    pub(super) fn run(
        step: &dyn Fn(&mut Event<'_, S>),
        (context, alone): (Context, bool),
        state: Option<&'a mut S>,
        kept: &'a mut Vec<i64>,
    ) -> Made {
        let mut event = Event { context, alone, state, kept, made: Made::default() };
        let ended = panic::catch_unwind(AssertUnwindSafe(|| step(&mut event)));
        event.made.how = match ended {
            Ok(()) => How::Returned,
            Err(payload) => why(payload),
        };
        event.made
    }

    /// Returns the state. Allowed in anon and global; in none it breaks I2.
    pub fn read(&self) -> &S {
        match &self.state {
            Some(state) => state,
            None => misuse(Rule::I2, "it reads the state in none".into()),
        }
    }

    /// Returns the state for writing. Allowed in global; in any other context it breaks I2.
    pub fn write(&mut self) -> &mut S {
        match &mut self.state {
            Some(state) if self.context == Context::Global => {
                self.made.wrote = true;
                state
            }
            _ => misuse(Rule::I2, format!("it writes the state in {}", self.context)),
        }
    }

    /// Records a value that depends on what the event read.
    ///
    /// The value has to be the same in every interleaving that hands out the tickets in the same
    /// way.
    pub fn see(&mut self, value: impl fmt::Debug) {
        self.made.saw.push(format!("{value:?}").into());
    }

    /// Defers an effect until the commit.
    pub fn defer(&mut self, effect: impl Into<String>) {
        self.made.deferred.push(Action::Effect(effect.into().into()));
    }

    /// Performs an effect that cannot be deferred, at once.
    ///
    /// Allowed in a step that is [alone](super::Script::alone); in any other step it breaks I9. See
    /// [`Script`](super::Script) for an example.
    pub fn act(&mut self, effect: impl Into<String>) {
        if !self.alone {
            let place = self.context;
            misuse(Rule::I9, format!("it acts at once in {place}, without being alone"));
        }
        self.made.acted.push(effect.into().into());
    }

    /// Posts the [handler](super::Scenario::handler) with this name, at the commit.
    /// [`Scenario`](super::Scenario) has an example.
    pub fn post(&mut self, handler: &str) {
        self.made.deferred.push(Action::Post(handler.into()));
    }

    /// Keeps a value for the later steps and sub-events of the event. See [`Script`](super::Script)
    /// for an example.
    pub fn keep(&mut self, value: i64) {
        self.kept.push(value);
    }

    /// Returns the values that the event has kept so far.
    pub fn kept(&self) -> &[i64] {
        self.kept
    }

    /// Ends the event: it commits when this step has returned, without its later steps and
    /// sub-events.
    pub fn end(&mut self) {
        self.made.ends = true;
    }

    /// Panics without a message.
    ///
    /// A real panic has the same effect, but prints its message in each of the many runs of the
    /// step. [`Scenario`](super::Scenario) has an example.
    pub fn panic(&self) -> ! {
        panic::resume_unwind(Box::new(Planned))
    }
}

fn misuse(rule: Rule, what: String) -> ! {
    panic::resume_unwind(Box::new(Misuse(rule, what)))
}

fn why(payload: Box<dyn Any + Send>) -> How {
    match payload.downcast::<Misuse>() {
        Ok(misuse) => How::Broke(misuse.0, misuse.1),
        Err(_) => How::Panicked,
    }
}

impl<S: fmt::Debug> fmt::Debug for Event<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { context, alone, state, kept, made } = self;
        f.debug_struct("Event")
            .field("context", context)
            .field("alone", alone)
            .field("state", state)
            .field("kept", kept)
            .field("made", made)
            .finish()
    }
}

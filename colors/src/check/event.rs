//! What a step can do: the argument of its closure.
//!
//! The closure runs on a copy of what it may read. What it did is collected, and the caller applies
//! it. A misuse leaves the closure by unwinding, as a panic does, without a message.

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
    /// The post of a handler.
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

/// An event in one of its steps.
pub struct Event<'a, S> {
    context: Context,
    alone: bool,
    state: Option<&'a mut S>,
    kept: &'a mut Vec<i64>,
    made: Made,
}

/// What unwinds out of a closure.
struct Planned;
struct Misuse(Rule, String);

impl<'a, S> Event<'a, S> {
    /// Runs a step in a context, or alone in global. There is a state, except in none.
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

    /// The state. In anon and global.
    pub fn read(&self) -> &S {
        match &self.state {
            Some(state) => state,
            None => misuse(Rule::I2, "it reads the state in none".into()),
        }
    }

    /// The state, to change it. In global.
    pub fn write(&mut self) -> &mut S {
        match &mut self.state {
            Some(state) if self.context == Context::Global => {
                self.made.wrote = true;
                state
            }
            _ => misuse(Rule::I2, format!("it writes the state in {}", self.context)),
        }
    }

    /// Notes a value that depends on what the event read. It has to be the same in every
    /// interleaving that hands out the tickets alike.
    pub fn see(&mut self, value: impl fmt::Debug) {
        self.made.saw.push(format!("{value:?}").into());
    }

    /// Defers an effect until the commit.
    pub fn defer(&mut self, effect: impl Into<String>) {
        self.made.deferred.push(Action::Effect(effect.into().into()));
    }

    /// Has an effect at once, which cannot be deferred. In a step that is
    /// [alone](super::Script::alone).
    pub fn act(&mut self, effect: impl Into<String>) {
        if !self.alone {
            let place = self.context;
            misuse(Rule::I9, format!("it acts at once in {place}, without being alone"));
        }
        self.made.acted.push(effect.into().into());
    }

    /// Posts a [handler](super::Scenario::handler) of this name, at the commit.
    pub fn post(&mut self, handler: &str) {
        self.made.deferred.push(Action::Post(handler.into()));
    }

    /// Keeps a value for the later steps and sub-events of the event.
    pub fn keep(&mut self, value: i64) {
        self.kept.push(value);
    }

    /// The values that it has kept.
    pub fn kept(&self) -> &[i64] {
        self.kept
    }

    /// Commits when this step has returned. The other steps, and sub-events, are left out.
    pub fn end(&mut self) {
        self.made.ends = true;
    }

    /// Panics, without a message. A real panic is the same, except that it prints one, many times.
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

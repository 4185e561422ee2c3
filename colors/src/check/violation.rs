//! The rules that are watched, and the report of a broken one.

use std::error::Error;
use std::fmt;

use crate::Ticket;

/// A rule that the check watches. Numbered names are those of the project's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Tickets are consecutive, a sub-event takes its ticket at its parent's commit, and the order
    /// never stops.
    I1,
    /// Events take only legal steps, and do in each context only what is allowed there.
    I2,
    /// An event enters a context if and only if it may.
    I3,
    /// An event goes no higher than it has declared, and a none-only event delays nobody's entry.
    I4,
    /// An event in anon reads what the last earlier event in global left, or what it wrote itself.
    I5,
    /// State is released before the commit is awaited.
    I6,
    /// Events commit in ticket order, one after the other.
    I7,
    /// The oldest event commits as soon as it has ended, and not before.
    I8,
    /// A non-deferrable action is done alone, in global, after everything earlier has happened.
    I9,
    /// A version is kept as long as it is current or read, and no longer.
    I11,
    /// A panic drops and poisons what the rule says, and a repair ends the poison.
    I12,
    /// The state, the reads and the effects are those of the sub-events run one by one by ticket.
    I13,
    /// Each event commits once. This optional rule of the paper makes whole events atomic.
    CommitsOnce,
    /// The scenario can be searched: it is not too large, and posts only handlers that it has.
    Scenario,
    /// The step functions neither panic nor decide without end.
    Steps,
}

impl Rule {
    fn text(self) -> &'static str {
        match self {
            Rule::I1 => "tickets are consecutive, and the order never stops",
            Rule::I2 => "only legal steps, and in a context only what is allowed there",
            Rule::I3 => "an event enters a context if and only if it may",
            Rule::I4 => "no higher than declared, and a none-only event delays nobody",
            Rule::I5 => "anon reads what the last earlier event in global left",
            Rule::I6 => "state is released before the commit is awaited",
            Rule::I7 => "events commit in ticket order, one after the other",
            Rule::I8 => "the oldest event commits as soon as it has ended, and not before",
            Rule::I9 => "a non-deferrable action is done alone in global",
            Rule::I11 => "a version is kept while it is current or read, and no longer",
            Rule::I12 => "panics, poison and repair",
            Rule::I13 => "the same as the sub-events run one by one by ticket",
            Rule::CommitsOnce => "each event commits once",
            Rule::Scenario => "the scenario cannot be searched",
            Rule::Steps => "the step functions failed",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.text())
    }
}

/// A rule that was broken: the event and the step that broke it, and the interleaving. The
/// [module](super) has an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub(super) rule: Rule,
    pub(super) event: Option<(String, Ticket)>,
    pub(super) step: Option<usize>,
    pub(super) what: String,
    pub(super) interleaving: Vec<String>,
}

impl Violation {
    /// Returns the rule that was broken.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Returns the name of the event that broke the rule, if it was an event.
    pub fn event(&self) -> Option<&str> {
        self.event.as_ref().map(|(name, _)| name.as_str())
    }

    /// Returns the ticket of the event that broke the rule, if it was an event.
    pub fn ticket(&self) -> Option<Ticket> {
        self.event.as_ref().map(|(_, ticket)| *ticket)
    }

    /// Returns the step that broke the rule, as a number in the event's script.
    ///
    /// The count starts at 1 and includes renounces and commits. It is `None` if no event broke the
    /// rule, or if the event had taken all its steps.
    pub fn step(&self) -> Option<usize> {
        self.step
    }

    /// Returns a description of what is wrong.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Returns the interleaving, one line per transition. The last one broke the rule.
    pub fn interleaving(&self) -> &[String] {
        &self.interleaving
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is broken", self.rule)?;
        if let Some((name, ticket)) = &self.event {
            write!(f, " by {name:?}, ticket {ticket}")?;
        }
        if let Some(step) = self.step {
            write!(f, ", at step {step}")?;
        }
        write!(f, ": {}", self.what)?;
        for (i, line) in self.interleaving.iter().enumerate() {
            write!(f, "\n{:4}. {line}", i + 1)?;
        }
        Ok(())
    }
}

impl Error for Violation {}

/// A broken rule, before its interleaving is known.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) rule: Rule,
    pub(super) ticket: Option<Ticket>,
    pub(super) what: String,
}

pub(super) type Checked<T = ()> = Result<T, Broken>;

impl Broken {
    pub(super) fn by(rule: Rule, ticket: Ticket, what: impl Into<String>) -> Self {
        Broken { rule, ticket: Some(ticket), what: what.into() }
    }

    pub(super) fn new(rule: Rule, what: impl Into<String>) -> Self {
        Broken { rule, ticket: None, what: what.into() }
    }
}

//! The input of a check: a first state, and events.

use std::fmt::Debug;
use std::hash::Hash;
use std::rc::Rc;

use super::script::Script;
use super::search;
use super::steps::Steps;
use super::violation::Violation;
use crate::{Mode, Order, Ticket};

/// An event that the scenario posts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    pub(super) script: usize,
    pub(super) repairs: bool,
}

/// A domain, and the events that are posted to it, in this order.
///
/// The [module](super) describes how a scenario is checked.
///
/// # Examples
///
/// A panic in global poisons the domain, until an event repairs it:
///
/// ```
/// use dapple_colors::{Context, Mode, check::Scenario};
/// let report = Scenario::new(Mode::Snapshot, 1)
///     .event("breaks", |script| {
///         script.global(|e| {
///             *e.write() = 0;
///             e.panic();
///         })
///     })
///     .event("divides", |script| {
///         script.anon(|e| {
///             e.see(100 / *e.read()); // never with 0: poison covers it
///             e.post("reports");
///         })
///     })
///     .repair("repairs", |script| script.global(|e| *e.write() = 1))
///     .handler("reports", |script| script.none(|e| e.defer("reported")))
///     .check()
///     .unwrap();
/// assert!(report.ends > 0);
/// ```
#[derive(Debug)]
pub struct Scenario<S> {
    pub(super) mode: Mode,
    pub(super) state: S,
    /// The scripts with their names.
    pub(super) scripts: Vec<(Rc<str>, Script<S>)>,
    pub(super) listed: Vec<Listed>,
    handlers: Vec<usize>,
    pub(super) transactional: bool,
    pub(super) commits_once: bool,
    pub(super) limit: usize,
}

/// The size of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The number of worlds that were visited.
    pub states: usize,
    /// The number of transitions between worlds.
    pub transitions: usize,
    /// The number of worlds in which all events have committed.
    pub ends: usize,
    /// The number of ways in which the tickets were handed out.
    pub orders: usize,
}

/// The default of [`Scenario::limit`].
const LIMIT: usize = 300_000;

impl<S: Clone + Eq + Hash + Debug> Scenario<S> {
    /// Returns a scenario with this mode and first state, and without events.
    pub fn new(mode: Mode, state: S) -> Self {
        Scenario {
            mode,
            state,
            scripts: Vec::new(),
            listed: Vec::new(),
            handlers: Vec::new(),
            transactional: false,
            commits_once: false,
            limit: LIMIT,
        }
    }

    /// Adds an event, which is posted after all events added before.
    pub fn event(
        mut self,
        name: impl Into<String>,
        script: impl FnOnce(Script<S>) -> Script<S>,
    ) -> Self {
        let script = self.add(name.into(), script);
        self.listed.push(Listed { script, repairs: false });
        self
    }

    /// Adds an event that repairs the state: poison does not cover it, and ends when it leaves
    /// global without a panic (I12). See the [type](Self) for an example.
    pub fn repair(
        mut self,
        name: impl Into<String>,
        script: impl FnOnce(Script<S>) -> Script<S>,
    ) -> Self {
        let script = self.add(name.into(), script);
        self.listed.push(Listed { script, repairs: true });
        self
    }

    /// Adds an event that others [post](super::Event::post) by its name, any number of times. See
    /// the [type](Self) for an example.
    pub fn handler(
        mut self,
        name: impl Into<String>,
        script: impl FnOnce(Script<S>) -> Script<S>,
    ) -> Self {
        let script = self.add(name.into(), script);
        self.handlers.push(script);
        self
    }

    /// Makes the domain transactional: a panic in global leaves the state as it was before, unless
    /// the event was alone (I12).
    pub fn transactional(mut self) -> Self {
        self.transactional = true;
        self
    }

    /// Requires that each event commits once. Then the event as a whole is atomic, not only each of
    /// its sub-events.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_colors::{Mode, check::{Rule, Scenario}};
    /// let scenario = Scenario::new(Mode::Snapshot, 0).event("writes, then reads", |script| {
    ///     script.global(|e| *e.write() += 1).commit().anon(|e| e.see(*e.read()))
    /// });
    /// assert!(scenario.check().is_ok());
    /// let violation = scenario.commits_once().check().unwrap_err();
    /// assert_eq!(violation.rule(), Rule::CommitsOnce);
    /// ```
    pub fn commits_once(mut self) -> Self {
        self.commits_once = true;
        self
    }

    /// Sets the maximum number of worlds to visit. The default is 300,000. A world takes a few
    /// kilobytes.
    pub fn limit(mut self, states: usize) -> Self {
        self.limit = states;
        self
    }

    /// Runs all interleavings, and returns the size of the search. The [module](super) has
    /// examples.
    ///
    /// # Errors
    ///
    /// Returns the first rule that was broken, with a shortest interleaving that breaks it. A
    /// search that exceeds its [limit](Self::limit) breaks
    /// [`Rule::Scenario`](super::Rule::Scenario).
    pub fn check(&self) -> Result<Report, Violation> {
        self.check_over::<Order<Ticket, ()>>()
    }

    /// Runs all interleavings over other step functions than [`Order`]. See [`Steps`] for an
    /// example.
    ///
    /// # Errors
    ///
    /// Returns the first rule that was broken, with a shortest interleaving that breaks it. A
    /// search that exceeds its [limit](Self::limit) breaks
    /// [`Rule::Scenario`](super::Rule::Scenario).
    pub fn check_over<O: Steps>(&self) -> Result<Report, Violation> {
        search::search::<S, O>(self)
    }

    fn add(&mut self, name: String, script: impl FnOnce(Script<S>) -> Script<S>) -> usize {
        self.scripts.push((name.into(), script(Script::new())));
        self.scripts.len() - 1
    }

    pub(super) fn find_handler(&self, name: &str) -> Option<usize> {
        self.handlers.iter().copied().find(|script| *self.scripts[*script].0 == *name)
    }
}

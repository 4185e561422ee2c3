//! What an event does, step by step.

use std::fmt;

use super::event::Event;
use crate::Context;

type Closure<S> = Box<dyn Fn(&mut Event<'_, S>)>;

pub(super) enum Step<S> {
    In(Context, Closure<S>),
    Alone(Closure<S>),
    Renounce(Context),
    Commit,
}

/// The steps of an event.
///
/// An event begins in none. Before each step it goes into the context that the step names, and
/// after its last step it commits.
///
/// Closures have to be deterministic. Each closure runs again in every world, so it may neither
/// depend on anything outside that changes, nor change anything outside.
///
/// # Examples
///
/// An event that reads and commits. Its sub-event does something that cannot be deferred:
///
/// ```
/// use dapple_colors::{Mode, check::Scenario};
/// let report = Scenario::new(Mode::Snapshot, 7)
///     .event("pays", |script| {
///         script
///             .anon(|e| e.keep(*e.read()))
///             .commit()
///             .alone(|e| e.act(format!("pays {}", e.kept()[0])))
///     })
///     .event("writes", |script| script.global(|e| *e.write() += 1))
///     .check()
///     .unwrap();
/// assert!(report.ends > 0);
/// ```
pub struct Script<S> {
    pub(super) steps: Vec<Step<S>>,
    /// The highest context that each sub-event declares; `None`: the highest one among its steps.
    declared: Vec<Option<Context>>,
}

impl<S> Script<S> {
    /// Returns a script without steps.
    pub fn new() -> Self {
        Script { steps: Vec::new(), declared: vec![None] }
    }

    /// Adds a step in none.
    pub fn none(self, step: impl Fn(&mut Event<'_, S>) + 'static) -> Self {
        self.with(Step::In(Context::None, Box::new(step)))
    }

    /// Adds a step in anon: the event stays there, upgrades from none, or downgrades from global.
    pub fn anon(self, step: impl Fn(&mut Event<'_, S>) + 'static) -> Self {
        self.with(Step::In(Context::Anon, Box::new(step)))
    }

    /// Adds a step in global: the event stays there, or upgrades from none.
    pub fn global(self, step: impl Fn(&mut Event<'_, S>) + 'static) -> Self {
        self.with(Step::In(Context::Global, Box::new(step)))
    }

    /// Adds a step in global that may [act at once](Event::act).
    ///
    /// The step runs when all earlier events have committed and the actions that this event has
    /// deferred so far have run (I9). From none, the event first upgrades to global. See the
    /// [type](Self) for an example.
    pub fn alone(self, step: impl Fn(&mut Event<'_, S>) + 'static) -> Self {
        self.with(Step::Alone(Box::new(step)))
    }

    /// Adds a step in which the event, in none, renounces every context above `highest`.
    ///
    /// # Examples
    ///
    /// An event that goes higher than it may after that:
    ///
    /// ```
    /// use dapple_colors::{Context, Mode, check::{Rule, Scenario}};
    /// let scenario = Scenario::new(Mode::Snapshot, 0).event("looks, then writes", |script| {
    ///     script
    ///         .highest(Context::Global)
    ///         .none(|e| e.defer("looked"))
    ///         .renounce(Context::Anon)
    ///         .global(|e| *e.write() += 1)
    /// });
    /// let violation = scenario.check().unwrap_err();
    /// assert_eq!((violation.rule(), violation.step()), (Rule::I4, Some(3)));
    /// ```
    pub fn renounce(self, highest: Context) -> Self {
        self.with(Step::Renounce(highest))
    }

    /// Adds a commit. The steps after it form a sub-event, which begins in none. See the
    /// [type](Self) for an example.
    pub fn commit(mut self) -> Self {
        self.declared.push(None);
        self.with(Step::Commit)
    }

    /// Adds a commit. The steps after it form a sub-event that may go up to `highest`.
    pub fn commit_up_to(self, highest: Context) -> Self {
        self.commit().highest(highest)
    }

    /// Sets the highest context that the current sub-event declares.
    ///
    /// An event declares it at its post, a sub-event at its parent's commit. The default is the
    /// highest context among the steps. See [`renounce`](Self::renounce) for an example.
    pub fn highest(mut self, highest: Context) -> Self {
        *self.declared.last_mut().expect("there is one for each sub-event") = Some(highest);
        self
    }

    fn with(mut self, step: Step<S>) -> Self {
        self.steps.push(step);
        self
    }

    /// Returns the highest context that the sub-event starting at step `first` declares.
    pub(super) fn declares(&self, first: usize) -> Context {
        let before = self.steps[..first].iter().filter(|step| matches!(step, Step::Commit));
        let reached = self.steps[first..]
            .iter()
            .take_while(|step| !matches!(step, Step::Commit))
            .map(|step| match step {
                Step::In(context, _) => *context,
                Step::Alone(_) => Context::Global,
                Step::Renounce(_) | Step::Commit => Context::None,
            });
        self.declared[before.count()].unwrap_or(reached.max().unwrap_or(Context::None))
    }
}

impl<S> Default for Script<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> fmt::Debug for Script<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.steps).finish()
    }
}

impl<S> fmt::Debug for Step<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::In(context, _) => f.write_str(context.name()),
            Step::Alone(_) => f.write_str("alone"),
            Step::Renounce(highest) => write!(f, "renounce({highest})"),
            Step::Commit => f.write_str("commit"),
        }
    }
}

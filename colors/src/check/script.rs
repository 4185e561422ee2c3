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

/// The steps of an event. An event begins in none, and goes from step to step into the context that
/// the next one names; after the last it commits.
///
/// Closures have to be deterministic: they run once in every world, so nothing outside may change
/// them, and they change nothing outside.
pub struct Script<S> {
    pub(super) steps: Vec<Step<S>>,
    /// What each sub-event has declared.
    declared: Vec<Option<Context>>,
}

impl<S> Script<S> {
    /// No steps.
    pub fn new() -> Self {
        Script { steps: Vec::new(), declared: vec![None] }
    }

    /// A step in none.
    pub fn none(self, step: impl Fn(&mut Event<'_, S>) + 'static) -> Self {
        self.with(Step::In(Context::None, Box::new(step)))
    }

    /// A step in anon: the event stays there, upgrades from none, or downgrades from global.
    pub fn anon(self, step: impl Fn(&mut Event<'_, S>) + 'static) -> Self {
        self.with(Step::In(Context::Anon, Box::new(step)))
    }

    /// A step in global: the event stays there, or upgrades from none.
    pub fn global(self, step: impl Fn(&mut Event<'_, S>) + 'static) -> Self {
        self.with(Step::In(Context::Global, Box::new(step)))
    }

    /// A step in global that may [act at once](Event::act): when all earlier events have committed,
    /// and what this one has deferred so far has run (I9). From none it upgrades first.
    pub fn alone(self, step: impl Fn(&mut Event<'_, S>) + 'static) -> Self {
        self.with(Step::Alone(Box::new(step)))
    }

    /// In none, the event gives up to go higher than this.
    pub fn renounce(self, highest: Context) -> Self {
        self.with(Step::Renounce(highest))
    }

    /// Commits. What follows is a sub-event, which begins in none.
    pub fn commit(mut self) -> Self {
        self.declared.push(None);
        self.with(Step::Commit)
    }

    /// Commits. What follows is a sub-event that may go up to `highest`.
    pub fn commit_up_to(self, highest: Context) -> Self {
        self.commit().highest(highest)
    }

    /// The highest context that the event declares at its post, or the sub-event that is being
    /// written at its parent's commit. Without it, the highest one among the steps.
    pub fn highest(mut self, highest: Context) -> Self {
        *self.declared.last_mut().expect("there is one for each sub-event") = Some(highest);
        self
    }

    fn with(mut self, step: Step<S>) -> Self {
        self.steps.push(step);
        self
    }

    /// What the sub-event that begins with this step declares.
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

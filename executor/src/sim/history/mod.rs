//! What happened in a run, for rules to be checked by.
//!
//! The checkers know the rules and the history, and nothing of how the runtime keeps the rules:
//!
//! * [`facts`]: events, with when they were posted, began and ended, out of the records;
//! * [`order`]: one at a time, and in their order (C1, C2, C5, C6);
//! * [`waits`]: who waits too long (C7, E4), and what is left (E11, E16);
//! * [`domains`]: contexts, commits, and what was read (I1-I9, I13).

mod domains;
mod facts;
mod order;
#[cfg(test)]
mod tests;
mod waits;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use dapple_colors::Access;

use self::facts::Facts;
use super::Sim;
use super::fibers::world;
use super::log::{Keeps, Use};
use crate::site::Site;
use crate::sync::{Arc, Sort};

/// What happens in a run from [`Sim::history`] on.
///
/// # Examples
///
/// A value that is copied out of the domain that it is of, and written back:
///
/// ```
/// use dapple::{Domain, Runtime, sim};
/// use dapple::sim::Rule;
///
/// let failure = sim::find(&sim::Config::new(), |sim| {
///     let history = sim.history();
///     let rt = Runtime::builder().workers(2).build().unwrap();
///     let count = Domain::snapshot(&rt.handle(), 0);
///     for _ in 0..2 {
///         let writes = count.clone();
///         count.anon(move |cx| {
///             let seen = *cx.state();
///             cx.defer(move |_| writes.global(move |cx| {
///                 *cx.state_mut() = seen + 1;         // another one may have written meanwhile
///                 sim::wrote("count", cx.state_mut());
///             }));
///         });
///     }
///     rt.wait_idle();
///     history.check();                                // the runtime has kept its rules
///     let last = history.values().last().unwrap().value.clone();
///     assert_eq!(last, "2");
/// });
/// assert!(failure.unwrap().message.contains("left: \"1\""));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// The first record that is of it.
    from: usize,
    sim: PhantomData<&'a Sim>,
}

/// A rule of those in `docs/RULES.md`, as far as a history tells whether it was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Exclusive events of one color never overlap.
    C1,
    /// What was posted to a color before something else ends before that begins.
    C2,
    /// A shared event never overlaps an exclusive one of its color.
    C5,
    /// The event of a set has all of its colors.
    C6,
    /// No event starves: [`History::MOST_OVERTAKING`] others at most that were posted later begin
    /// before one that may. Those that begin while somebody is paused do not count.
    C7,
    /// No event that has begun has waited for [`History::LONGEST_BESIDE_IDLE`], or for ten times
    /// the steal delay, beside a worker of its runtime that slept and may steal; for each event
    /// that blocked for a steal delay meanwhile it may be three of these longer. Pauses of workers
    /// between events do not count, nor do events of colors that are bound to a worker.
    E4,
    /// After a shutdown each event that was posted has run, or was dropped, once; blocking work has
    /// at least begun. What was deferred in a domain has run for the first tickets, and was dropped
    /// for all others.
    E11,
    /// At rest each event that was posted has ended, but those of a domain that wait for their
    /// context.
    E16,
    /// Tickets are a total order, and what is posted to a domain before something else has the
    /// smaller one. (What poison covers is looked at by no rule of domains.)
    I1,
    /// No step is illegal, such as from anon to global.
    I2,
    /// An event enters global or anon only when no earlier event is in the way.
    I3,
    /// No event goes higher than it has declared.
    I4,
    /// What was read in anon under a label is what the last earlier event has written.
    I5,
    /// The state is released before the commit.
    I6,
    /// Events commit in the order of their tickets, one after the other, and their actions run
    /// then, in the order in which they were deferred.
    I7,
    /// No action runs while its event is in the state.
    I8,
    /// An event that is alone is the only one in the domain, and all earlier ones have committed.
    I9,
    /// What was read under a label is what one would have read if the events had run one by one, in
    /// the order of their tickets.
    I13,
}

impl Rule {
    /// Those that hold at any time.
    pub const ALWAYS: &[Rule] = &[
        Rule::C1,
        Rule::C2,
        Rule::C5,
        Rule::C6,
        Rule::C7,
        Rule::E4,
        Rule::I1,
        Rule::I2,
        Rule::I3,
        Rule::I4,
        Rule::I5,
        Rule::I6,
        Rule::I7,
        Rule::I8,
        Rule::I9,
        Rule::I13,
    ];
}

/// A rule that was not kept, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which one.
    pub rule: Rule,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is broken: {}", self.rule, self.what)
    }
}

impl std::error::Error for Broken {}

/// When something happened: the how-manieth record it is, and the virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// The history is a sequence; this is the place in it.
    pub nth: usize,
    /// Virtual time since the start of the run.
    pub at: Duration,
}

/// An event, and what became of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// Its number in this run.
    pub number: u32,
    /// The label of its color, if it has begun.
    pub label: Option<Arc<str>>,
    /// The numbers of its colors, and what it may do with them.
    pub colors: Vec<(u32, Access)>,
    /// When it was appended to the first of its colors; `None`: it has no color, or its timer has
    /// not fired.
    pub appended: Option<Moment>,
    /// When the call that posted it was over.
    pub posted: Option<Moment>,
    /// When it began.
    pub began: Option<Moment>,
    /// When it ended.
    pub ended: Option<Moment>,
    /// When it was dropped unrun.
    pub dropped: Option<Moment>,
    /// The thread that it ran on.
    pub thread: Option<Arc<str>>,
    /// Where it was posted, if it has begun.
    pub site: Option<Site>,
    /// What it is.
    pub kind: Sort,
    /// A color of it is bound to a worker.
    pub(super) is_bound: bool,
    /// When it was appended to each of its colors.
    pub(super) places: Vec<Moment>,
    /// It is of a domain.
    pub(super) has_ticket: bool,
    /// When it was first in anon or global, or was about to begin there.
    pub(super) entered: Option<Moment>,
    pub(super) fiber: u32,
}

/// A value that was read or written; see [`read`](super::read).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Value {
    /// What was read or written.
    pub label: String,
    /// The value, as `Debug` has it.
    pub value: String,
    /// Which of the two.
    pub how: Use,
    /// The number of the event that did it.
    pub event: Option<u32>,
    /// When.
    pub when: Moment,
    /// The domain and the ticket of the event that did it, if it had looked at a domain's state
    /// before, in the same step.
    pub ticket: Option<(u32, u64)>,
}

impl<'a> History<'a> {
    /// For rule C7: this many events. A lower class is served once in 17 turns, each of which may
    /// have 64 events; so this is what about fifty others, before it in its class, may cost.
    pub const MOST_OVERTAKING: usize = 50_000;
    /// For rule E4.
    pub const LONGEST_BESIDE_IDLE: Duration = Duration::from_millis(10);

    pub(super) fn begin(_: &'a Sim) -> Self {
        let from = world(|world| {
            world.log.keep(Keeps::All);
            world.log.records().len()
        });
        History { from: from.expect("a body runs in a run"), sim: PhantomData }
    }

    /// The events until now, in the order in which they were made.
    pub fn events(&self) -> Vec<Event> {
        self.facts().events
    }

    /// What was read and written until now.
    pub fn values(&self) -> Vec<Value> {
        self.facts().values
    }

    /// Says whether a rule has been kept until now. [`Rule::E16`] is to be asked for at rest, as
    /// after [`Runtime::wait_idle`](crate::Runtime::wait_idle), and [`Rule::E11`] after a shutdown.
    ///
    /// # Errors
    ///
    /// How it was broken first.
    pub fn check_rule(&self, rule: Rule) -> Result<(), Broken> {
        let facts = self.facts();
        check(&facts, &domains::broken(&facts), rule)
    }

    /// Checks those rules that hold at any time.
    ///
    /// # Panics
    ///
    /// If one of them is broken: the message says how.
    #[track_caller]
    pub fn check(&self) {
        self.check_these(&[]);
    }

    /// Checks those rules that hold at any time, and [`Rule::E16`].
    ///
    /// # Panics
    ///
    /// If one of them is broken: the message says how.
    #[track_caller]
    pub fn check_at_rest(&self) {
        self.check_these(&[Rule::E16]);
    }

    /// Checks those rules that hold at any time, and [`Rule::E11`].
    ///
    /// # Panics
    ///
    /// If one of them is broken: the message says how.
    #[track_caller]
    pub fn check_ended(&self) {
        self.check_these(&[Rule::E11]);
    }

    #[track_caller]
    fn check_these(&self, more: &[Rule]) {
        let facts = self.facts();
        let in_domains = domains::broken(&facts);
        for rule in Rule::ALWAYS.iter().chain(more) {
            if let Err(broken) = check(&facts, &in_domains, *rule) {
                panic!("{broken}");
            }
            // It takes its time, and gets on.
            world(|world| world.heart.goes_on(None));
        }
    }

    fn facts(&self) -> Facts {
        let facts = world(|world| Facts::of(&world.log, self.from));
        facts.expect("the body of a test, and its events, run in a run")
    }
}

/// `in_domains`: how each rule of domains was broken.
fn check(facts: &Facts, in_domains: &BTreeMap<Rule, String>, rule: Rule) -> Result<(), Broken> {
    let what = match rule {
        Rule::C1 | Rule::C5 | Rule::C6 => order::overlap(facts, rule),
        Rule::C2 => order::overtaking(facts),
        Rule::C7 => waits::starving(facts),
        Rule::E4 => waits::beside_idle(facts),
        Rule::E11 => waits::lost(facts).or_else(|| in_domains.get(&rule).cloned()),
        Rule::E16 => waits::not_at_rest(facts),
        _ => in_domains.get(&rule).cloned(),
    };
    what.map_or(Ok(()), |what| Err(Broken { rule, what }))
}

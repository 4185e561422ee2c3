//! The history of a run, and the checkers of the rules.
//!
//! The checkers know the rules and the history. They know nothing about the way in which the
//! runtime keeps the rules:
//!
//! * [`facts`]: the events, with the times at which they were posted, began and ended, from the
//!   records;
//! * [`order`]: mutual exclusion and order (C1, C2, C5, C6);
//! * [`waits`]: events that wait too long (C7, E4), and those that are left over (E11, E16);
//! * [`domains`]: contexts, commits, and the values that were read (I1-I9, I13).

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

/// The history of a run, from the call of [`Sim::history`] on.
///
/// # Examples
///
/// A value that is copied out of its domain, and written back:
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
///                 *cx.state_mut() = seen + 1;         // another event may have written
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
    /// The index of the first record of this history.
    from: usize,
    sim: PhantomData<&'a Sim>,
}

/// A rule of `docs/RULES.md` that a history can check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Exclusive events of one color never overlap.
    C1,
    /// Of two events that are posted to a color, one after the other, the first ends before the
    /// second begins, unless both are shared.
    C2,
    /// A shared event never overlaps an exclusive one of its color.
    C5,
    /// The event of a set has all of its colors.
    C6,
    /// No event starves.
    ///
    /// At most [`History::MOST_OVERTAKING`] events that were posted later begin before an event
    /// that may begin. Events that begin while a fiber is paused do not count.
    C7,
    /// No event waits long beside an idle worker that may take it.
    ///
    /// The limit is [`History::LONGEST_BESIDE_IDLE`] or ten steal delays, whichever is longer, and
    /// three steal delays more for each event that blocked for a steal delay in the meantime. Time
    /// counts only while a worker of the event's runtime slept that may steal. Events that have not
    /// begun are not checked, nor are events of colors that are bound to a worker. Pauses of
    /// workers between events do not count.
    E4,
    /// After a shutdown each event that was posted has either run or been dropped.
    ///
    /// Blocking work has at least begun. In each domain the deferred actions have run for the first
    /// tickets, and were dropped for all others.
    E11,
    /// At rest each event that was posted has ended, except events of a domain that wait for their
    /// context.
    E16,
    /// Tickets are a total order.
    ///
    /// Of two events that are posted to a domain, one after the other, the first has the smaller
    /// ticket. No rule of domains is checked for events that poison covers.
    I1,
    /// No step is illegal, such as from anon to global.
    I2,
    /// An event enters global or anon only when no earlier event is in the way.
    I3,
    /// No event goes higher than it has declared.
    I4,
    /// A value that was read in anon under a label is the one that the last earlier event has
    /// written.
    I5,
    /// The state is released before the commit.
    I6,
    /// Events commit in the order of their tickets, one after the other.
    ///
    /// The actions of an event run in its turn, in the order in which they were deferred.
    I7,
    /// No action runs while its event is in the state.
    I8,
    /// An event that is alone is the only one in the domain, and all earlier events have committed.
    I9,
    /// A value that was read under a label is the same as if the events had run one by one, in the
    /// order of their tickets.
    I13,
}

impl Rule {
    /// The rules that hold at any time.
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

/// A rule that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The rule that was broken.
    pub rule: Rule,
    /// A description of what happened.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is broken: {}", self.rule, self.what)
    }
}

impl std::error::Error for Broken {}

/// A moment of a run: the position in the history, and the virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// The position in the history, which is a sequence of records.
    pub nth: usize,
    /// The virtual time since the start of the run.
    pub at: Duration,
}

/// An event, and what became of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// The number of the event in this run.
    pub number: u32,
    /// The label of the event's color, if it has one and the event has begun.
    pub label: Option<Arc<str>>,
    /// The numbers of the event's colors, and its access to each.
    pub colors: Vec<(u32, Access)>,
    /// The moment at which the event was appended to the first of its colors.
    ///
    /// `None` if the event has no color, or if its timer has not fired.
    pub appended: Option<Moment>,
    /// The moment at which the call that posted the event was over.
    pub posted: Option<Moment>,
    /// The moment at which the event began.
    pub began: Option<Moment>,
    /// The moment at which the event ended.
    pub ended: Option<Moment>,
    /// The moment at which the event was dropped without having run.
    pub dropped: Option<Moment>,
    /// The name of the thread that the event ran on.
    pub thread: Option<Arc<str>>,
    /// The site where the event was posted, if it has begun.
    pub site: Option<Site>,
    /// The kind of the event.
    pub kind: Sort,
    /// Whether one of the event's colors is bound to a worker.
    pub(super) is_bound: bool,
    /// The moments at which the event was appended to each of its colors.
    pub(super) places: Vec<Moment>,
    /// Whether the event belongs to a domain.
    pub(super) has_ticket: bool,
    /// The moment at which the event first entered anon or global, or was admitted to it before it
    /// began.
    pub(super) entered: Option<Moment>,
    pub(super) fiber: u32,
}

/// A value that the program has reported as read or written: see [`read`](super::read).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Value {
    /// The label, which names the thing that was read or written.
    pub label: String,
    /// The value, formatted with `Debug`.
    pub value: String,
    /// Whether the value was read or written.
    pub how: Use,
    /// The number of the event that read or wrote the value.
    pub event: Option<u32>,
    /// The moment of the access.
    pub when: Moment,
    /// The domain and the ticket of the event, if it had accessed the state of a domain before, in
    /// the same step.
    pub ticket: Option<(u32, u64)>,
}

impl<'a> History<'a> {
    /// The number of later events that may overtake one event, for [`Rule::C7`].
    ///
    /// A lower class is served once in 17 turns, each of which may have 64 events. So the limit
    /// allows about fifty entries of the same class ahead of the event.
    pub const MOST_OVERTAKING: usize = 50_000;
    /// The time that an event may wait beside an idle worker, for [`Rule::E4`].
    pub const LONGEST_BESIDE_IDLE: Duration = Duration::from_millis(10);

    pub(super) fn begin(_: &'a Sim) -> Self {
        let from = world(|world| {
            world.log.keep(Keeps::All);
            world.log.records().len()
        });
        History { from: from.expect("a body runs in a run"), sim: PhantomData }
    }

    /// Returns the events so far, in the order in which they were made.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Runtime, sim};
    ///
    /// sim::check(&sim::Config::new().seeds(0..20), |sim| {
    ///     let history = sim.history();
    ///     let rt = Runtime::builder().workers(2).build().unwrap();
    ///     (0..10).for_each(|_| rt.handle().post_uncolored(|_| ()));
    ///     rt.wait_idle();
    ///     let events = history.events();
    ///     let posted = events.iter().filter(|event| event.kind == sim::Sort::Posted);
    ///     assert_eq!(posted.filter(|event| event.ended.is_some()).count(), 10);
    /// });
    /// ```
    pub fn events(&self) -> Vec<Event> {
        self.facts().events
    }

    /// Returns the values that were read and written so far, in order.
    pub fn values(&self) -> Vec<Value> {
        self.facts().values
    }

    /// Checks whether a rule has been kept so far.
    ///
    /// [`Rule::E16`] may be checked only at rest, for example after
    /// [`Runtime::wait_idle`](crate::Runtime::wait_idle), and [`Rule::E11`] only after a shutdown.
    ///
    /// # Errors
    ///
    /// Returns how the rule was broken first.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Runtime, sim};
    ///
    /// sim::check(&sim::Config::new().seeds(0..20), |sim| {
    ///     let history = sim.history();
    ///     let rt = Runtime::builder().workers(2).build().unwrap();
    ///     (0..10).for_each(|_| rt.handle().post_default(|_| ()));
    ///     rt.wait_idle();
    ///     assert_eq!(history.check_rule(sim::Rule::C2), Ok(()));
    ///     assert_eq!(history.check_rule(sim::Rule::E16), Ok(()));         // nothing is left
    /// });
    /// ```
    pub fn check_rule(&self, rule: Rule) -> Result<(), Broken> {
        let facts = self.facts();
        check(&facts, &domains::broken(&facts), rule)
    }

    /// Checks the rules that hold at any time.
    ///
    /// # Panics
    ///
    /// Panics if one of the rules is broken. The message says how.
    #[track_caller]
    pub fn check(&self) {
        self.check_these(&[]);
    }

    /// Checks the rules that hold at any time, and [`Rule::E16`].
    ///
    /// # Panics
    ///
    /// Panics if one of the rules is broken. The message says how.
    #[track_caller]
    pub fn check_at_rest(&self) {
        self.check_these(&[Rule::E16]);
    }

    /// Checks the rules that hold at any time, and [`Rule::E11`].
    ///
    /// # Panics
    ///
    /// Panics if one of the rules is broken. The message says how.
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
            // A check takes real time, and the watchdog must see progress.
            world(|world| world.heart.beat(None));
        }
    }

    fn facts(&self) -> Facts {
        let facts = world(|world| Facts::of(&world.log, self.from));
        facts.expect("the body of a test, and its events, run in a run")
    }
}

/// Checks one rule. `in_domains` says how each rule of domains was broken.
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

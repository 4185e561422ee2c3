//! The checkers for contexts, for commits, and for the values that were read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dapple_colors::{Context, Mode};

use super::Rule;
use super::facts::{Decided, Deciding, Facts};
use crate::sim::log::Use;
use crate::sync::DomainStep;

/// The position of an event in its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum In {
    None,
    Anon,
    Global,
    /// The event waits to be alone.
    Waiting,
    /// The event has released the state.
    Left,
}

/// An event that has not committed.
#[derive(Debug)]
struct Uncommitted {
    is_in: In,
    /// The highest context that the event may still reach.
    reach: Context,
    repairs: bool,
    was_abandoned: bool,
    /// The deferred actions that have neither begun nor been dropped.
    deferred: Vec<u32>,
    follows: Option<Context>,
}

/// A change of the poison at a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poison {
    Begins,
    Ends,
}

/// The order of one domain, as the rules describe it.
struct Domain {
    mode: Mode,
    uncommitted: BTreeMap<u64, Uncommitted>,
    last: Option<u64>,
    committed: Option<u64>,
    /// The ticket of the event that commits now.
    committing: Option<u64>,
    /// The contexts that the next sub-events may reach, in the order in which they begin.
    follow: VecDeque<Context>,
    /// The tickets at which poison begins and ends. Poison covers the tickets after the one at
    /// which it begins.
    poison: BTreeMap<u64, Poison>,
    /// The ticket of the first event whose action was dropped at its commit.
    dropped: Option<u64>,
}

/// The rule that was broken, and how.
type Result = std::result::Result<(), (Rule, String)>;

fn require(rule: Rule, holds: bool, what: impl FnOnce() -> String) -> Result {
    if holds { Ok(()) } else { Err((rule, what())) }
}

/// Returns how each rule was broken first. Events that poison covers are not checked, as they
/// follow other rules.
pub(super) fn broken(facts: &Facts) -> BTreeMap<Rule, String> {
    let mut first: BTreeMap<Rule, String> = wrong_values(facts).collect();
    let mut domains: BTreeMap<u32, Domain> = BTreeMap::new();
    let mut owners: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
    for decided in &facts.decided {
        let Decided { domain, ticket, what, .. } = *decided;
        let (number, ticket, result) = match what {
            Deciding::Step(DomainStep::Made(mode), _) => {
                domains.insert(domain, Domain::new(mode));
                continue;
            }
            Deciding::Step(step, action) => {
                if let Some(action) = action {
                    owners.insert(action, (domain, ticket));
                }
                let Some(order) = domains.get_mut(&domain) else { continue };
                (domain, ticket, order.step(ticket, step, action))
            }
            Deciding::Acts(action) => {
                let Some((domain, ticket)) = owners.remove(&action) else { continue };
                let Some(order) = domains.get_mut(&domain) else { continue };
                (domain, ticket, order.acts(ticket, action))
            }
            Deciding::Drops(action) => {
                let Some((domain, ticket)) = owners.remove(&action) else { continue };
                let Some(order) = domains.get_mut(&domain) else { continue };
                order.drops(ticket, action);
                continue;
            }
        };
        if let Err((broken, what)) = result {
            let is_covered = domains.get(&number).is_some_and(|order| order.covers(ticket));
            if !is_covered {
                let what = || format!("the event with ticket {ticket} of domain {number} {what}");
                first.entry(broken).or_insert_with(what);
            }
        }
    }
    first
}

impl Domain {
    fn new(mode: Mode) -> Domain {
        Domain {
            mode,
            uncommitted: BTreeMap::new(),
            last: None,
            committed: None,
            committing: None,
            follow: VecDeque::new(),
            poison: BTreeMap::new(),
            dropped: None,
        }
    }

    /// Returns `true` if poison covers the event with this ticket.
    fn covers(&self, ticket: u64) -> bool {
        let repairs = self.uncommitted.get(&ticket).is_some_and(|member| member.repairs);
        let last = self.poison.range(..ticket).next_back();
        !repairs && last.is_some_and(|(_, poison)| *poison == Poison::Begins)
    }

    /// Adds an event to the order. Returns `true` if its ticket was there already.
    fn enters_order(&mut self, ticket: u64, reach: Context) -> bool {
        let before = self.uncommitted.insert(
            ticket,
            Uncommitted {
                is_in: In::None,
                reach,
                repairs: false,
                was_abandoned: false,
                deferred: Vec::new(),
                follows: None,
            },
        );
        before.is_some()
    }

    fn step(&mut self, ticket: u64, step: DomainStep, action: Option<u32>) -> Result {
        match step {
            DomainStep::Made(_) => Ok(()),
            DomainStep::Takes(reach) => {
                let last = self.last;
                self.last = last.max(Some(ticket));
                let is_known = self.enters_order(ticket, reach);
                require(Rule::I1, !is_known && last < Some(ticket), || {
                    format!("took its ticket after ticket {last:?}")
                })
            }
            DomainStep::Repairs => {
                self.last = self.last.max(Some(ticket));
                let is_known = self.enters_order(ticket, Context::Global);
                if let Some(member) = self.uncommitted.get_mut(&ticket) {
                    member.repairs = true;
                }
                require(Rule::I1, !is_known, || "takes a ticket that another event has".to_owned())
            }
            DomainStep::Begins => {
                let (reach, committed) = (self.follow.pop_front(), self.committed);
                let is_known = self.enters_order(ticket, reach.unwrap_or(Context::None));
                require(Rule::I2, reach.is_some(), || {
                    "is a sub-event that follows no event".to_owned()
                })?;
                require(Rule::I1, !is_known && committed < Some(ticket), || {
                    format!("is a sub-event, and that with ticket {committed:?} has committed")
                })
            }
            DomainStep::Enters(context) => self.enters(ticket, context),
            _ => self.continue_event(ticket, step, action),
        }
    }

    /// Returns the ticket of an event that is in the way of one that enters a context.
    fn in_the_way(&self, ticket: u64, context: Context) -> Option<u64> {
        let earlier = |(other, member): (&u64, &Uncommitted)| {
            let is_in_the_way = match (context, member.is_in) {
                (_, In::Global | In::Waiting) => true,
                (Context::Anon, In::None) => member.reach == Context::Global,
                (_, In::None) => member.reach != Context::None,
                (Context::Global, In::Anon) => self.mode == Mode::ReadWrite,
                _ => false,
            };
            is_in_the_way.then_some(*other)
        };
        // A later event is in the way if it is in global, or if it is in anon and excludes a
        // writer.
        let later = |(other, member): (&u64, &Uncommitted)| {
            let is_in_the_way = match member.is_in {
                In::Global => true,
                In::Anon => context == Context::Global && self.mode == Mode::ReadWrite,
                _ => false,
            };
            is_in_the_way.then_some(*other)
        };
        // An event that poison covers no longer enters anything.
        let mut before = self.uncommitted.range(..ticket);
        let before = before.find_map(|member| earlier(member).filter(|other| !self.covers(*other)));
        before.or_else(|| self.uncommitted.range(ticket + 1..).find_map(later))
    }

    fn enters(&mut self, ticket: u64, context: Context) -> Result {
        let other = self.in_the_way(ticket, context);
        let first = self.uncommitted.keys().next().copied();
        let Some(member) = self.uncommitted.get_mut(&ticket) else { return Ok(()) };
        let (before, reach) = (member.is_in, member.reach);
        let was_waiting = before == In::Waiting;
        member.is_in = if context == Context::Global { In::Global } else { In::Anon };
        let left: Vec<u32> = if was_waiting { member.deferred.clone() } else { Vec::new() };
        require(Rule::I2, matches!(before, In::None | In::Waiting), || {
            format!("goes from {before:?} to {context:?}")
        })?;
        require(Rule::I4, reach == Context::Global || context != Context::Global, || {
            format!("enters {context:?} and has declared {reach:?}")
        })?;
        require(Rule::I4, reach != Context::None, || {
            format!("enters {context:?} and has declared that it stays in none")
        })?;
        require(Rule::I3, other.is_none(), || {
            format!("enters {context:?}, and that with ticket {other:?} is in the way")
        })?;
        require(Rule::I9, !was_waiting || first == Some(ticket), || {
            format!("is alone, and that with ticket {first:?} has not committed")
        })?;
        require(Rule::I9, left.is_empty(), || {
            "is alone before all its deferred actions have run".to_owned()
        })
    }

    fn continue_event(&mut self, ticket: u64, step: DomainStep, action: Option<u32>) -> Result {
        let committing = self.committing;
        let first = self.uncommitted.keys().next().copied();
        let committed = self.committed;
        let Some(member) = self.uncommitted.get_mut(&ticket) else { return Ok(()) };
        let was = member.is_in;
        match step {
            DomainStep::Renounces(reach) => {
                member.reach = reach;
                Ok(())
            }
            DomainStep::Downgrades => {
                member.is_in = In::Anon;
                require(Rule::I2, was == In::Global, || format!("goes from {was:?} to anon"))
            }
            DomainStep::WaitsToBeAlone => {
                member.is_in = In::Waiting;
                require(Rule::I9, was == In::Global, || format!("waits to be alone in {was:?}"))
            }
            DomainStep::Leaves(follows) => {
                (member.is_in, member.follows) = (In::Left, follows);
                if member.repairs {
                    self.poison.insert(ticket, Poison::Ends);
                }
                require(Rule::I2, was != In::Left, || "commits twice".to_owned())
            }
            DomainStep::Abandons => {
                member.is_in = In::Left;
                member.was_abandoned = true;
                Ok(())
            }
            DomainStep::Poisons => {
                self.poison.insert(ticket, Poison::Begins);
                Ok(())
            }
            DomainStep::Defers(_) => {
                member.deferred.extend(action);
                Ok(())
            }
            DomainStep::Commits => {
                self.committing = Some(ticket);
                require(Rule::I7, committing.is_none(), || {
                    format!("commits while that with ticket {committing:?} does")
                })?;
                require(Rule::I7, first == Some(ticket) && committed < Some(ticket), || {
                    format!("commits before that with ticket {first:?} has")
                })?;
                require(Rule::I6, matches!(was, In::Left | In::Waiting), || {
                    format!("commits in {was:?}")
                })
            }
            DomainStep::Committed => self.has_committed(ticket),
            DomainStep::Reads | DomainStep::Writes => {
                let is_right = match step {
                    DomainStep::Reads => matches!(was, In::Anon | In::Global),
                    _ => was == In::Global,
                };
                require(Rule::I3, is_right, || format!("looks at the state in {was:?}"))
            }
            DomainStep::Made(_)
            | DomainStep::Takes(_)
            | DomainStep::Repairs
            | DomainStep::Begins
            | DomainStep::Enters(_) => Ok(()),
        }
    }

    fn has_committed(&mut self, ticket: u64) -> Result {
        let Some(member) = self.uncommitted.get_mut(&ticket) else { return Ok(()) };
        let commits = self.committing.take() == Some(ticket);
        let left = member.deferred.len();
        if member.is_in == In::Waiting {
            // The event goes on, alone.
            return require(Rule::I9, left == 0, || {
                format!("has deferred {left} that did not run")
            });
        }
        let (was_abandoned, follows) = (member.was_abandoned, member.follows);
        // No sub-event follows an event that poison covers.
        let follows = follows.filter(|_| !self.covers(ticket));
        self.uncommitted.remove(&ticket);
        self.follow.extend(follows);
        self.committed = Some(ticket);
        require(Rule::I7, commits, || "has committed out of turn".to_owned())?;
        require(Rule::I7, left == 0 || was_abandoned, || {
            format!("has committed, and {left} of its actions did not run")
        })
    }

    /// Removes an action that is dropped without having run, because the runtime ends or poison
    /// covers its event.
    fn drops(&mut self, ticket: u64, action: u32) {
        let Some(member) = self.uncommitted.get_mut(&ticket) else { return };
        member.deferred.retain(|other| *other != action);
        // The actions of an event that has panicked, or that poison covers, are dropped while later
        // events go on.
        let ends = self.committing == Some(ticket) && !member.was_abandoned;
        if ends && !self.covers(ticket) {
            self.dropped.get_or_insert(ticket);
        }
    }

    fn acts(&mut self, ticket: u64, action: u32) -> Result {
        let (dropped, commits) = (self.dropped, self.committing == Some(ticket));
        let Some(member) = self.uncommitted.get_mut(&ticket) else {
            return Err((Rule::I7, "has committed before its action runs".to_owned()));
        };
        let next = member.deferred.first().copied();
        member.deferred.retain(|other| *other != action);
        let is_in = member.is_in;
        require(Rule::E11, dropped.is_none_or(|dropped| ticket < dropped), || {
            format!("runs an action, and those of that with ticket {dropped:?} were dropped")
        })?;
        require(Rule::I8, matches!(is_in, In::Left | In::Waiting), || {
            format!("runs an action in {is_in:?}")
        })?;
        require(Rule::I7, commits, || "runs an action before its turn".to_owned())?;
        require(Rule::I7, next == Some(action), || "runs its actions in another order".to_owned())
    }
}

/// A ticket, the position in the history, and the value that was written there.
type Written<'a> = (u64, usize, &'a str);

/// Returns how a value that was read first differed from what the last earlier event had written
/// under the label: by events in anon (I5), and in any context (I13).
fn wrong_values(facts: &Facts) -> impl Iterator<Item = (Rule, String)> {
    let mut written: BTreeMap<(u32, &str), Vec<Written<'_>>> = BTreeMap::new();
    let undone = undone(facts);
    for value in facts.values.iter().filter(|value| value.how == Use::Written) {
        if let Some((domain, ticket)) = value.ticket {
            let key = (domain, value.label.as_str());
            written.entry(key).or_default().push((ticket, value.when.nth, &value.value));
        }
    }
    written.values_mut().for_each(|values| values.sort_unstable());
    let contexts = contexts(facts);
    let mut first: BTreeMap<Rule, String> = BTreeMap::new();
    for value in facts.values.iter().filter(|value| value.how == Use::Read) {
        let Some((domain, ticket)) = value.ticket else { continue };
        let Some(values) = written.get(&(domain, value.label.as_str())) else { continue };
        let before = values.partition_point(|(by, nth, _)| (*by, *nth) < (ticket, value.when.nth));
        let is_left = |(by, ..): &&Written<'_>| *by == ticket || !undone.contains(&(domain, *by));
        let Some((by, _, last)) = values[..before].iter().rev().find(is_left) else { continue };
        if *last == value.value {
            continue;
        }
        let what = format!(
            "the event with ticket {ticket} of domain {domain} reads {} = {}, and that with \
             ticket {by} has written {last}",
            value.label, value.value
        );
        if contexts.at(domain, ticket, value.when.nth) == Some(Context::Anon) {
            first.entry(Rule::I5).or_insert_with(|| what.clone());
        }
        first.entry(Rule::I13).or_insert(what);
    }
    first.into_iter()
}

/// Returns the events that have panicked in global and left the state as it was before. An event
/// that poisons the domain is not among them: the event that repairs the domain still sees what it
/// wrote.
fn undone(facts: &Facts) -> BTreeSet<(u32, u64)> {
    let mut is_in: BTreeMap<(u32, u64), Context> = BTreeMap::new();
    let mut undone = BTreeSet::new();
    for Decided { domain, ticket, what, .. } in &facts.decided {
        let key = (*domain, *ticket);
        let Deciding::Step(step, _) = what else { continue };
        match step {
            DomainStep::Enters(context) => drop(is_in.insert(key, *context)),
            DomainStep::Downgrades => drop(is_in.insert(key, Context::Anon)),
            DomainStep::Abandons if is_in.get(&key) == Some(&Context::Global) => {
                undone.insert(key);
            }
            DomainStep::Poisons => drop(undone.remove(&key)),
            _ => {}
        }
    }
    undone
}

/// The contexts that each event entered, each with the position in the history.
struct Contexts(BTreeMap<(u32, u64), Vec<(usize, Context)>>);

impl Contexts {
    fn at(&self, domain: u32, ticket: u64, nth: usize) -> Option<Context> {
        let changes = self.0.get(&(domain, ticket))?;
        let before = changes.partition_point(|(at, _)| *at < nth);
        before.checked_sub(1).map(|last| changes[last].1)
    }
}

fn contexts(facts: &Facts) -> Contexts {
    let mut contexts: BTreeMap<(u32, u64), Vec<(usize, Context)>> = BTreeMap::new();
    for Decided { domain, ticket, what, nth } in &facts.decided {
        let context = match what {
            Deciding::Step(DomainStep::Enters(context), _) => *context,
            Deciding::Step(DomainStep::Downgrades, _) => Context::Anon,
            _ => continue,
        };
        contexts.entry((*domain, *ticket)).or_default().push((*nth, context));
    }
    Contexts(contexts)
}

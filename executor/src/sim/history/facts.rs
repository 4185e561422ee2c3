//! The events of a run and their times, derived from its records.

use std::collections::BTreeMap;
use std::time::Duration;

use dapple_colors::Access;

use super::{Event, Moment, Value};
use crate::sim::choice::Spot;
use crate::sim::log::{Log, Record, What};
use crate::sim::names::Who;
use crate::sync::{Arc, DomainStep, Point, Sort};

/// A decision in the order of a domain, or the start or the drop of an action.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decided {
    pub(super) domain: u32,
    pub(super) ticket: u64,
    pub(super) what: Deciding,
    pub(super) nth: usize,
}

/// The content of a [`Decided`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Deciding {
    /// A step of the event with the ticket. For a deferral, the number of the action.
    Step(DomainStep, Option<u32>),
    /// The action of this number begins, in whichever domain deferred it.
    Acts(u32),
    /// The action of this number is dropped without having run.
    Drops(u32),
}

/// A stretch of time, from its start to its end, in nanoseconds.
pub(super) type Span = (u64, u64);

/// Everything that the checkers know about a run: see the [module](self).
#[derive(Default)]
pub(super) struct Facts {
    pub(super) events: Vec<Event>,
    pub(super) values: Vec<Value>,
    pub(super) decided: Vec<Decided>,
    /// The runtime of each worker, and its steal delay in nanoseconds, if it steals.
    pub(super) workers: BTreeMap<u32, (u32, Option<u64>)>,
    /// The times during which each worker slept.
    pub(super) sleeps: BTreeMap<u32, Vec<Span>>,
    /// The pauses except those at the start of an event. Like `pauses`, which has all, it is sorted
    /// and has no overlaps.
    pub(super) pauses_between: Vec<Span>,
    pub(super) pauses: Vec<Span>,
    /// The virtual time of the last record in nanoseconds.
    pub(super) now: u64,
}

/// The state of the reader of the records.
#[derive(Default)]
struct Reading {
    facts: Facts,
    /// The index of each event in `facts`, by its number.
    places: Vec<Option<usize>>,
    /// The time since which each worker has slept.
    parks: BTreeMap<u32, u64>,
    fibers: BTreeMap<u32, Arc<str>>,
    /// The events of domains that have not entered a context yet.
    tickets: BTreeMap<(u32, u64), usize>,
}

impl Reading {
    fn event(&mut self, number: u32) -> Option<&mut Event> {
        let place = self.places.get(number as usize).copied().flatten()?;
        Some(&mut self.facts.events[place])
    }

    fn makes(&mut self, number: u32, sort: Sort) {
        if self.places.len() <= number as usize {
            self.places.resize(number as usize + 1, None);
        }
        self.places[number as usize] = Some(self.facts.events.len());
        self.facts.events.push(Event {
            number,
            label: None,
            colors: Vec::new(),
            appended: None,
            posted: None,
            began: None,
            ended: None,
            dropped: None,
            thread: None,
            site: None,
            kind: sort,
            places: Vec::new(),
            is_bound: false,
            has_ticket: false,
            entered: None,
            fiber: 0,
        });
    }

    fn begins(&mut self, log: &Log, who: &Who, fiber: u32, moment: Moment) {
        let name = || log.fiber_name(fiber).into();
        let thread = Arc::clone(self.fibers.entry(fiber).or_insert_with(name));
        if let Some(event) = who.event.and_then(|number| self.event(number)) {
            event.began = Some(moment);
            event.site = who.site;
            event.label.clone_from(&who.label);
            event.fiber = fiber;
            event.thread = Some(thread);
        }
    }

    fn posts(&mut self, number: u32, (color, access): (u32, Access), moment: Moment) {
        let Some(event) = self.event(number) else { return };
        event.appended.get_or_insert(moment);
        if !event.colors.iter().any(|(other, _)| *other == color) {
            event.colors.push((color, access));
            event.places.push(moment);
        }
    }

    /// Adds a decision that concerns a domain. An action does not count as an event of its own.
    fn decides(&mut self, decided: Decided, event: Option<u32>, moment: Moment) {
        let place = event.and_then(|number| self.places.get(number as usize).copied().flatten());
        let ticket = (decided.domain, decided.ticket);
        match (decided.what, place) {
            (Deciding::Acts(_), Some(place)) => {
                self.facts.events[place].kind = Sort::Own;
                self.facts.events[place].ended = Some(moment);
            }
            (Deciding::Drops(_), Some(place)) => self.facts.events[place].dropped = Some(moment),
            (Deciding::Step(DomainStep::Defers(_), _), Some(place)) => {
                self.facts.events[place].kind = Sort::Own;
            }
            (Deciding::Step(DomainStep::Takes(_) | DomainStep::Repairs, _), Some(place)) => {
                self.tickets.insert(ticket, place);
                self.facts.events[place].has_ticket = true;
            }
            (Deciding::Step(DomainStep::Enters(_), _), _) => {
                if let Some(place) = self.tickets.remove(&ticket) {
                    self.facts.events[place].entered = Some(moment);
                }
            }
            _ => {}
        }
        self.facts.decided.push(decided);
    }

    fn pauses(&mut self, spot: Spot, span: Span) {
        if let Spot::Point(point) = spot {
            self.facts.pauses.push(span);
            if point != Point::Begins {
                self.facts.pauses_between.push(span);
            }
        }
    }

    fn wakes(&mut self, fiber: u32, at: u64) {
        if let Some(from) = self.parks.remove(&fiber) {
            self.facts.sleeps.entry(fiber).or_default().push((from, at));
        }
    }

    fn read(&mut self, log: &Log, record: &Record, nth: usize) {
        let moment = Moment { nth, at: Duration::from_nanos(record.at) };
        let decided = |what| Decided { domain: 0, ticket: 0, what, nth };
        self.facts.now = self.facts.now.max(record.at);
        match &record.what {
            What::Makes { event, sort } => self.makes(*event, *sort),
            What::Posts { event, color, access, is_bound } => {
                self.posts(*event, (*color, *access), moment);
                if let Some(event) = self.event(*event).filter(|_| *is_bound) {
                    event.is_bound = true;
                }
            }
            What::Posted { event } => {
                if let Some(event) = self.event(*event) {
                    event.posted = Some(moment);
                }
            }
            What::Begins { who } => self.begins(log, who, record.fiber, moment),
            What::Ends { event, .. } => {
                if let Some(event) = event.and_then(|event| self.event(event)) {
                    event.ended = Some(moment);
                }
            }
            What::Drops { event } => {
                self.decides(decided(Deciding::Drops(*event)), Some(*event), moment);
            }
            What::Part { part: None } | What::Notes { .. } | What::Fails { .. } => {}
            What::Part { part: Some(part) } => {
                self.decides(decided(Deciding::Acts(*part)), Some(*part), moment);
            }
            What::Decides { domain, ticket, step, event } => {
                let action = event.filter(|_| matches!(step, DomainStep::Defers(_)));
                let what = Deciding::Step(*step, action);
                let decided = Decided { domain: *domain, ticket: *ticket, what, nth };
                self.decides(decided, *event, moment);
            }
            What::Uses { label, value, how, event, ticket } => self.facts.values.push(Value {
                label: label.clone(),
                value: value.clone(),
                how: *how,
                event: *event,
                when: moment,
                ticket: *ticket,
            }),
            What::Pauses { mark, from, .. } => self.pauses(mark.spot, (*from, record.at)),
            What::Works { runtime, steal_delay } => {
                self.facts.workers.insert(record.fiber, (*runtime, *steal_delay));
            }
            What::Parks => drop(self.parks.insert(record.fiber, record.at)),
            What::Wakes => self.wakes(record.fiber, record.at),
        }
    }
}

impl Facts {
    /// Derives the facts from the records, beginning with the one at index `from`.
    pub(super) fn of(log: &Log, from: usize) -> Facts {
        let mut reading = Reading::default();
        for (nth, record) in log.records().iter().skip(from).enumerate() {
            reading.read(log, record, nth);
        }
        let now = reading.facts.now;
        log.paused().into_iter().for_each(|(mark, from)| reading.pauses(mark.spot, (from, now)));
        let asleep: Vec<u32> = reading.parks.keys().copied().collect();
        asleep.into_iter().for_each(|fiber| reading.wakes(fiber, now));
        let mut facts = reading.facts;
        facts.pauses = union(std::mem::take(&mut facts.pauses));
        facts.pauses_between = union(std::mem::take(&mut facts.pauses_between));
        facts
    }

    /// Returns the name of an event in a message.
    pub(super) fn describe(&self, event: &Event) -> String {
        let label = event.label.as_ref().map_or_else(String::new, |label| format!(" ({label})"));
        match &event.site {
            Some(site) => format!("event {} posted at {site}{label}", event.number),
            None => format!("event {}{label}, which has not begun,", event.number),
        }
    }
}

/// Returns the union of some spans, sorted and without overlaps.
fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut union: Vec<Span> = Vec::new();
    for (from, until) in spans {
        match union.last_mut() {
            Some(last) if last.1 >= from => last.1 = last.1.max(until),
            _ => union.push((from, until)),
        }
    }
    union
}

/// Returns the part of a time that is in none of these spans, which are sorted and do not overlap.
pub(super) fn outside(spans: &[Span], (from, until): Span) -> u64 {
    let inside: u64 = within(spans, (from, until));
    until.saturating_sub(from).saturating_sub(inside)
}

/// Returns the part of a time that is in these spans, which are sorted and do not overlap.
pub(super) fn within(spans: &[Span], (from, until): Span) -> u64 {
    let first = spans.partition_point(|span| span.1 <= from);
    let these = spans[first..].iter().take_while(|span| span.0 < until);
    these.map(|span| span.1.min(until).saturating_sub(span.0.max(from))).sum()
}

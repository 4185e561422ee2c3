//! The story of a run: what happened, in a few lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use super::choice::{Mark, Spot};
use super::log::{Log, Record, What};
use super::names::Who;
use crate::sync::Fault;

/// The greatest number of deviations and notes in a story.
const MOST_LINES: usize = 20;

/// The greatest number of lines about other fibers during one pause.
const MOST_MEANWHILE: usize = 6;

/// Returns, for each pause, the last event of another fiber that ended during the pause.
pub(super) fn ended_meanwhile(log: &Log) -> BTreeMap<Mark, u64> {
    let records = log.records();
    let last = |fiber: u32, (from, until): (u64, u64)| {
        records.iter().rev().find_map(|record| match &record.what {
            What::Ends { name, .. }
                if record.fiber != fiber && record.at > from && record.at <= until =>
            {
                Some(*name)
            }
            _ => None,
        })
    };
    let pauses = records.iter().filter_map(|record| match record.what {
        What::Pauses { mark, from, .. } => Some((mark, record.fiber, (from, record.at))),
        _ => None,
    });
    pauses.filter_map(|(mark, fiber, time)| Some((mark, last(fiber, time)?))).collect()
}

/// Returns the story: the deviations, what other fibers did during each, and the notes of the
/// program.
pub(super) fn story(log: &Log) -> String {
    let records = log.records();
    let lines = records.iter().filter_map(|record| line(log, &records, record));
    let mut lines: Vec<Line> = lines.collect();
    lines.sort_by_key(|line| line.at);
    // The lines shortly before the failure matter most.
    let left_out = lines.len().saturating_sub(MOST_LINES);
    let told = lines.split_off(left_out);
    let mut number = lines.iter().filter(|line| line.kind == Kind::Deviation).count();
    let mut story = String::new();
    if left_out > 0 {
        story = format!("     ({left_out} deviations and notes before these are left out)\n");
    }
    for Line { text, kind, .. } in told {
        number += usize::from(kind == Kind::Deviation);
        let head = match kind {
            Kind::Deviation => format!("{number:3}. "),
            Kind::Note => " ".repeat(5),
        };
        story += &(head + &text);
    }
    story
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Deviation,
    Note,
}

/// The text about one record, and the time at which it happened.
struct Line {
    at: u64,
    text: String,
    kind: Kind,
}

fn line(log: &Log, records: &[Record], record: &Record) -> Option<Line> {
    let fiber = log.fiber_name(record.fiber);
    match &record.what {
        What::Pauses { mark, who, from } => {
            let (who, spot) = (describe(who, &fiber), mark.spot.name());
            let (at, nanos) = (time(*from), time(record.at - from));
            let mut text = format!("at {at} {who} pauses for {nanos} ({spot})\n");
            meanwhile(&mut text, log, records, record.fiber, *from..=record.at);
            Some(Line { at: *from, text, kind: Kind::Deviation })
        }
        What::Fails { mark, who, nanos } => {
            let (at, nanos) = (time(record.at), time(*nanos));
            let text = match mark.spot {
                Spot::Fault(Fault::LateTimer) => {
                    let color = who.label.as_deref().unwrap_or("a color");
                    format!("from {at} on timers of {color} are late by {nanos}\n")
                }
                _ => {
                    let who = describe(who, &fiber);
                    format!("at {at} {who} begins a wait that ends early, after {nanos}\n")
                }
            };
            Some(Line { at: record.at, text, kind: Kind::Deviation })
        }
        What::Notes { who, text } => {
            let who = describe(who, &fiber);
            let text = format!("at {} {who} notes: {text}\n", time(record.at));
            Some(Line { at: record.at, text, kind: Kind::Note })
        }
        _ => None,
    }
}

/// Describes the first event that differs in two runs: what began in each of them.
pub(super) fn first_difference(one: &Log, two: &Log) -> Option<String> {
    let begun = |log: &Log| -> Vec<(u64, String)> {
        let records = log.records();
        let begins = records.iter().filter_map(|record| match &record.what {
            What::Begins { who } => Some((who.name, describe(who, &log.fiber_name(record.fiber)))),
            _ => None,
        });
        begins.collect()
    };
    let (one, two) = (begun(one), begun(two));
    let nth = (0..one.len().max(two.len())).find(|nth| one.get(*nth) != two.get(*nth))?;
    let what = |begun: &[(u64, String)]| match begun.get(nth) {
        Some((_, who)) => who.clone(),
        None => "nothing".to_owned(),
    };
    let (first, second) = (what(&one), what(&two));
    let mut told =
        format!("event {} is {first} in the first run, and {second} in the second", nth + 1);
    if first == second {
        told += " (with another name: its color or its poster differs)";
    }
    Some(told)
}

/// Adds lines about the events that other fibers began during a pause.
fn meanwhile(
    line: &mut String,
    log: &Log,
    records: &[Record],
    fiber: u32,
    time: RangeInclusive<u64>,
) {
    let began = records.iter().filter_map(|record| match &record.what {
        What::Begins { who } if time.contains(&record.at) && record.fiber != fiber => {
            Some(describe(who, &log.fiber_name(record.fiber)))
        }
        _ => None,
    });
    let began: Vec<String> = began.collect();
    for other in began.iter().take(MOST_MEANWHILE) {
        let _ = writeln!(line, "     meanwhile {other} begins");
    }
    if began.len() > MOST_MEANWHILE {
        let _ = writeln!(line, "     and {} more", began.len() - MOST_MEANWHILE);
    }
}

/// Describes the event that a fiber runs, or returns the name of the fiber.
fn describe(who: &Who, fiber: &str) -> String {
    let Some(site) = &who.site else { return fiber.to_owned() };
    let label = who.label.as_ref().map_or_else(String::new, |label| format!(" ({label})"));
    format!("the event posted at {site}{label}, on {fiber},")
}

/// Formats a time for people.
fn time(nanos: u64) -> String {
    format!("{:.3?}", std::time::Duration::from_nanos(nanos))
}

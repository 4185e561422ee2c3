//! What happened in a run, told in a few lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use super::choice::{Mark, Spot};
use super::log::{Log, Record, What};
use super::names::Who;
use crate::sync::Fault;

/// Deviations and notes of a story, at most.
const MOST_LINES: usize = 20;

/// Lines about what others did during one pause, at most.
const MOST_MEANWHILE: usize = 6;

/// For each pause the last event that has ended in its time.
pub(super) fn ended_meanwhile(log: &Log) -> BTreeMap<Mark, u64> {
    let records = log.records();
    let last = |time: RangeInclusive<u64>| {
        records.iter().rev().find_map(|record| match &record.what {
            What::Ends { name, .. } if time.contains(&record.at) => Some(*name),
            _ => None,
        })
    };
    let pauses = records.iter().filter_map(|record| match record.what {
        What::Deviates { mark, from, .. } => Some((mark, from..=record.at)),
        _ => None,
    });
    pauses.filter_map(|(mark, time)| Some((mark, last(time)?))).collect()
}

/// Each deviation, and what others did meanwhile; and what the program has noted.
pub(super) fn story(log: &Log) -> String {
    let records = log.records();
    let (mut lines, mut number) = (Vec::new(), 0);
    for record in records.iter() {
        match &record.what {
            What::Deviates { mark, who, from } => {
                let who = describe(who, &log.fiber_name(record.fiber));
                let (at, nanos) = (time(*from), time(record.at - from));
                let spot = mark.spot.name();
                let mut line = match mark.spot {
                    Spot::Point(_) => format!("at {at} {who} pauses for {nanos} ({spot})\n"),
                    Spot::Fault(Fault::LateTimer) => {
                        format!("at {at} a timer of {who} is made late by {nanos}\n")
                    }
                    Spot::Fault(Fault::EarlyWake) => {
                        format!("at {at} {who} begins a wait that ends too early\n")
                    }
                };
                if let Spot::Point(_) = mark.spot {
                    meanwhile(&mut line, log, &records, record.fiber, *from..=record.at);
                }
                lines.push((*from, line, true));
            }
            What::Notes { who, text } => {
                let who = describe(who, &log.fiber_name(record.fiber));
                lines.push((
                    record.at,
                    format!("at {} {who} notes: {text}\n", time(record.at)),
                    false,
                ));
            }
            _ => {}
        }
    }
    lines.sort_by_key(|(at, ..)| *at);
    let mut story = String::new();
    // What comes shortly before the failure is what matters.
    let left_out = lines.len().saturating_sub(MOST_LINES);
    if left_out > 0 {
        story = format!("     ({left_out} deviations and notes before these are left out)\n");
        number = lines[..left_out].iter().filter(|(.., is_deviation)| *is_deviation).count();
    }
    for (_, line, is_deviation) in lines.split_off(left_out) {
        number += usize::from(is_deviation);
        let head = if is_deviation { format!("{number:3}. ") } else { " ".repeat(5) };
        story += &(head + &line);
    }
    story
}

/// The first event that is not the same in two runs: what began in the one and in the other.
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
    let mut told = format!("event {} of the run is {first} and, run again, {second}", nth + 1);
    if first == second {
        told += " (of another name: its color, or what has posted it, is not the same)";
    }
    Some(told)
}

/// What others began while one was paused.
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

/// What a fiber runs, or its name.
fn describe(who: &Who, fiber: &str) -> String {
    let Some(site) = &who.site else { return fiber.to_owned() };
    let label = who.label.as_ref().map_or_else(String::new, |label| format!(" ({label})"));
    format!("the event posted at {site}{label}, on {fiber},")
}

/// A time, as people say it.
fn time(nanos: u64) -> String {
    format!("{:.3?}", std::time::Duration::from_nanos(nanos))
}

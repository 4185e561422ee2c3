//! The checkers for events that wait too long, and for those that are left over at the end.

use std::collections::BTreeMap;

use dapple_colors::Access;

use super::facts::{Facts, Span, outside, within};
use super::order::{Queued, queues};
use super::{Event, History, Moment};
use crate::sync::Sort;

fn nanos(moment: Moment) -> u64 {
    moment.at.as_nanos() as u64
}

/// Returns the time since which each event could have run, in nanoseconds, for posted events of
/// which it is known.
///
/// Since that time only the runtime kept the event from running.
fn ready(facts: &Facts) -> BTreeMap<usize, u64> {
    let mut ready: BTreeMap<usize, u64> = BTreeMap::new();
    for (index, event) in facts.events.iter().enumerate() {
        let posted = event.appended.or(event.posted).filter(|_| event.kind == Sort::Posted);
        // An event that wants a context waits for other events of the domain, and not for a worker.
        let entered = event.entered.filter(|entered| event.began.is_none_or(|b| *entered < b));
        if let Some(since) = posted.filter(|_| !event.has_ticket || event.began.is_some()) {
            ready.insert(index, nanos(since.max(entered.unwrap_or(since))));
        }
    }
    for queue in queues(facts).values() {
        // The times at which all earlier events were over, and at which all earlier exclusive
        // events were over.
        let mut free: [Option<u64>; 2] = [Some(0); 2];
        for Queued { event: index, access, .. } in queue {
            match free[usize::from(*access == Access::Shared)] {
                None => drop(ready.remove(index)),
                Some(free) => {
                    ready.entry(*index).and_modify(|since| *since = (*since).max(free));
                }
            }
            let event = &facts.events[*index];
            let end = event.ended.or(event.dropped).map(nanos);
            let later = |free: Option<u64>| Some(free?.max(end?));
            free[0] = later(free[0]);
            if *access == Access::Exclusive {
                free[1] = later(free[1]);
            }
        }
    }
    ready
}

/// Returns the time until which an event has waited, in nanoseconds.
fn until(facts: &Facts, event: &Event) -> u64 {
    let begun = event.began.or(event.dropped);
    begun.map_or(facts.now, nanos)
}

/// Describes an event that waits while many others begin that were posted later (C7).
pub(super) fn starving(facts: &Facts) -> Option<String> {
    let runtime = |event: &Event| facts.workers.get(&event.fiber).map(|(runtime, _)| *runtime);
    let mut begun: Vec<(u64, u64, Option<u32>)> = facts
        .events
        .iter()
        .filter_map(|event| {
            let since = event.appended.or(event.posted)?;
            Some((nanos(event.began?), nanos(since), runtime(event)))
        })
        .collect();
    begun.sort_unstable();
    for (index, since) in ready(facts) {
        let event = &facts.events[index];
        let (until, ours) = (until(facts, event), runtime(event));
        let from = begun.partition_point(|(began, ..)| *began <= since);
        let to = begun.partition_point(|(began, ..)| *began < until);
        if event.is_bound || to <= from + History::MOST_OVERTAKING {
            continue;
        }
        let overtakes = |(began, posted, theirs): &&(u64, u64, Option<u32>)| {
            *theirs == ours && *posted > since && within(&facts.pauses, (*began, *began + 1)) == 0
        };
        let others = begun[from..to].iter().filter(overtakes).count();
        if others > History::MOST_OVERTAKING {
            let what = facts.describe(event);
            return Some(format!("{what} has waited while {others} later events began"));
        }
    }
    None
}

/// Describes an event that waits beside a sleeping worker of its runtime that could take it (E4).
pub(super) fn beside_idle(facts: &Facts) -> Option<String> {
    let limit = History::LONGEST_BESIDE_IDLE.as_nanos() as u64;
    let least = facts.workers.values().filter_map(|(_, delay)| *delay).min().unwrap_or(0);
    let spans = facts
        .events
        .iter()
        .filter_map(|event| Some((event.began.map(nanos)?, event.ended.map_or(facts.now, nanos))));
    // The events that may block others.
    let long: Vec<Span> =
        spans.filter(|(began, ended)| ended.saturating_sub(*began) >= least).collect();
    for (index, since) in ready(facts) {
        let event = &facts.events[index];
        let Some((runtime, Some(delay))) = facts.workers.get(&event.fiber) else { continue };
        let wait = (since, until(facts, event));
        if wait.1.saturating_sub(since) <= limit {
            continue;
        }
        // An event is taken from behind one that blocks, and may then come to stand behind the next
        // one.
        let blocks = |(began, ended): &&Span| {
            *began < wait.1 && *ended > since && ended.saturating_sub(*began) >= *delay
        };
        let blockers = long.iter().filter(blocks).count() as u64;
        let limit = limit.max(delay.saturating_mul(10));
        let limit = limit.saturating_add(delay.saturating_mul(3 * blockers));
        if event.is_bound || outside(&facts.pauses_between, wait) <= limit {
            continue;
        }
        let ours = |fiber: &&u32| facts.workers.get(fiber).is_some_and(|(r, _)| r == runtime);
        for fiber in facts.sleeps.keys().filter(ours) {
            let asleep = within(&facts.sleeps[fiber], wait);
            let disturbed = within(&facts.pauses_between, wait);
            if asleep.saturating_sub(disturbed) > limit {
                let waits = std::time::Duration::from_nanos(wait.1 - wait.0);
                let what = facts.describe(event);
                return Some(format!("{what} has waited for {waits:?} beside an idle worker"));
            }
        }
    }
    None
}

/// Describes an event that was posted, and has either neither run nor been dropped, or both (E11).
/// Blocking work that has begun may still run when a shutdown is over.
pub(super) fn lost(facts: &Facts) -> Option<String> {
    let mut posted = facts.events.iter().filter(|event| is_posted(event));
    let has_run = |event: &Event| match event.kind {
        Sort::Blocking => event.began.is_some(),
        _ => event.ended.is_some(),
    };
    let lost = posted.find(|event| has_run(event) == event.dropped.is_some())?;
    let how = if has_run(lost) { "has run and was dropped" } else { "was lost" };
    Some(format!("{} {how}", facts.describe(lost)))
}

/// Describes an event that was posted, and has not ended (E16).
pub(super) fn not_at_rest(facts: &Facts) -> Option<String> {
    let mut posted = facts.events.iter().filter(|event| is_posted(event));
    let is_left = |event: &&Event| {
        // An event that waits for its context may wait for a task that sleeps, which does not
        // count.
        let waits = event.has_ticket && event.began.is_none() && event.entered.is_none();
        event.ended.is_none() && event.dropped.is_none() && !waits
    };
    let left = posted.find(is_left)?;
    Some(format!("{} has not ended, although the runtime is at rest", facts.describe(left)))
}

fn is_posted(event: &Event) -> bool {
    event.kind != Sort::Own && (event.appended.is_some() || event.posted.is_some())
}

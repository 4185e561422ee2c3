//! Who waits too long, and what is left at the end.

use std::collections::BTreeMap;

use dapple_colors::Access;

use super::facts::{Facts, Span, outside, within};
use super::order::{Queued, queues};
use super::{Event, History, Moment};
use crate::sync::Sort;

fn nanos(moment: Moment) -> u64 {
    moment.at.as_nanos() as u64
}

/// Since when nothing but the runtime kept each event from running, for those that were posted and
/// of which that is known.
fn ready(facts: &Facts) -> BTreeMap<usize, u64> {
    let mut ready: BTreeMap<usize, u64> = BTreeMap::new();
    for (index, event) in facts.events.iter().enumerate() {
        let posted = event.appended.or(event.posted).filter(|_| event.kind == Sort::Posted);
        // What wants a context waits for that, which is none of the workers' doing.
        let entered = event.entered.filter(|entered| event.began.is_none_or(|b| *entered < b));
        if let Some(since) = posted.filter(|_| !event.has_ticket || event.began.is_some()) {
            ready.insert(index, nanos(since.max(entered.unwrap_or(since))));
        }
    }
    for queue in queues(facts).values() {
        // When all before it are over, and when all exclusive ones are.
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

/// Until when an event has waited.
fn until(facts: &Facts, event: &Event) -> u64 {
    let begun = event.began.or(event.dropped);
    begun.map_or(facts.now, nanos)
}

/// An event that waits while many others begin, which were posted later (C7).
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
            return Some(format!("{what} has waited, and {others} that came later did not"));
        }
    }
    None
}

/// An event that waits beside a worker of its runtime that sleeps, and would take it (E4).
pub(super) fn beside_idle(facts: &Facts) -> Option<String> {
    let limit = History::LONGEST_BESIDE_IDLE.as_nanos() as u64;
    let least = facts.workers.values().filter_map(|(_, delay)| *delay).min().unwrap_or(0);
    let spans = facts
        .events
        .iter()
        .filter_map(|event| Some((event.began.map(nanos)?, event.ended.map_or(facts.now, nanos))));
    // What may block others.
    let long: Vec<Span> =
        spans.filter(|(began, ended)| ended.saturating_sub(*began) >= least).collect();
    for (index, since) in ready(facts) {
        let event = &facts.events[index];
        let Some((runtime, Some(delay))) = facts.workers.get(&event.fiber) else { continue };
        let wait = (since, until(facts, event));
        if wait.1.saturating_sub(since) <= limit {
            continue;
        }
        // It is taken from behind one event that blocks, and may come behind the next one.
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

/// An event that was posted, and has neither run nor was dropped; or both (E11). Blocking work that
/// has begun may go on when a shutdown is over.
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

/// An event that was posted, and has not ended (E16).
pub(super) fn not_at_rest(facts: &Facts) -> Option<String> {
    let mut posted = facts.events.iter().filter(|event| is_posted(event));
    let is_left = |event: &&Event| {
        // What waits for its context may wait for a task that sleeps, which does not count.
        let waits = event.has_ticket && event.began.is_none() && event.entered.is_none();
        event.ended.is_none() && event.dropped.is_none() && !waits
    };
    let left = posted.find(is_left)?;
    Some(format!("{} has not ended, and all is said to be at rest", facts.describe(left)))
}

fn is_posted(event: &Event) -> bool {
    event.kind != Sort::Own && (event.appended.is_some() || event.posted.is_some())
}

//! The checkers for mutual exclusion and order.

use std::collections::BTreeMap;

use dapple_colors::Access;

use super::facts::Facts;
use super::{Event, Moment, Rule};

/// Describes two events of one color that ran at the same time although one of them is exclusive,
/// if that breaks `rule`.
///
/// The broken rule is C6 if one of the events is a set's, C5 if one is shared, and C1 otherwise. An
/// event that runs inside of another one, on the same thread, has suspended that one, and breaks no
/// rule.
pub(super) fn overlap(facts: &Facts, rule: Rule) -> Option<String> {
    let mut changes: Vec<(usize, bool, usize)> = Vec::new();
    for (index, event) in facts.events.iter().enumerate() {
        let Some(began) = event.began else { continue };
        changes.push((began.nth, true, index));
        changes.push((event.ended.map_or(usize::MAX, |ended| ended.nth), false, index));
    }
    changes.sort_unstable();
    let mut running: BTreeMap<u32, Vec<(usize, Access)>> = BTreeMap::new();
    for (_, begins, index) in changes {
        let event = &facts.events[index];
        for (color, access) in &event.colors {
            let running = running.entry(*color).or_default();
            if !begins {
                running.retain(|(other, _)| *other != index);
                continue;
            }
            for (other, others) in running.iter() {
                let other = &facts.events[*other];
                let are_shared = (*access, *others) == (Access::Shared, Access::Shared);
                if are_shared || may_be_inside(event, other) {
                    continue;
                }
                let broken = match (*access, *others) {
                    _ if event.colors.len() > 1 || other.colors.len() > 1 => Rule::C6,
                    (Access::Exclusive, Access::Exclusive) => Rule::C1,
                    _ => Rule::C5,
                };
                if broken == rule {
                    let (one, two) = (facts.describe(event), facts.describe(other));
                    return Some(format!("{one} began while {two} of the same color ran"));
                }
            }
            running.push((index, *access));
        }
    }
    None
}

/// Describes an event that began before an earlier event of the same color had ended, where one of
/// the two is exclusive.
pub(super) fn overtaking(facts: &Facts) -> Option<String> {
    for queue in queues(facts).values() {
        // The events whose post is over, in the order of those moments.
        let mut posted: Vec<&Queued> = queue.iter().collect();
        posted.retain(|other| facts.events[other.event].posted.is_some());
        posted.sort_by_key(|other| facts.events[other.event].posted);
        let mut posted = posted.into_iter().peekable();
        // On each fiber the event that ends last: of all events, and of the exclusive ones.
        let mut last: [BTreeMap<u32, usize>; 2] = Default::default();
        for Queued { event, access, place } in queue {
            let event = &facts.events[*event];
            let is_before = |other: &&Queued| facts.events[other.event].posted < Some(*place);
            while let Some(other) = posted.next_if(is_before) {
                let exclusive = usize::from(other.access == Access::Exclusive);
                let (fiber, end) = (facts.events[other.event].fiber, &facts.events[other.event]);
                for last in &mut last[..=exclusive] {
                    let latest = last.entry(fiber).or_insert(other.event);
                    if ended(&facts.events[*latest]) < ended(end) {
                        *latest = other.event;
                    }
                }
            }
            let Some(began) = event.began else { continue };
            for last in last[usize::from(*access == Access::Shared)].values() {
                let last = &facts.events[*last];
                let is_inside = may_be_inside(event, last) && last.began.is_some_and(|b| b < began);
                if ended(last) > began.nth && !is_inside {
                    let (one, two) = (facts.describe(event), facts.describe(last));
                    return Some(format!(
                        "{one} began before {two} had ended, which was posted before it"
                    ));
                }
            }
        }
    }
    None
}

/// Returns `true` if one of the two events may have run inside of the other one. Inside of an event
/// of a color that is bound to its thread, other events of that color may run (E18).
fn may_be_inside(one: &Event, two: &Event) -> bool {
    one.fiber == two.fiber && one.is_bound && two.is_bound
}

/// Returns the position in the history at which an event was over.
fn ended(event: &Event) -> usize {
    event.ended.or(event.dropped).map_or(usize::MAX, |moment| moment.nth)
}

/// An event in the queue of a color.
pub(super) struct Queued {
    pub(super) event: usize,
    pub(super) access: Access,
    /// The moment at which the event was appended to the queue.
    place: Moment,
}

/// Returns the events of each color, in the order in which they were appended.
pub(super) fn queues(facts: &Facts) -> BTreeMap<u32, Vec<Queued>> {
    let mut queues: BTreeMap<u32, Vec<Queued>> = BTreeMap::new();
    for (index, event) in facts.events.iter().enumerate() {
        for ((color, access), place) in event.colors.iter().zip(&event.places) {
            let queued = Queued { event: index, access: *access, place: *place };
            queues.entry(*color).or_default().push(queued);
        }
    }
    for queue in queues.values_mut() {
        queue.sort_by_key(|queued| queued.place);
    }
    queues
}

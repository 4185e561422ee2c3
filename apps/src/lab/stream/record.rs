//! The effects of a node's events, as its deferred actions record them, and a check of the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::tree::Name;

/// The nodes that get the messages of a group from a node.
pub(super) type Children = Arc<BTreeSet<Name>>;

/// An effect of an event.
#[derive(Clone, Debug)]
pub(super) struct RecordedEffect {
    /// The ticket of the event, or of the sub-event that has the effect.
    pub(super) ticket: u64,
    pub(super) effect: Effect,
}

#[derive(Clone, Debug)]
pub(super) enum Effect {
    Joined {
        group: Name,
        who: Name,
    },
    Left {
        group: Name,
        who: Name,
    },
    /// A message was delivered to the node, and sent on to its children.
    Forwarded {
        group: Name,
        number: u32,
        to: Children,
        at: Instant,
    },
}

/// A checker of one node's effects.
#[derive(Debug, Default)]
pub(super) struct Checker {
    last: Option<u64>,
    children: BTreeMap<Name, BTreeSet<Name>>,
    /// The numbers of each group's messages, in the order of delivery.
    delivered: BTreeMap<Name, Vec<u32>>,
    /// The groups and numbers of the messages that were sent to each child.
    sent: BTreeMap<Name, Vec<(Name, u32)>>,
    /// The number of times that the set of a group's children changed.
    changes: usize,
}

impl Checker {
    /// Takes the next effects, in the order in which they came. Returns a line for each effect that
    /// is out of ticket order (I7), or was decided from another state than that of its event (I5).
    pub(super) fn add(&mut self, entries: &[RecordedEffect]) -> Vec<String> {
        let mut broken = Vec::new();
        for RecordedEffect { ticket, effect } in entries {
            if let Some(last) = self.last.filter(|last| last >= ticket) {
                broken.push(format!("an effect of ticket {ticket} came after one of {last}"));
            }
            self.last = self.last.max(Some(*ticket));
            match effect {
                Effect::Joined { group, who } => {
                    let is_new = self.children.entry(*group).or_default().insert(*who);
                    self.changes += usize::from(is_new);
                }
                Effect::Left { group, who } => {
                    let was_there = self.children.entry(*group).or_default().remove(who);
                    self.changes += usize::from(was_there);
                }
                Effect::Forwarded { group, number, to, .. } => {
                    let children = self.children.entry(*group).or_default();
                    if *children != **to {
                        broken.push(format!(
                            "ticket {ticket} sent message {number} of group {group} to {to:?}, \
                             and its children are {children:?}"
                        ));
                    }
                    self.delivered.entry(*group).or_default().push(*number);
                    for child in &**to {
                        self.sent.entry(*child).or_default().push((*group, *number));
                    }
                }
            }
        }
        broken
    }

    /// Returns the number of times that the set of a group's children changed.
    pub(super) fn changes(&self) -> usize {
        self.changes
    }

    /// Returns the numbers of a group's messages, in the order of delivery.
    pub(super) fn delivered(&self, group: Name) -> &[u32] {
        self.delivered.get(&group).map_or(&[], Vec::as_slice)
    }

    /// Returns the groups and numbers of all messages that were delivered.
    pub(super) fn all_delivered(&self) -> Vec<(Name, u32)> {
        let of = |(group, numbers): (&Name, &Vec<u32>)| {
            let group = *group;
            numbers.iter().map(move |number| (group, *number)).collect::<Vec<_>>()
        };
        self.delivered.iter().flat_map(of).collect()
    }

    /// Returns the groups and numbers of the messages that were sent to a child.
    pub(super) fn sent_to(&self, child: Name) -> &[(Name, u32)] {
        self.sent.get(&child).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use dapple::clock;

    use super::*;

    fn entry(ticket: u64, effect: Effect) -> RecordedEffect {
        RecordedEffect { ticket, effect }
    }

    fn forwarded(number: u32, to: &[Name]) -> Effect {
        let to = Arc::new(to.iter().copied().collect());
        Effect::Forwarded { group: 1, number, to, at: clock::now() }
    }

    #[test]
    fn effects_follow_from_the_state_at_their_ticket() {
        let mut checker = Checker::default();
        let joined = |who| Effect::Joined { group: 1, who };
        let entries = [
            entry(1, joined(5)),
            entry(2, forwarded(1, &[5])),
            entry(4, joined(6)),
            entry(7, forwarded(2, &[5, 6])),
            entry(8, Effect::Left { group: 1, who: 5 }),
            entry(9, forwarded(3, &[6])),
            entry(10, joined(6)),
            entry(11, Effect::Left { group: 1, who: 5 }),
        ];
        assert_eq!(checker.add(&entries), [""; 0]);
        assert_eq!((checker.delivered(1), checker.changes()), (&[1, 2, 3][..], 3));
        assert_eq!(checker.delivered(2), &[] as &[u32]);
        assert_eq!(checker.all_delivered(), [(1, 1), (1, 2), (1, 3)]);
        assert_eq!(
            (checker.sent_to(5), checker.sent_to(6)),
            (&[(1, 1), (1, 2)][..], &[(1, 2), (1, 3)][..])
        );
        assert!(checker.sent_to(7).is_empty());
    }

    #[test]
    fn what_breaks_a_rule_is_told() {
        let joined = |who| Effect::Joined { group: 1, who };
        let broken: [(&[RecordedEffect], &str); 4] = [
            (&[entry(2, joined(5)), entry(1, joined(6))], "ticket 1 came after one of 2"),
            (&[entry(2, joined(5)), entry(2, joined(6))], "ticket 2 came after one of 2"),
            (&[entry(1, joined(5)), entry(2, forwarded(1, &[]))], "children are {5}"),
            (&[entry(1, joined(5)), entry(2, forwarded(1, &[5, 6]))], "sent message 1 of group 1"),
        ];
        for (entries, why) in broken {
            let told = Checker::default().add(entries);
            assert!(told.len() == 1 && told[0].contains(why), "{told:?}");
        }
    }
}

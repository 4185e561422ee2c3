//! A set whose members leave in the order in which they came.

use std::collections::{BTreeMap, HashMap};

/// A set of numbers, ordered by insertion.
#[derive(Default)]
pub(super) struct InOrder {
    numbers: HashMap<usize, u64>,
    members: BTreeMap<u64, usize>,
    next: u64,
}

impl InOrder {
    /// Adds a member. A member that is present keeps its position.
    pub(super) fn insert(&mut self, member: usize) {
        if let std::collections::hash_map::Entry::Vacant(vacant) = self.numbers.entry(member) {
            vacant.insert(self.next);
            self.members.insert(self.next, member);
            self.next += 1;
        }
    }

    /// Removes a member. Returns `false` if it was not present.
    pub(super) fn remove(&mut self, member: usize) -> bool {
        let number = self.numbers.remove(&member);
        number.is_some_and(|number| self.members.remove(&number).is_some())
    }

    /// Returns the member that came first.
    pub(super) fn first(&self) -> Option<usize> {
        self.members.values().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::InOrder;

    #[test]
    fn p1_members_leave_in_the_order_in_which_they_came() {
        let mut all = InOrder::default();
        [5, 3, 9, 3, 1].into_iter().for_each(|member| all.insert(member));
        assert!(all.remove(9) && !all.remove(9));
        all.insert(9);
        let mut left = Vec::new();
        while let Some(first) = all.first() {
            all.remove(first);
            left.push(first);
        }
        assert_eq!(left, [5, 3, 1, 9]);
    }
}

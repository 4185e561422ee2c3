//! Who forwards what to whom: routing by prefixes, as in Bamboo, and a tree for each group, as
//! Scribe builds them from the routes of those who join.
//!
//! A node's name is its number, in digits of two bits. A step of a route puts right the first digit
//! that differs from the destination's. A group has the name of the node that it belongs to, and a
//! *root*, which is another node; the routes of all members to the root are the tree.

use std::collections::BTreeSet;

/// The number of a node, or of the group that belongs to it.
pub(super) type Name = u16;

/// Bits of a digit.
const DIGIT: u32 = 2;

/// The overlay of so many nodes, a power of two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlay {
    nodes: Name,
}

impl Overlay {
    /// # Panics
    ///
    /// When `nodes` is not a power of two, or less than 8.
    pub(super) fn new(nodes: Name) -> Overlay {
        assert!(nodes.is_power_of_two() && nodes >= 8, "{nodes} nodes");
        Overlay { nodes }
    }

    pub(super) fn nodes(self) -> Name {
        self.nodes
    }

    /// All nodes.
    pub(super) fn all(self) -> impl Iterator<Item = Name> + Clone {
        0..self.nodes
    }

    /// Where the messages of a group start from: a node other than the one that it belongs to, so
    /// that a message takes at least two hops to all but the root. Different groups have different
    /// roots.
    pub(super) fn root(self, group: Name) -> Name {
        // The difference to the group is odd, and so not zero.
        (group.wrapping_mul(13).wrapping_add(5)) % self.nodes
    }

    /// The next node on the way to another one.
    pub(super) fn next_hop(self, from: Name, to: Name) -> Name {
        let bits = self.nodes.trailing_zeros();
        // Digits from the first on; the last one is whole.
        let lows = (0..bits.div_ceil(DIGIT)).rev().map(|nth| nth * DIGIT);
        let low = lows.into_iter().find(|low| from >> low != to >> low).unwrap_or(0);
        let lower = (1 << low) - 1;
        (to & !lower) | (from & lower)
    }

    /// From whom a node gets the messages of a group; `None` for its root.
    pub(super) fn parent(self, node: Name, group: Name) -> Option<Name> {
        let root = self.root(group);
        (node != root).then(|| self.next_hop(node, root))
    }

    /// All members that a node sends to; visitors, who have higher names, send to all of them.
    pub(super) fn neighbors(self, node: Name) -> BTreeSet<Name> {
        if node >= self.nodes {
            return self.all().collect();
        }
        // Up the trees, down, and to the root of its own.
        let parents = self.all().filter_map(|group| self.parent(node, group));
        let is_child = |other: &Name| self.all().any(|g| self.parent(*other, g) == Some(node));
        let mut neighbors: BTreeSet<Name> =
            parents.chain(self.all().filter(is_child)).chain([self.root(node)]).collect();
        neighbors.remove(&node);
        neighbors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tree_has_all_nodes_and_no_long_way() {
        for (nodes, longest) in [(8, 2), (16, 2), (32, 3), (64, 3), (128, 4)] {
            let overlay = Overlay::new(nodes);
            for group in overlay.all() {
                let depth = |node| {
                    let parent = |node: &Name| overlay.parent(*node, group);
                    std::iter::successors(Some(node), parent).take(10).count() - 1
                };
                let depths: Vec<usize> = overlay.all().map(depth).collect();
                assert_eq!(depths.iter().max(), Some(&longest), "{nodes} nodes");
                assert_eq!(depths.iter().filter(|depth| **depth == 0).count(), 1, "the root");
            }
        }
    }

    #[test]
    fn a_node_has_few_neighbors() {
        let overlay = Overlay::new(32);
        let counts = overlay.all().map(|node| overlay.neighbors(node).len());
        assert!(counts.clone().all(|count| (7..=16).contains(&count)), "{:?}", counts.max());
        assert_eq!(overlay.neighbors(33).len(), 32);
    }

    #[test]
    fn a_root_is_never_who_sends() {
        for nodes in [8, 32, 128] {
            let overlay = Overlay::new(nodes);
            let roots: BTreeSet<Name> = overlay.all().map(|group| overlay.root(group)).collect();
            assert_eq!(roots.len(), usize::from(nodes), "each node is the root of one group");
            assert!(overlay.all().all(|group| overlay.root(group) != group));
        }
    }
}

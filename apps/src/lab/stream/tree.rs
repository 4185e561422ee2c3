//! The trees by which messages are forwarded: prefix routing, as in Bamboo, and one tree for each
//! group, built from the routes of those who join, as in Scribe.
//!
//! A node's name is its number, in digits of two bits. Each step of a route corrects the first
//! digit that differs from the destination's. A group has the name of the node that it belongs to,
//! and a *root*, which is another node. The routes of all members to the root form the tree.

use std::collections::BTreeSet;

/// The number of a node, or of the group that belongs to it.
pub(super) type Name = u16;

/// The number of bits in a digit.
const DIGIT: u32 = 2;

/// An overlay network whose number of nodes is a power of two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlay {
    nodes: Name,
}

impl Overlay {
    /// Makes an overlay of `nodes` nodes.
    ///
    /// # Panics
    ///
    /// Panics if `nodes` is not a power of two, or is less than 8.
    pub(super) fn new(nodes: Name) -> Overlay {
        assert!(nodes.is_power_of_two() && nodes >= 8, "{nodes} nodes");
        Overlay { nodes }
    }

    pub(super) fn nodes(self) -> Name {
        self.nodes
    }

    /// Returns all nodes.
    pub(super) fn all(self) -> impl Iterator<Item = Name> + Clone {
        0..self.nodes
    }

    /// Returns the root of a group, where its messages start. The root is not the node that the
    /// group belongs to, so a message takes at least two hops to every node but the root. Different
    /// groups have different roots.
    pub(super) fn root(self, group: Name) -> Name {
        // The difference from the group is odd, and so it is not zero.
        (group.wrapping_mul(13).wrapping_add(5)) % self.nodes
    }

    /// Returns the next node on the route to another one.
    pub(super) fn next_hop(self, from: Name, to: Name) -> Name {
        let bits = self.nodes.trailing_zeros();
        // The low bits of the digits, from the first digit to the last.
        let lows = (0..bits.div_ceil(DIGIT)).rev().map(|nth| nth * DIGIT);
        let low = lows.into_iter().find(|low| from >> low != to >> low).unwrap_or(0);
        let lower = (1 << low) - 1;
        (to & !lower) | (from & lower)
    }

    /// Returns the node that sends a node the messages of a group; `None` for the root.
    pub(super) fn parent(self, node: Name, group: Name) -> Option<Name> {
        let root = self.root(group);
        (node != root).then(|| self.next_hop(node, root))
    }

    /// Returns the members that a node sends to. Visitors, which have higher numbers, send to all
    /// members.
    pub(super) fn neighbors(self, node: Name) -> BTreeSet<Name> {
        if node >= self.nodes {
            return self.all().collect();
        }
        // Up the trees, down the trees, and to the root of the node's own group.
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

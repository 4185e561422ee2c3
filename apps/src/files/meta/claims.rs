//! Who is changing what: claims on paths, so that two changes of one resource follow each other.
//!
//! A change of the folder takes a while, and may wait for a disk, so it cannot be one step of the
//! domain. It claims its paths first, in one step; a change that claims a path that another one
//! has, or waits for, waits behind it. So claims are given in the order of their tickets as far as
//! they meet, nobody starves, and as all paths of a claim are taken at once, nobody waits in a
//! circle.

use std::sync::Arc;

use crate::files::path::DavPath;

/// A path, and perhaps all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::files) struct Area {
    pub(in crate::files) path: DavPath,
    pub(in crate::files) deep: bool,
}

impl Area {
    pub(in crate::files) fn one(path: &DavPath) -> Area {
        Area { path: path.clone(), deep: false }
    }

    pub(in crate::files) fn all(path: &DavPath) -> Area {
        Area { path: path.clone(), deep: true }
    }

    fn meets(&self, other: &Area) -> bool {
        self.path == other.path
            || (self.deep && other.path.is_within(&self.path))
            || (other.deep && self.path.is_within(&other.path))
    }
}

#[derive(Clone, Debug)]
struct Claim {
    id: u64,
    areas: Arc<[Area]>,
    waits: bool,
}

impl Claim {
    fn meets(&self, areas: &[Area]) -> bool {
        self.areas.iter().any(|one| areas.iter().any(|other| one.meets(other)))
    }
}

/// The claims in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(in crate::files) struct Claims {
    all: Vec<Claim>,
}

impl Claims {
    /// Adds a claim; true: it is given at once.
    pub(in crate::files) fn add(&mut self, id: u64, areas: Arc<[Area]>) -> bool {
        let waits = self.all.iter().any(|other| other.meets(&areas));
        self.all.push(Claim { id, areas, waits });
        !waits
    }

    /// Takes a claim back, whether it was given or not, and says which ones are given thereby.
    pub(in crate::files) fn remove(&mut self, id: u64) -> Vec<u64> {
        let Some(at) = self.all.iter().position(|claim| claim.id == id) else {
            return Vec::new();
        };
        let removed = self.all.remove(at);
        let mut given = Vec::new();
        for n in at..self.all.len() {
            let (before, rest) = self.all.split_at_mut(n);
            let claim = &mut rest[0];
            // Who did not wait for this one still has somebody to wait for.
            let waited_for_it = claim.waits && claim.meets(&removed.areas);
            if waited_for_it && !before.iter().any(|other| other.meets(&claim.areas)) {
                claim.waits = false;
                given.push(claim.id);
            }
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn area(text: &str) -> Area {
        match text.strip_suffix("/*") {
            Some(text) => Area::all(&DavPath::from_bytes(text.as_bytes())),
            None => Area::one(&DavPath::from_bytes(text.as_bytes())),
        }
    }

    fn add(claims: &mut Claims, id: u64, areas: &[&str]) -> bool {
        claims.add(id, areas.iter().map(|a| area(a)).collect())
    }

    #[test]
    fn those_who_meet_wait_in_order() {
        let mut claims = Claims::default();
        assert!(add(&mut claims, 1, &["a/b"]));
        assert!(!add(&mut claims, 2, &["a/*", "x"]));
        assert!(!add(&mut claims, 3, &["a/c"]), "behind one that waits");
        assert!(add(&mut claims, 4, &["y"]));
        assert!(!add(&mut claims, 5, &["x"]));
        assert_eq!(claims.remove(1), [2]);
        assert_eq!(claims.remove(4), [0; 0]);
        assert_eq!(claims.remove(2), [3, 5]);
        assert_eq!(claims.remove(9), [0; 0]);
    }

    #[test]
    fn one_who_gives_up_lets_those_behind_pass() {
        let mut claims = Claims::default();
        assert!(add(&mut claims, 1, &["a"]));
        assert!(!add(&mut claims, 2, &["a", "b"]));
        assert!(!add(&mut claims, 3, &["b"]));
        assert_eq!(claims.remove(2), [3]);
    }

    proptest! {
        /// Two that have been given never meet; when all that were given end, everybody gets their
        /// turn.
        #[test]
        fn given_ones_never_meet(
            wanted in proptest::collection::vec(proptest::collection::vec("[ab](/[ab])?(/\\*)?", 1..3), 1..12),
            ends in proptest::collection::vec(any::<prop::sample::Index>(), 0..24),
        ) {
            let mut claims = Claims::default();
            let mut given: Vec<u64> = Vec::new();
            let mut ends = ends.into_iter();
            let mut seen = 0;
            for (id, areas) in wanted.iter().enumerate() {
                let areas: Vec<&str> = areas.iter().map(String::as_str).collect();
                if add(&mut claims, id as u64, &areas) {
                    given.push(id as u64);
                    seen += 1;
                }
                if let Some(end) = ends.next() && !given.is_empty() {
                    let more = claims.remove(given.swap_remove(end.index(given.len())));
                    seen += more.len();
                    given.extend(more);
                }
                for (n, one) in claims.all.iter().enumerate().filter(|(_, c)| !c.waits) {
                    for other in claims.all[n + 1..].iter().filter(|c| !c.waits) {
                        prop_assert!(!one.meets(&other.areas));
                    }
                }
            }
            while let Some(id) = given.pop() {
                let more = claims.remove(id);
                seen += more.len();
                given.extend(more);
            }
            prop_assert_eq!(seen, wanted.len());
        }
    }
}

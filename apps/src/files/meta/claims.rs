//! Claims on paths, which make changes of one resource follow each other.
//!
//! A change of the folder may take long and wait for a disk, so it cannot be one step of the
//! domain. It first claims its paths, in one step. A change that claims a path which another change
//! has claimed, or waits for, waits behind that change. So overlapping claims are granted in the
//! order of their tickets, and no change starves. Because all paths of a claim are claimed at once,
//! there is no deadlock.

use std::sync::Arc;

use crate::files::path::DavPath;

/// A path, and everything below it if `deep` is set.
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

/// A claim of a change, which has been granted or waits.
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
    /// Adds a claim. Returns `true` if it is granted at once.
    pub(in crate::files) fn add(&mut self, id: u64, areas: Arc<[Area]>) -> bool {
        let waits = self.all.iter().any(|other| other.meets(&areas));
        self.all.push(Claim { id, areas, waits });
        !waits
    }

    /// Removes a claim, whether it was granted or not. Returns the claims that are granted as a
    /// result.
    pub(in crate::files) fn remove(&mut self, id: u64) -> Vec<u64> {
        let Some(at) = self.all.iter().position(|claim| claim.id == id) else {
            return Vec::new();
        };
        let removed = self.all.remove(at);
        let mut given = Vec::new();
        for n in at..self.all.len() {
            let (before, rest) = self.all.split_at_mut(n);
            let claim = &mut rest[0];
            // A claim that did not wait for the removed one still waits for another one.
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
        /// Two granted claims never overlap. When all granted claims end, each waiting one is
        /// granted in the end.
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

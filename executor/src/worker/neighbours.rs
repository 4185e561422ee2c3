//! The distances between workers: the order in which a worker looks at the others when it steals.
//!
//! Cores that share a cache are nearer to each other than cores of one package, and these are
//! nearer than all others. Linux tells this under `/sys/devices/system/cpu`. Elsewhere, and for
//! workers that are not pinned, a worker starts with the next number and goes around.

use std::path::PathBuf;

use super::cores::CoreId;

/// Returns the other workers for each worker, the nearest first.
pub(crate) fn of_all(pins: &[Option<CoreId>]) -> Vec<Box<[usize]>> {
    let places: Vec<Topology> =
        pins.iter().map(|pin| pin.map(Topology::read).unwrap_or_default()).collect();
    (0..pins.len()).map(|me| order(me, &places)).collect()
}

fn order(me: usize, places: &[Topology]) -> Box<[usize]> {
    let n = places.len();
    let mut others: Vec<usize> = (1..n).map(|i| (me + i) % n).collect();
    // The sort is stable, so equally near workers keep the order of their numbers, which starts
    // elsewhere for each worker.
    others.sort_by_key(|&other| places[me].distance(&places[other]));
    others.into()
}

/// The caches and the package that a core shares with others. A cache is its level, from 2 on, and
/// the list of the cores that share it.
#[derive(Debug, Default, PartialEq)]
struct Topology {
    caches: Vec<(u32, String)>,
    package: Option<String>,
}

impl Topology {
    fn read(core: CoreId) -> Topology {
        let cpu = PathBuf::from(format!("/sys/devices/system/cpu/cpu{}", core.id));
        let word = |path: PathBuf| Some(std::fs::read_to_string(path).ok()?.trim().to_owned());
        let cache = |index: u32| {
            let dir = cpu.join(format!("cache/index{index}"));
            let level: u32 = word(dir.join("level"))?.parse().ok()?;
            Some((level, word(dir.join("shared_cpu_list"))?))
        };
        let mut caches: Vec<_> = (0..8).map_while(cache).filter(|(level, _)| *level > 1).collect();
        caches.sort();
        Topology { caches, package: word(cpu.join("topology/physical_package_id")) }
    }

    /// Returns the level of the nearest cache that both cores use. If they share none, returns 10
    /// within a package and 11 otherwise.
    fn distance(&self, other: &Topology) -> u32 {
        let shared = self.caches.iter().find(|cache| other.caches.contains(cache));
        match shared {
            Some((level, _)) => *level,
            None if self.package.is_some() && self.package == other.package => 10,
            None => 11,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(l2: &str, l3: &str, package: &str) -> Topology {
        let caches = vec![(2, l2.to_owned()), (3, l3.to_owned())];
        Topology { caches, package: Some(package.to_owned()) }
    }

    #[test]
    fn e3_the_nearest_victim_comes_first() {
        // Workers 0 and 1 share a core. Worker 2 is on another core of the same chip, worker 3 on
        // another chip of the same package, and worker 4 in another package.
        let places = [
            place("0-1", "0-3", "0"),
            place("0-1", "0-3", "0"),
            place("2-3", "0-3", "0"),
            place("4-5", "4-5", "0"),
            place("6-7", "6-7", "1"),
        ];
        assert_eq!(*order(0, &places), [1, 2, 3, 4]);
        assert_eq!(*order(1, &places), [0, 2, 3, 4]);
        assert_eq!(*order(2, &places), [0, 1, 3, 4]);
        assert_eq!(*order(3, &places), [0, 1, 2, 4]);
        assert_eq!(*order(4, &places), [0, 1, 2, 3]);
    }

    #[test]
    fn e3_workers_whose_place_is_not_known_look_at_the_next_one_first() {
        assert_eq!(*of_all(&[None, None, None])[1], [2, 0]);
        assert_eq!(of_all(&[Some(CoreId { id: 0 })]).len(), 1);
    }
}

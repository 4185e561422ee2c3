//! The deviations of a run from the default schedule: drawn by a seed, or taken from a saved run.
//!
//! A *deviation* is a pause at a marked point, or a fault: a timer that is late, or a wait that
//! ends too early. It is drawn by the name of what runs, the point, and the number of times that
//! this came to the point before. It does not depend on a count of steps. So the same seed makes
//! the same deviations in the parts of a program that have not changed.
//!
//! A seed follows one of two strategies:
//!
//! * *Random*: a pause with some probability at some of the points. The seed draws which points,
//!   how often and how long (the swarm testing of Groce and others, ISSTA 2012).
//! * *Priorities*: each color has a priority, and an event waits before it begins. Every 4 ms the
//!   schedule checks whether another fiber can go on. If none can, the waiting event with the
//!   highest priority begins. After 20 ms an event begins in any case. At some points, which are
//!   drawn by name as well, the color of what comes to the point gets the lowest priority, and
//!   waits (after the PCT of Burckhardt and others, ASPLOS 2010, with colors instead of threads).
//!
//! Under both strategies, a seed also draws which faults there are. After a quarter of the steps
//! that a run may take, a seed makes no further deviations. What the test waits for must happen in
//! the rest of the run.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::mix;
use crate::sync::{Fault, Point};

/// The ranges of a pause's length in nanoseconds, as powers of two: the length of a step in a
/// protocol, that of a few events, and more than the usual steal delay of 1 ms, after which workers
/// take over what waits.
const LENGTHS: [std::ops::Range<u32>; 3] = [6..12, 12..20, 20..23];

/// A point or a fault at which a run may deviate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    /// A marked point, where a fiber may pause.
    Point(Point),
    /// A fault, which may happen.
    Fault(Fault),
}

impl Spot {
    /// Returns the index of this spot among all points and faults.
    pub(super) fn index(self) -> usize {
        match self {
            Spot::Point(point) => point as usize,
            Spot::Fault(fault) => Point::ALL.len() + fault as usize,
        }
    }

    pub(super) fn all() -> impl Iterator<Item = Spot> {
        let points = Point::ALL.into_iter().map(Spot::Point);
        points.chain(Fault::ALL.into_iter().map(Spot::Fault))
    }

    /// Returns the name of the spot in a story, and in a saved run.
    pub(super) fn name(self) -> &'static str {
        match self {
            Spot::Point(point) => point.name(),
            Spot::Fault(Fault::LateTimer) => "late-timer",
            Spot::Fault(Fault::EarlyWake) => "early-wake",
        }
    }
}

/// One passage of a spot, at which a run may deviate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    /// The name of the event, or of what runs between two events.
    pub(super) who: u64,
    pub(super) spot: Spot,
    /// The number of times that `who` passed the spot before.
    pub(super) nth: u32,
}

/// The length of a pause, or the size of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// A number of virtual nanoseconds.
    For(u64),
    /// Until the event of this name has ended, or 50 ms are over, as the event may never come.
    Until(u64),
    /// Until no other fiber can go on, except fibers that wait in the same way with a smaller
    /// number; at most 20 ms.
    Rest(u32),
}

/// A deviation: its mark and its length.
pub(super) type Deviation = (Mark, Length);

/// The source of a run's deviations, and those that were made: see the [module](self).
pub(super) struct Choices {
    source: Source,
    made: RefCell<Vec<Deviation>>,
}

enum Source {
    Seed(Draw),
    These(BTreeMap<Mark, Length>),
}

/// The values that a seed draws once for a run, from which all its deviations follow.
#[derive(Debug)]
struct Draw {
    seed: u64,
    strategy: Strategy,
    /// The faults that may happen, as bits.
    faults: u64,
    /// One color in `late_colors` has timers that are late, if that fault may happen.
    late_colors: u64,
    /// One passage in `one_in` is a pause or an early wake.
    one_in: u64,
    /// The index of the range from which lengths are drawn; all ranges if it is past the last one.
    length: usize,
    /// The number of steps after which no deviation is made.
    horizon: u64,
}

#[derive(Debug)]
enum Strategy {
    Random {
        /// The points where a fiber may pause, as bits.
        points: u64,
        /// One color in `slow_colors` has all its events pause before they begin; 0 if none has.
        slow_colors: u64,
    },
    Priorities {
        /// At one passage in `one_in` the color gets the lowest priority.
        one_in: u64,
        /// The priorities that were changed, by the names of the colors, and the number of changes.
        lowered: RefCell<(BTreeMap<u64, u32>, u32)>,
    },
}

/// The lowest priority that is drawn. Priorities that were changed are below it.
const DRAWN: u32 = 1 << 20;

impl Draw {
    fn of(seed: u64, horizon: u64) -> Draw {
        let draw = |what: u64| mix(&[seed, what]);
        // The seed pauses between events only, or everywhere, or at some of the points.
        let all = (1 << Point::ALL.len()) - 1;
        let between = [Point::Begins, Point::Ended, Point::Posted];
        let points = match draw(2) % 4 {
            0 => between.iter().fold(0, |bits, point| bits | 1 << *point as u64),
            1 => all,
            _ => draw(3) & all,
        };
        let slow_colors = if draw(5).is_multiple_of(3) { 2 + draw(6) % 3 } else { 0 };
        let strategy = match draw(9) % 5 {
            0 => {
                let (one_in, lowered) = (32 << (draw(11) % 6), RefCell::default());
                Strategy::Priorities { one_in, lowered }
            }
            _ => Strategy::Random { points, slow_colors },
        };
        let one_in = 1 << (1 + draw(1) % 7);
        let faults = if draw(12).is_multiple_of(3) { 1 + draw(13) % 3 } else { 0 };
        let length = (draw(4) % (LENGTHS.len() as u64 + 1)) as usize;
        let late_colors = 1 + draw(14) % 3;
        Draw { seed, strategy, faults, late_colors, one_in, length, horizon }
    }

    fn drawn(&self, mark: Mark) -> u64 {
        mix(&[self.seed, mark.who, mark.spot.index() as u64, mark.nth.into()])
    }

    fn deviation(&self, mark: Mark, color: u64) -> Option<Length> {
        let drawn = self.drawn(mark);
        let often = || drawn.is_multiple_of(self.one_in).then(|| self.length(drawn >> 20));
        match (&self.strategy, mark.spot) {
            (_, Spot::Fault(fault)) if self.faults >> (fault as u64) & 1 == 0 => None,
            (_, Spot::Fault(Fault::LateTimer)) => {
                drawn.is_multiple_of(self.late_colors).then(|| self.length(drawn >> 20))
            }
            (_, Spot::Fault(Fault::EarlyWake)) => often(),
            (Strategy::Random { slow_colors, .. }, Spot::Point(Point::Begins))
                if *slow_colors > 0 && mix(&[self.seed, color, 7]).is_multiple_of(*slow_colors) =>
            {
                Some(self.length(mix(&[self.seed, mark.who, 8])))
            }
            (Strategy::Random { points, .. }, Spot::Point(point)) => {
                (points >> (point as u64) & 1 == 1).then(often).flatten()
            }
            (Strategy::Priorities { one_in, lowered }, Spot::Point(point)) => {
                let (lowered, count) = &mut *lowered.borrow_mut();
                let changes = drawn.is_multiple_of(*one_in);
                if changes {
                    *count += 1;
                    lowered.insert(color, DRAWN.saturating_sub(*count));
                }
                let usual = || DRAWN + (mix(&[self.seed, color, 7]) >> 44) as u32;
                let rank = lowered.get(&color).copied().unwrap_or_else(usual);
                (changes || point == Point::Begins).then_some(Length::Rest(rank))
            }
        }
    }

    /// Draws a length. Each power of two is equally likely.
    fn length(&self, drawn: u64) -> Length {
        let any = || &LENGTHS[(drawn >> 32) as usize % LENGTHS.len()];
        let powers = LENGTHS.get(self.length).unwrap_or_else(any);
        let power = powers.start + (drawn % u64::from(powers.end - powers.start)) as u32;
        Length::For((1 << power) + (drawn >> 8) % (1 << power))
    }
}

impl Choices {
    /// Makes the choices of a seed, for a run that takes at most `most_steps` steps.
    pub(super) fn of_seed(seed: u64, most_steps: u64) -> Self {
        let draw = Draw::of(seed, most_steps / 4);
        Choices { source: Source::Seed(draw), made: RefCell::default() }
    }

    /// Makes exactly these deviations, as far as the run passes their marks.
    pub(super) fn these(deviations: &[Deviation]) -> Self {
        let these = deviations.iter().copied().collect();
        Choices { source: Source::These(these), made: RefCell::default() }
    }

    /// Returns `true` if the run may deviate anywhere.
    #[inline]
    pub(super) fn has_any(&self) -> bool {
        !matches!(&self.source, Source::These(these) if these.is_empty())
    }

    /// Returns the deviation at a mark, if there is one.
    ///
    /// `color` is the name of the color of what runs. `steps` is the number of the run's steps so
    /// far.
    pub(super) fn deviation(&self, mark: Mark, color: u64, steps: u64) -> Option<Length> {
        let length = match &self.source {
            Source::Seed(draw) if steps >= draw.horizon => None,
            Source::Seed(draw) => draw.deviation(mark, color),
            Source::These(these) => these.get(&mark).copied(),
        };
        if let Some(length) = length {
            self.made.borrow_mut().push((mark, length));
        }
        length
    }

    /// Returns the deviations of this run, in the order in which they were made.
    pub(super) fn take_made(&self) -> Vec<Deviation> {
        self.made.take()
    }
}

/// Returns a small part of some deviations with which a run still fails, by leaving out parts of
/// them.
///
/// `fails` runs the test with some deviations. The search ends early when `goes_on` returns
/// `false`.
pub(super) fn fewest(
    mut deviations: Vec<Deviation>,
    goes_on: impl Fn() -> bool,
    mut fails: impl FnMut(&[Deviation]) -> bool,
) -> Vec<Deviation> {
    let mut part = deviations.len().div_ceil(2).max(1);
    while !deviations.is_empty() && goes_on() {
        let (mut at, mut fewer) = (0, false);
        while at < deviations.len() && goes_on() {
            let end = (at + part).min(deviations.len());
            let rest: Vec<Deviation> = [&deviations[..at], &deviations[end..]].concat();
            if fails(&rest) {
                (deviations, fewer) = (rest, true);
            } else {
                at = end;
            }
        }
        match (part, fewer) {
            (1, false) => break,
            (1, true) => {}
            _ => part = part.div_ceil(2),
        }
    }
    deviations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(who: u64, point: Point) -> Mark {
        Mark { who, spot: Spot::Point(point), nth: 0 }
    }

    /// Returns the draws of those of 1,000 seeds that follow priorities.
    fn priorities() -> impl Iterator<Item = Draw> {
        let draws = (0..1_000).map(|seed| Draw::of(seed, 1_000));
        draws.filter(|draw| matches!(draw.strategy, Strategy::Priorities { .. }))
    }

    #[test]
    fn e13_some_seeds_follow_priorities_of_colors() {
        assert!(priorities().count() > 100);
        for draw in priorities().take(20) {
            let rank = |who, color| match draw.deviation(mark(who, Point::Begins), color) {
                Some(Length::Rest(rank)) => rank,
                other => panic!("an event waits for its rank: {other:?}"),
            };
            // A color keeps its drawn priority until it gets the lowest one. It keeps that one
            // until the next change.
            let mut ranks: Vec<u32> = (0..4_000).map(|who| rank(who, 5)).collect();
            ranks.dedup();
            let [usual, changed @ ..] = &ranks[..] else { panic!("there is one") };
            assert!(*usual >= DRAWN && !changed.is_empty(), "{ranks:?}");
            assert!(changed.iter().all(|rank| *rank < DRAWN), "{ranks:?}");
            assert!(changed.is_sorted_by(|one, two| one > two), "each change is below all others");
            let other: Vec<u32> = (5_000..9_000).map(|who| rank(who, 6)).collect();
            assert!(!ranks.contains(&other[0]), "another color has another one");
            assert!(other.last() < ranks.last(), "the last change is the lowest");
        }
    }

    #[test]
    fn e13_no_deviation_is_made_behind_the_horizon() {
        for seed in 0..50 {
            let choices = Choices::of_seed(seed, 400);
            let any = |from: u64| {
                let marks = (0..1_000).flat_map(|who| {
                    [mark(who, Point::Begins), mark(who, Point::Ended), mark(who, Point::Posted)]
                });
                let mut marks = marks.filter(|mark| choices.deviation(*mark, 1, from).is_some());
                marks.next().is_some()
            };
            assert!(!any(100));
        }
        let some = (0..50).filter(|seed| {
            let choices = Choices::of_seed(*seed, 400);
            (0..1_000).any(|who| choices.deviation(mark(who, Point::Begins), 1, 99).is_some())
        });
        assert!(some.count() > 20);
    }

    #[test]
    fn e13_the_fewest_deviations_are_those_that_matter() {
        let all: Vec<Deviation> =
            (0..100).map(|who| (mark(who, Point::Posted), Length::For(who))).collect();
        let fails = |some: &[Deviation]| {
            [13, 14, 77].iter().all(|who| some.iter().any(|(mark, _)| mark.who == *who))
        };
        let few = fewest(all, || true, fails);
        assert_eq!(few.iter().map(|(mark, _)| mark.who).collect::<Vec<_>>(), [13, 14, 77]);
    }
}

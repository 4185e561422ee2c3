//! Where a run deviates from the default schedule: as a seed draws it, or as in a saved run.
//!
//! A *deviation* is a pause at a marked point, or a fault: a timer that is late, a wait that ends
//! too early. It is drawn by the name of what runs, the point, and how often it came by there; by
//! no count of steps. So the same seed makes the same deviations in the parts of a program that
//! have not changed.
//!
//! A seed follows one of two strategies:
//!
//! * *Random*: a pause with some probability at some of the points; which points, how often and how
//!   long is drawn by the seed (the swarm testing of Groce and others, ISSTA 2012), as are the
//!   faults that there are.
//! * *Priorities*: each color has a priority. An event waits before it begins, and every 4 ms it is
//!   looked whether another fiber can go on; if none can, the one with the highest priority of
//!   those that wait so does. After 20 ms it begins anyway. At some points, drawn by name as well,
//!   the color of what comes by gets the lowest priority, and waits (after the PCT of Burckhardt
//!   and others, ASPLOS 2010, with colors instead of threads).
//!
//! After a quarter of the steps that a run may take, a seed makes no deviations any more: what the
//! test waits for has to come then.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::mix;
use crate::sync::{Fault, Point};

/// Nanoseconds of pauses, as powers of two: within a protocol, a few events, and longer than other
/// workers leave alone what waits.
const LENGTHS: [std::ops::Range<u32>; 3] = [6..12, 12..20, 20..23];

/// What may deviate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    /// Somebody may pause here.
    Point(Point),
    /// This may go wrong.
    Fault(Fault),
}

impl Spot {
    /// A number below that of all points and faults.
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

    /// Its name in a story, and in a saved run.
    pub(super) fn name(self) -> &'static str {
        match self {
            Spot::Point(point) => point.name(),
            Spot::Fault(Fault::LateTimer) => "late-timer",
            Spot::Fault(Fault::EarlyWake) => "early-wake",
        }
    }
}

/// A place where a run may deviate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    /// The name of the event, or of what runs between two.
    pub(super) who: u64,
    pub(super) spot: Spot,
    /// The how-manieth time it comes by there.
    pub(super) nth: u32,
}

/// How long a pause is, or by how much something is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// So many virtual nanoseconds.
    For(u64),
    /// Until the event of this name has ended, or a long time is over: it may never come.
    Until(u64),
    /// Until nobody else can go on for some time, but those that wait so with a smaller number.
    Rest(u32),
}

/// A deviation: where, and how long.
pub(super) type Deviation = (Mark, Length);

/// See the module.
pub(super) struct Choices {
    source: Source,
    made: RefCell<Vec<Deviation>>,
}

enum Source {
    Seed(Draw),
    These(BTreeMap<Mark, Length>),
}

/// What a seed says of all deviations.
#[derive(Debug)]
struct Draw {
    seed: u64,
    strategy: Strategy,
    /// Which faults there are, as bits.
    faults: u64,
    /// One color in so many has timers that are late, if there is that fault.
    late_colors: u64,
    /// One in so many marks is a pause, or an early wake.
    one_in: u64,
    /// Which of the lengths there are: one, or all.
    length: usize,
    /// No deviation is made after so many steps.
    horizon: u64,
}

#[derive(Debug)]
enum Strategy {
    Random {
        /// At which points, as bits.
        points: u64,
        /// One color in so many has all of its events paused before they begin; 0: none.
        slow_colors: u64,
    },
    Priorities {
        /// One in so many marks is a point where a color gets the lowest priority.
        one_in: u64,
        /// The priorities that were changed, by the names of the colors, and how many changes there
        /// were.
        lowered: RefCell<(BTreeMap<u64, u32>, u32)>,
    },
}

/// The lowest of the priorities that are drawn; those that were changed are below.
const DRAWN: u32 = 1 << 20;

impl Draw {
    fn of(seed: u64, horizon: u64) -> Draw {
        let draw = |what: u64| mix(&[seed, what]);
        // The grain: between events only, or everywhere, or at some of the points.
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

    /// As often short as long.
    fn length(&self, drawn: u64) -> Length {
        let any = || &LENGTHS[(drawn >> 32) as usize % LENGTHS.len()];
        let powers = LENGTHS.get(self.length).unwrap_or_else(any);
        let power = powers.start + (drawn % u64::from(powers.end - powers.start)) as u32;
        Length::For((1 << power) + (drawn >> 8) % (1 << power))
    }
}

impl Choices {
    /// Those of a seed, of a run that takes so many steps at most.
    pub(super) fn of_seed(seed: u64, most_steps: u64) -> Self {
        let draw = Draw::of(seed, most_steps / 4);
        Choices { source: Source::Seed(draw), made: RefCell::default() }
    }

    /// Exactly these, as far as a run comes by there.
    pub(super) fn these(deviations: &[Deviation]) -> Self {
        let these = deviations.iter().copied().collect();
        Choices { source: Source::These(these), made: RefCell::default() }
    }

    /// Says whether there may be a deviation anywhere.
    #[inline]
    pub(super) fn has_any(&self) -> bool {
        !matches!(&self.source, Source::These(these) if these.is_empty())
    }

    /// What is done here other than by default; `None`: nothing. `color`: the name of the color of
    /// what runs; `steps`: those of the run until now.
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

    /// The deviations of this run, in their order.
    pub(super) fn take_made(&self) -> Vec<Deviation> {
        self.made.take()
    }
}

/// The fewest of some deviations with which a run still fails, as far as leaving out parts of them
/// tells; `fails` runs it, as long as `goes_on` says so.
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

    /// The draws of some seeds that follow priorities.
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
            // A color keeps its priority until it gets the lowest one, which it keeps as well.
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

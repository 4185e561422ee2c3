//! Which pauses there are: drawn by a seed, or those of a saved run.
//!
//! A pause is drawn by the name of what is paused, the point, and how often it came by there; by
//! no count of steps. So the same seed makes the same pauses in the parts of a program that have
//! not changed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::mix;
use crate::sync::Point;

/// Nanoseconds of pauses, as powers of two: within a protocol, a few events, and longer than other
/// workers leave alone what waits.
const LENGTHS: [std::ops::Range<u32>; 3] = [6..12, 12..20, 20..23];

/// A place where a fiber may pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    /// The name of the event, or of what runs between two.
    pub(super) who: u64,
    pub(super) point: Point,
    /// The how-manieth time it comes by there.
    pub(super) nth: u32,
}

/// How long a pause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// So many virtual nanoseconds.
    For(u64),
    /// Until the event of this name has ended, or a long time is over: it may never come.
    Until(u64),
}

/// A pause: where, and how long.
pub(super) type Pause = (Mark, Length);

/// See the module.
pub(super) struct Choices {
    source: Source,
    made: RefCell<Vec<Pause>>,
}

enum Source {
    Seed(Draw),
    These(BTreeMap<Mark, Length>),
}

/// What a seed says of all pauses.
#[derive(Clone, Copy, Debug)]
struct Draw {
    seed: u64,
    /// One in so many marks is a pause.
    one_in: u64,
    /// At which points, as bits.
    points: u64,
    /// Which of the lengths there are: one, or all.
    length: usize,
    /// One color in so many has all of its events paused before they begin; 0: none.
    slow_colors: u64,
}

impl Draw {
    fn of(seed: u64) -> Draw {
        let draw = |what: u64| mix(&[seed, what]);
        let one_in = 1 << (1 + draw(1) % 7);
        // The grain: between events only, or everywhere, or at some of the points.
        let all = (1 << Point::ALL.len()) - 1;
        let between = [Point::Begins, Point::Ended, Point::Posted];
        let points = match draw(2) % 4 {
            0 => between.iter().fold(0, |bits, point| bits | 1 << *point as u64),
            1 => all,
            _ => draw(3) & all,
        };
        let length = (draw(4) % (LENGTHS.len() as u64 + 1)) as usize;
        let slow_colors = if draw(5).is_multiple_of(3) { 2 + draw(6) % 3 } else { 0 };
        Draw { seed, one_in, points, length, slow_colors }
    }

    fn pause(&self, mark: Mark, color: u64) -> Option<u64> {
        if mark.point == Point::Begins
            && self.slow_colors > 0
            && mix(&[self.seed, color, 7]).is_multiple_of(self.slow_colors)
        {
            return Some(self.length(mix(&[self.seed, mark.who, 8])));
        }
        if self.points >> (mark.point as u64) & 1 == 0 {
            return None;
        }
        let drawn = mix(&[self.seed, mark.who, mark.point as u64, mark.nth.into()]);
        drawn.is_multiple_of(self.one_in).then(|| self.length(drawn >> 20))
    }

    /// As often short as long.
    fn length(&self, drawn: u64) -> u64 {
        let any = || &LENGTHS[(drawn >> 32) as usize % LENGTHS.len()];
        let powers = LENGTHS.get(self.length).unwrap_or_else(any);
        let power = powers.start + (drawn % u64::from(powers.end - powers.start)) as u32;
        (1 << power) + (drawn >> 8) % (1 << power)
    }
}

impl Choices {
    pub(super) fn of_seed(seed: u64) -> Self {
        Choices { source: Source::Seed(Draw::of(seed)), made: RefCell::default() }
    }

    /// Exactly these, as far as a run comes by there.
    pub(super) fn these(pauses: &[Pause]) -> Self {
        let pauses = pauses.iter().copied().collect();
        Choices { source: Source::These(pauses), made: RefCell::default() }
    }

    /// How long the pause is that is made here; `None`: there is none. `color`: the name of the
    /// color of what runs.
    pub(super) fn pause(&self, mark: Mark, color: u64) -> Option<Length> {
        let pause = match &self.source {
            Source::Seed(draw) => draw.pause(mark, color).map(Length::For),
            Source::These(pauses) => pauses.get(&mark).copied(),
        };
        if let Some(length) = pause {
            self.made.borrow_mut().push((mark, length));
        }
        pause
    }

    /// The pauses of this run, in their order.
    pub(super) fn take_made(&self) -> Vec<Pause> {
        self.made.take()
    }
}

/// The fewest of some pauses with which a run still fails, as far as leaving out parts of them
/// tells; `fails` runs it, as long as `goes_on` says so.
pub(super) fn fewest(
    mut pauses: Vec<Pause>,
    goes_on: impl Fn() -> bool,
    mut fails: impl FnMut(&[Pause]) -> bool,
) -> Vec<Pause> {
    let mut part = pauses.len().div_ceil(2).max(1);
    while !pauses.is_empty() && goes_on() {
        let (mut at, mut fewer) = (0, false);
        while at < pauses.len() && goes_on() {
            let end = (at + part).min(pauses.len());
            let rest: Vec<Pause> = [&pauses[..at], &pauses[end..]].concat();
            if fails(&rest) {
                (pauses, fewer) = (rest, true);
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
    pauses
}

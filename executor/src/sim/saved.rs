//! Runs that have failed, as text: the deviations that lead to the failure.
//!
//! The first lines have the name of the test and the seed that the body asks for. Each other line
//! is a pause or a fault: the name of what runs, the point, the number of earlier passages of the
//! point, and the length. Names are numbers that survive edits. A deviation is skipped if the run
//! no longer passes its place.

use std::fmt;
use std::str::FromStr;

use super::choice::{Deviation, Length, Mark, Spot};

/// A run that has failed, which can be [replayed](super::replay). Its text can be kept in a file.
///
/// # Examples
///
/// ```
/// use dapple::sim::Saved;
/// let text = "seed 7\npause 4af3 posted 0 until 77e1\npause 9 parks 2 for 1000\n";
/// let saved: Saved = text.parse()?;
/// assert_eq!(saved.to_string(), text);
/// # Ok::<(), dapple::sim::NotSaved>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The test that has failed; `None` if it may be any test.
    test: Option<String>,
    /// The seed that the body asks for. The deviations are not drawn from it.
    pub(super) seed: u64,
    pub(super) deviations: Vec<Deviation>,
}

impl Saved {
    pub(super) fn new(seed: u64, deviations: Vec<Deviation>) -> Saved {
        Saved { test: None, seed, deviations }
    }

    /// Sets the name of the test that has failed.
    pub(super) fn of_test(self, name: &str) -> Saved {
        Saved { test: Some(name.to_owned()), ..self }
    }

    /// Returns `true` if the run may be one of the test of this name.
    pub(super) fn is_of(&self, test: &str) -> bool {
        self.test.as_ref().is_none_or(|name| name == test)
    }
}

/// An error: a line of the text does not belong to a saved run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSaved(String);

impl fmt::Display for NotSaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a line of a saved run: {}", self.0)
    }
}

impl std::error::Error for NotSaved {}

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(test) = &self.test {
            writeln!(f, "test {test}")?;
        }
        writeln!(f, "seed {}", self.seed)?;
        for (Mark { who, spot, nth }, length) in &self.deviations {
            let what = match spot {
                Spot::Point(_) => "pause",
                Spot::Fault(_) => "fault",
            };
            write!(f, "{what} {who:x} {} {nth} ", spot.name())?;
            match length {
                Length::For(nanos) => writeln!(f, "for {nanos}")?,
                Length::Until(name) => writeln!(f, "until {name:x}")?,
                Length::Rest(rank) => writeln!(f, "rest {rank}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Saved {
    type Err = NotSaved;

    fn from_str(text: &str) -> Result<Self, NotSaved> {
        let mut saved = Saved::new(0, Vec::new());
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let not_saved = || NotSaved(line.to_owned());
            match line.split_once(' ') {
                Some(("test", test)) => saved.test = Some(test.to_owned()),
                Some(("seed", seed)) => saved.seed = seed.parse().map_err(|_| not_saved())?,
                _ => saved.deviations.push(deviation(line).ok_or_else(not_saved)?),
            }
        }
        Ok(saved)
    }
}

fn deviation(line: &str) -> Option<Deviation> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [what, who, spot, nth, how, length] = *words else { return None };
    let who = u64::from_str_radix(who, 16).ok()?;
    let spot = Spot::all().find(|known| known.name() == spot)?;
    let is_right = match spot {
        Spot::Point(_) => what == "pause",
        Spot::Fault(_) => what == "fault" && how == "for",
    };
    let length = match how {
        "for" => Length::For(length.parse().ok()?),
        "until" => Length::Until(u64::from_str_radix(length, 16).ok()?),
        "rest" => Length::Rest(length.parse().ok()?),
        _ => return None,
    };
    is_right.then_some((Mark { who, spot, nth: nth.parse().ok()? }, length))
}

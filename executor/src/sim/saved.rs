//! Runs that have failed, as text: the pauses that lead to it.
//!
//! The first line is the seed that the body asks for. Each other one is a pause: the name of what
//! is paused, the point, how often it came by there, and how long. Names are numbers that survive
//! edits; a pause whose place is there no more is skipped.

use std::fmt;
use std::str::FromStr;

use super::choice::{Length, Mark, Pause};
use crate::sync::Point;

/// A run that has failed, to be [replayed](super::replay). As text it can be kept in a file.
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
    /// What the body asks for; the pauses are not drawn by it.
    pub(super) seed: u64,
    pub(super) pauses: Vec<Pause>,
}

/// A line is not one of a saved run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSaved(String);

impl fmt::Display for NotSaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "that is no line of a saved run: {}", self.0)
    }
}

impl std::error::Error for NotSaved {}

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        for (Mark { who, point, nth }, length) in &self.pauses {
            write!(f, "pause {who:x} {} {nth} ", point.name())?;
            match length {
                Length::For(nanos) => writeln!(f, "for {nanos}")?,
                Length::Until(name) => writeln!(f, "until {name:x}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Saved {
    type Err = NotSaved;

    fn from_str(text: &str) -> Result<Self, NotSaved> {
        let mut saved = Saved { seed: 0, pauses: Vec::new() };
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let not_saved = || NotSaved(line.to_owned());
            match line.strip_prefix("seed ") {
                Some(seed) => saved.seed = seed.parse().map_err(|_| not_saved())?,
                None => saved.pauses.push(pause(line).ok_or_else(not_saved)?),
            }
        }
        Ok(saved)
    }
}

fn pause(line: &str) -> Option<Pause> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["pause", who, point, nth, how, length] = *words else { return None };
    let who = u64::from_str_radix(who, 16).ok()?;
    let point = *Point::ALL.iter().find(|known| known.name() == point)?;
    let length = match how {
        "for" => Length::For(length.parse().ok()?),
        "until" => Length::Until(u64::from_str_radix(length, 16).ok()?),
        _ => return None,
    };
    Some((Mark { who, point, nth: nth.parse().ok()? }, length))
}

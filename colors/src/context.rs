//! Contexts, and which steps lead from one to another (rule I2).
//!
//! ```text
//!              +----------------------- commit ------------------------+
//!              |                                                       |
//!   start -> none --upgrade--> anon --commit--> (committed) <----------+
//!              |                ^                    ^
//!              |             downgrade               |
//!              +--upgrade--> global ------commit-----+
//! ```
//!
//! An event says at its post how high it may go, and may renounce that later.

use std::error::Error;
use std::fmt;

/// What an event may do with the state of its domain. A higher context may do more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Context {
    /// Neither read nor write.
    None,
    /// Read, beside others that read.
    Anon,
    /// Read and write, alone.
    Global,
}

/// What it takes to go from one context to another.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Passage {
    /// The event is there already.
    Stay,
    /// It has to wait for its turn.
    Upgrade,
    /// It goes at once.
    Downgrade,
}

impl Context {
    /// The way from this context to another, for an event that may go up to `highest`.
    ///
    /// # Errors
    ///
    /// When there is none: back to none without a commit, from anon to global, or above `highest`.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_colors::{Context::*, Passage};
    /// assert_eq!(None.passage(Global, Global), Ok(Passage::Upgrade));
    /// assert_eq!(Global.passage(Anon, Global), Ok(Passage::Downgrade));
    /// let error = Anon.passage(Global, Global).unwrap_err();
    /// assert_eq!(error.to_string(), "an event cannot go from anon to global");
    /// ```
    pub fn passage(self, to: Context, highest: Context) -> Result<Passage, IllegalStep> {
        use Context::*;
        match (self, to) {
            (from, to) if from == to => Ok(Passage::Stay),
            (None, to) if to <= highest => Ok(Passage::Upgrade),
            (Global, Anon) => Ok(Passage::Downgrade),
            (from, to) => {
                let declared = (from == None).then_some(highest);
                Err(IllegalStep { from, to, declared })
            }
        }
    }

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Context::None => "none",
            Context::Anon => "anon",
            Context::Global => "global",
        }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A step that the rules do not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IllegalStep {
    from: Context,
    to: Context,
    declared: Option<Context>,
}

impl IllegalStep {
    /// The context that the event is in.
    pub fn from(&self) -> Context {
        self.from
    }

    /// The context that it wanted.
    pub fn to(&self) -> Context {
        self.to
    }

    /// Says whether the step would be legal if the event had said at its post that it might go so
    /// high.
    pub fn is_undeclared(&self) -> bool {
        self.declared.is_some()
    }
}

impl fmt::Display for IllegalStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an event cannot go from {} to {}", self.from, self.to)?;
        match self.declared {
            Some(highest) => write!(f, ": it has declared {highest} as its highest context"),
            Option::None => Ok(()),
        }
    }
}

impl Error for IllegalStep {}

//! The contexts, and the legal steps between them (rule I2).
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
//! An event declares at its post the highest context that it may reach. It may renounce that later.

use std::error::Error;
use std::fmt;

/// What an event may do with the state of its domain. A higher context allows more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Context {
    /// The event may neither read nor write.
    None,
    /// The event may read, at the same time as other readers.
    Anon,
    /// The event may read and write, as the only writer.
    Global,
}

/// How an event goes from one context to another.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Passage {
    /// The event is in the context already.
    Stay,
    /// The event has to wait until it may enter.
    Upgrade,
    /// The event goes into the context at once.
    Downgrade,
}

impl Context {
    /// Returns how an event that may go up to `highest` goes from this context to another.
    ///
    /// # Errors
    ///
    /// Returns an [`IllegalStep`] if the rules do not allow the step: to none from anon or global,
    /// from anon to global, or from none to a context above `highest`.
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

    /// Returns the name of the context in lower case.
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
///
/// # Examples
///
/// ```
/// use dapple_colors::Context::{Anon, Global, None};
/// let error = None.passage(Global, Anon).unwrap_err();
/// assert_eq!((error.from(), error.to()), (None, Global));
/// assert!(error.is_undeclared());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IllegalStep {
    from: Context,
    to: Context,
    declared: Option<Context>,
}

impl IllegalStep {
    /// Returns the context that the event is in.
    pub fn from(&self) -> Context {
        self.from
    }

    /// Returns the context that the event wanted to reach.
    pub fn to(&self) -> Context {
        self.to
    }

    /// Returns `true` if the step would be legal had the event declared a higher context at its
    /// post.
    pub fn is_undeclared(&self) -> bool {
        self.declared.is_some()
    }
}

impl fmt::Display for IllegalStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an event cannot go from {} to {}", self.from, self.to)?;
        match self.declared {
            Some(highest) => write!(f, ": its highest declared context is {highest}"),
            Option::None => Ok(()),
        }
    }
}

impl Error for IllegalStep {}

//! How long a version of a domain's state is kept (rules I5, I11).
//!
//! A version is current until a later one replaces it, and pinned by every event that reads it.
//! Only the event in global writes it in place, and only if no event has it pinned. No event can
//! pin it meanwhile, because entering anon waits until global has been left.

/// The users of one version: its readers, and the domain while the version is current.
///
/// # Examples
///
/// ```
/// use dapple_colors::{Fate, Pins};
/// let mut version = Pins::new();
/// version.pin();
/// assert!(version.is_read());                           // so a writer makes a new version
/// assert_eq!(version.retire(), Fate::Kept);
/// assert_eq!(version.unpin(), Fate::Free);              // the last reader has gone
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pins {
    readers: usize,
    current: bool,
}

/// Whether a version is still needed.
#[must_use = "a version that nobody needs has to be freed"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The version is current, or an event reads it.
    Kept,
    /// The version is neither current nor read, so the caller frees it.
    Free,
}

impl Pins {
    /// Returns the pins of the current version, without readers.
    pub fn new() -> Self {
        Pins { readers: 0, current: true }
    }

    /// Adds an event that has entered anon and reads this version.
    ///
    /// # Panics
    ///
    /// Panics in a debug build if the version is not the current one.
    pub fn pin(&mut self) {
        debug_assert!(self.current, "only the current version is pinned (I5)");
        self.readers += 1;
    }

    /// Removes an event that has released this version.
    ///
    /// # Panics
    ///
    /// Panics if no event has the version pinned.
    pub fn unpin(&mut self) -> Fate {
        self.readers = self.readers.checked_sub(1).expect("only what is pinned is unpinned");
        self.fate()
    }

    /// Marks the version as replaced by a later one.
    pub fn retire(&mut self) -> Fate {
        self.current = false;
        self.fate()
    }

    /// Returns `true` if an event reads this version. Then it must not be written in place.
    pub fn is_read(&self) -> bool {
        self.readers > 0
    }

    fn fate(&self) -> Fate {
        if self.current || self.readers > 0 { Fate::Kept } else { Fate::Free }
    }
}

impl Default for Pins {
    fn default() -> Self {
        Self::new()
    }
}

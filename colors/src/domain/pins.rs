//! How long a version of a domain's state is kept (rules I5, I11).
//!
//! A version is current until a later one replaces it, and pinned by every event that reads it. It
//! is written in place only by the event in global, and only if nobody has it pinned: no event can
//! pin it meanwhile, since entering anon waits for global to be left.

/// What needs a version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pins {
    readers: usize,
    current: bool,
}

/// What becomes of a version.
#[must_use = "a version that nobody needs has to be freed"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Somebody needs it.
    Kept,
    /// Nobody does.
    Free,
}

impl Pins {
    /// Those of the current version, which nobody reads yet.
    pub fn new() -> Self {
        Pins { readers: 0, current: true }
    }

    /// An event has entered anon, and reads it.
    pub fn pin(&mut self) {
        debug_assert!(self.current, "only the current version is pinned (I5)");
        self.readers += 1;
    }

    /// An event that reads it has released.
    ///
    /// # Panics
    ///
    /// When nobody has it pinned.
    pub fn unpin(&mut self) -> Fate {
        self.readers = self.readers.checked_sub(1).expect("only what is pinned is unpinned");
        self.fate()
    }

    /// A later version has replaced it.
    pub fn retire(&mut self) -> Fate {
        self.current = false;
        self.fate()
    }

    /// Says whether anybody reads it. Then it is not written in place.
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

//! The class of colors that a worker serves next (rule C7).
//!
//! A higher class goes first. A lower one ages: each time it has something to run and another class
//! is served, it is *passed over*. After [`PATIENCE`] times it is served once, even if higher
//! classes wait. So a lower class gets a share of the turns under full load of a higher one, and
//! none starves.

/// The class of a color.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Served before the others: for work that somebody waits for.
    High,
    /// The class of colors that name none.
    #[default]
    Normal,
    /// Served after the others: for work that can wait.
    Low,
}

impl Priority {
    /// All classes, from the highest to the lowest.
    pub const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

    /// Returns `true` if this class is served before the other one.
    pub fn is_higher_than(self, other: Priority) -> bool {
        (self as u8) < other as u8
    }

    /// Returns the higher one of the two classes.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple_colors::Priority;
    /// assert_eq!(Priority::Low.or_higher(Priority::High), Priority::High);
    /// assert!(Priority::Normal.is_higher_than(Priority::Low));
    /// ```
    pub fn or_higher(self, other: Priority) -> Priority {
        if other.is_higher_than(self) { other } else { self }
    }
}

/// The number of times that a class is passed over before it is served.
pub const PATIENCE: u32 = 16;

/// The number of times that each class has been passed over.
///
/// # Examples
///
/// ```
/// use dapple_colors::priority::{Aging, PATIENCE, Priority};
/// let mut aging = Aging::default();
/// let all_wait = |_| true;
/// for _ in 0..PATIENCE {
///     assert_eq!(aging.next(all_wait), Some(Priority::High));
/// }
/// assert_eq!(aging.next(all_wait), Some(Priority::Low));
/// assert_eq!(aging.next(all_wait), Some(Priority::Normal));
/// assert_eq!(aging.next(all_wait), Some(Priority::High));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Aging {
    passed_over: [u32; 3],
}

impl Aging {
    /// Returns the class to serve next, or `None` if no class has something to run.
    ///
    /// `waits` tells whether a class has something to run.
    pub fn next(&mut self, waits: impl Fn(Priority) -> bool) -> Option<Priority> {
        let waits = Priority::ALL.map(waits);
        let old = |class: &Priority| self.passed_over[*class as usize] >= PATIENCE;
        let waiting = || Priority::ALL.into_iter().filter(|class| waits[*class as usize]);
        // If two classes are that old, the lower one has waited for the higher one too, so it goes
        // first.
        let next = waiting().rfind(old).or_else(|| waiting().next())?;
        for class in Priority::ALL {
            let passed_over = &mut self.passed_over[class as usize];
            *passed_over =
                if waits[class as usize] && class != next { *passed_over + 1 } else { 0 };
        }
        Some(next)
    }
}

//! Which class of colors is served next (rule C7).
//!
//! A higher class goes first. A lower one ages: each time it has something to run and another class
//! is served, it is *passed over*, and when that has happened often enough it is served once,
//! whatever else waits. So under full load of a higher class a lower one still gets its share of
//! turns, and none starves.

/// The class of a color.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Before the others: what somebody waits for.
    High,
    /// What names no class.
    #[default]
    Normal,
    /// After the others: what can wait.
    Low,
}

impl Priority {
    /// From the highest to the lowest.
    pub const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

    /// Says whether it is served before the other one.
    pub fn is_higher_than(self, other: Priority) -> bool {
        (self as u8) < other as u8
    }

    /// The higher one of the two.
    pub fn or_higher(self, other: Priority) -> Priority {
        if other.is_higher_than(self) { other } else { self }
    }
}

/// How often a class is passed over before it is served.
pub const PATIENCE: u32 = 16;

/// How often each class has been passed over.
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
    /// The class that is served next, if any of them has something to run.
    pub fn next(&mut self, waits: impl Fn(Priority) -> bool) -> Option<Priority> {
        let waits = Priority::ALL.map(waits);
        let old = |class: &Priority| self.passed_over[*class as usize] >= PATIENCE;
        let waiting = || Priority::ALL.into_iter().filter(|class| waits[*class as usize]);
        // Of two that have become old, the lower one has waited for the higher one, too.
        let next = waiting().rfind(old).or_else(|| waiting().next())?;
        for class in Priority::ALL {
            let passed_over = &mut self.passed_over[class as usize];
            *passed_over =
                if waits[class as usize] && class != next { *passed_over + 1 } else { 0 };
        }
        Some(next)
    }
}

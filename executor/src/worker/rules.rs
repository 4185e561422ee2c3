//! The settings of a scheduler: whether, and how soon, idle workers take work from others.

use std::time::Duration;

use dapple_colors::TurnBudget;

use crate::clock::saturating_nanos;

/// The rule for what an idle worker may take from another one (E6).
///
/// # Examples
///
/// ```
/// use dapple::{Runtime, StealPolicy};
/// let rt = Runtime::builder().workers(2).steal_policy(StealPolicy::Off).build()?;
/// for _ in 0..100 {
///     rt.handle().new_color().post(|_| println!("on the worker of this color"));
/// }
/// rt.wait_idle();
/// assert_eq!(rt.metrics().colors_stolen(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StealPolicy {
    /// Steals what is worth more than its move: long events, colors that feed themselves, and
    /// events that wait behind a stuck event. In doubt it steals on trial, and undoes a steal that
    /// does not pay.
    #[default]
    CostAware,
    /// Steals everything that it finds, and wakes a sleeping worker for every color that becomes
    /// runnable, as libasync-smp did. A baseline for comparisons.
    Eager,
    /// Never steals. A color stays on the worker on which it was placed, and new colors are placed
    /// round-robin. A baseline for comparisons.
    Off,
}

/// The settings of a scheduler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) policy: StealPolicy,
    /// The time after which another worker takes the work that waits behind one event.
    pub(crate) steal_delay: Duration,
    /// The time for which an idle worker looks for work before it sleeps.
    pub(crate) spin: Duration,
    /// The time after which an event that still runs counts as a stall.
    pub(crate) stall_after: Duration,
    /// The longest time for which ready work is served before other work, in nanoseconds.
    pub(crate) turn_nanos: u64,
    pub(crate) workers: usize,
    /// Whether the first worker is a thread of the user's (E18), which may be away.
    pub(crate) first_may_be_away: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            policy: StealPolicy::default(),
            steal_delay: Duration::from_millis(1),
            spin: Duration::ZERO,
            stall_after: Duration::from_millis(100),
            turn_nanos: TurnBudget::default().nanos,
            workers: 1,
            first_may_be_away: false,
        }
    }
}

impl Rules {
    /// Returns `true` if workers steal.
    pub(crate) fn steals(&self) -> bool {
        self.policy != StealPolicy::Off && self.workers > 1
    }

    pub(crate) fn is_eager(&self) -> bool {
        self.steals() && self.policy == StealPolicy::Eager
    }

    /// Returns `true` if a color stays on the worker on which it was placed.
    pub(crate) fn is_pinned(&self) -> bool {
        self.policy == StealPolicy::Off
    }

    pub(crate) fn steal_delay_nanos(&self) -> u64 {
        saturating_nanos(self.steal_delay)
    }
}

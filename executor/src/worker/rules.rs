//! What a scheduler was told: whether, and how soon, idle workers take work from others.

use std::time::Duration;

use dapple_colors::TurnBudget;

use crate::clock::saturating_nanos;

/// What an idle worker may take from another one (E6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StealPolicy {
    /// Steals what is worth more than its move: long events, colors that feed themselves, and what
    /// waits behind a stuck event.
    #[default]
    CostAware,
    /// Steals whatever it finds, and wakes a sleeping worker for every color that becomes runnable:
    /// what libasync-smp did. A baseline.
    Eager,
    /// Never steals. A color stays on the worker on which it was placed, and colors are dealt out
    /// in turn. A baseline.
    Off,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) policy: StealPolicy,
    /// After what time work behind one event is taken by another worker.
    pub(crate) steal_delay: Duration,
    /// How long an idle worker looks for work before it sleeps.
    pub(crate) spin: Duration,
    /// After what time an event that still runs is a stall.
    pub(crate) stall_after: Duration,
    /// How long ready work is served before other work, in nanoseconds, at most.
    pub(crate) turn_nanos: u64,
    pub(crate) workers: usize,
    /// The first worker is a thread of the user's (E18).
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
    /// Says whether any worker ever steals.
    pub(crate) fn steals(&self) -> bool {
        self.policy != StealPolicy::Off && self.workers > 1
    }

    pub(crate) fn is_eager(&self) -> bool {
        self.steals() && self.policy == StealPolicy::Eager
    }

    /// Says whether a color stays on the worker on which it was placed.
    pub(crate) fn is_pinned(&self) -> bool {
        self.policy == StealPolicy::Off
    }

    pub(crate) fn steal_delay_nanos(&self) -> u64 {
        saturating_nanos(self.steal_delay)
    }
}

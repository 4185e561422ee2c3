//! How long a worker stays with one domain before other work gets its turn: for the time of a turn,
//! as with a color. The first four steps or commits are not timed, which saves the clock reads.

use crate::runtime::core::Core;

/// The number of steps or commits that are done without reading the clock.
const UNTIMED: u32 = 4;

/// The work that a worker does for one domain without a break.
pub(super) struct Stretch {
    done: u32,
    begin: u64,
}

impl Stretch {
    pub(super) fn new() -> Self {
        Stretch { done: 0, begin: 0 }
    }

    /// Returns `true` if one more step or commit may be done.
    pub(super) fn allows_more(&mut self, core: &Core) -> bool {
        self.done += 1;
        if self.done <= UNTIMED {
            return true;
        }
        let now = core.clock().now();
        if self.begin == 0 {
            self.begin = now;
        }
        now.saturating_sub(self.begin) < core.settings.turn_budget.nanos
    }
}

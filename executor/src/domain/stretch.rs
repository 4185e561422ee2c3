//! How long a worker stays with one domain before other work gets its turn: for a turn's time, as
//! with a color. The first few things that it does have no clock read for them.

use crate::runtime::core::Core;

/// Things that are done without a look at the clock.
const UNTIMED: u32 = 4;

/// See the module.
pub(super) struct Stretch {
    done: u32,
    begin: u64,
}

impl Stretch {
    pub(super) fn new() -> Self {
        Stretch { done: 0, begin: 0 }
    }

    /// Says whether one more thing is to be done.
    pub(super) fn goes_on(&mut self, core: &Core) -> bool {
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

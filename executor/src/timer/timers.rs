//! The timers of one worker: a wheel of events that wait.

use super::wheel::{Due, Key, Wheel};
use crate::color::cell::CellRef;
use crate::event::Owned;

/// An event that waits, with a handle of its color. It is not dropped by itself: it goes to its
/// color.
pub(super) struct Waiting {
    pub(super) event: Owned,
    pub(super) color: CellRef,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Timers {
    wheel: Wheel<Waiting>,
    /// Until when the worker sleeps at most; it is woken for what is due before.
    asleep_until: Option<u64>,
}

impl Timers {
    /// For a worker that is about to sleep: the first deadline.
    pub(crate) fn plan_sleep(&mut self) -> Option<u64> {
        let next = self.wheel.next_deadline();
        self.asleep_until = Some(next.unwrap_or(u64::MAX));
        next
    }

    /// The worker does not sleep.
    pub(super) fn is_awake(&mut self) {
        self.asleep_until = None;
    }

    /// The first deadline.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.wheel.next_deadline()
    }

    /// Arms a timer. True: the worker, which sleeps, has to be woken for it.
    pub(super) fn arm(&mut self, deadline: u64, waiting: Waiting) -> (Key, bool) {
        let key = self.wheel.insert(deadline, waiting);
        (key, self.asleep_until.is_some_and(|until| deadline < until))
    }

    pub(super) fn disarm(&mut self, key: Key) -> Option<Waiting> {
        self.wheel.remove(key)
    }

    /// What is due by now, in order.
    pub(super) fn take_due(&mut self, now: u64) -> Vec<Due<Waiting>> {
        self.wheel.advance(now)
    }

    /// Takes all timers out.
    pub(super) fn take_all(&mut self) -> Vec<Due<Waiting>> {
        self.wheel.drain()
    }
}

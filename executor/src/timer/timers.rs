//! The timers of one worker: a wheel of events that wait.

use super::wheel::{Due, Key, Wheel};
use crate::color::cell::CellRef;
use crate::event::Owned;

/// An event that waits, with a handle of its color. It is not dropped here, but goes to its color.
pub(super) struct Waiting {
    pub(super) event: Owned,
    pub(super) color: CellRef,
}

/// The timers of one worker.
#[derive(Default)]
pub(crate) struct Timers {
    wheel: Wheel<Waiting>,
    /// The time until which the worker sleeps at most, if it sleeps; an earlier deadline wakes it.
    asleep_until: Option<u64>,
}

impl Timers {
    /// Notes that the worker is about to sleep, and returns the first deadline.
    pub(crate) fn plan_sleep(&mut self) -> Option<u64> {
        let next = self.wheel.next_deadline();
        self.asleep_until = Some(next.unwrap_or(u64::MAX));
        next
    }

    /// Notes that the worker does not sleep.
    pub(super) fn wakes_up(&mut self) {
        self.asleep_until = None;
    }

    /// Returns a time before which no timer is due, or `None` if no timer is armed.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.wheel.next_deadline()
    }

    /// Arms a timer. The flag is `true` if the worker sleeps too long and must be woken.
    pub(super) fn arm(&mut self, deadline: u64, waiting: Waiting) -> (Key, bool) {
        let key = self.wheel.insert(deadline, waiting);
        (key, self.asleep_until.is_some_and(|until| deadline < until))
    }

    pub(super) fn disarm(&mut self, key: Key) -> Option<Waiting> {
        self.wheel.remove(key)
    }

    /// Takes out the timers that are due at `now`, in order.
    pub(super) fn take_due(&mut self, now: u64) -> Vec<Due<Waiting>> {
        self.wheel.advance(now)
    }

    /// Takes out all timers, in order.
    pub(super) fn take_all(&mut self) -> Vec<Due<Waiting>> {
        self.wheel.drain()
    }
}

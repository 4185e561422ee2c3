//! A worker's run queue: a deque that thieves may look into, and a private part for what nobody else would
//! gain by (see `private`); and beside them a deque each for what is high and what is low (see `lanes`).
//!
//! What is known, or on average is likely, to take long is pushed to the deque, the rest to the private part. The
//! worker takes from both in turn, so neither part starves the other. With the eager policy everything is public,
//! and where nobody steals nothing is.

use dapple_colors::Priority::{self, Normal};

use super::entry::Entry;
use super::local::Local;
use crate::color::cell::UNKNOWN;

/// Entries that take at least so long, in nanoseconds, others may gain by.
pub(super) const PUBLIC_NANOS: u32 = 2_000;

/// Entries that become public between two looks around, at most.
const PUBLICISED: usize = 64;

impl Local {
    /// Puts an entry into the run queue where it belongs: the poster's, unless colors are pinned.
    pub(crate) fn make_runnable(&self, entry: Entry, home: usize, worth: u32) {
        let is_normal = entry.is_normal();
        self.make_runnable_in(entry, home, worth, is_normal)
    }

    /// The same; does the entry stand with what names no class? Inlined where that is known.
    #[inline(always)]
    pub(super) fn make_runnable_in(&self, entry: Entry, home: usize, worth: u32, is_normal: bool) {
        if self.keeps_home && home != self.index {
            return self.core.inject(home, entry, worth);
        }
        let worth = if worth == UNKNOWN { self.entry_nanos.get() } else { worth };
        self.queue_in(entry, worth, is_normal);
        if worth >= self.wakes_from && self.core.sleep.state.any_idle() {
            self.consider_waking();
        }
    }

    /// Puts an entry of so much worth into the own run queue.
    pub(crate) fn queue(&self, entry: Entry, worth: u32) {
        let is_normal = entry.is_normal();
        self.queue_in(entry, worth, is_normal);
    }

    #[inline(always)]
    fn queue_in(&self, entry: Entry, worth: u32, is_normal: bool) {
        if !is_normal {
            let class = entry.class();
            return self.lane(class).push(entry);
        }
        if worth >= self.public_from {
            return self.lane(Normal).push(entry);
        }
        let refused = match &self.private {
            Some(private) => private.push(entry).err(),
            // The undertaker keeps nothing to itself.
            None => Some(entry),
        };
        if let Some(entry) = refused {
            self.lane(Normal).push(entry);
        }
    }

    /// The next entry of the own run queue. Neither part of it starves the other.
    #[inline]
    pub(super) fn dequeue(&self) -> Option<Entry> {
        match self.core.has_classes() {
            true => self.dequeue_by_class(),
            false => self.dequeue_normal(),
        }
    }

    #[inline]
    pub(super) fn dequeue_normal(&self) -> Option<Entry> {
        let deque_first = !self.deque_first.get();
        self.deque_first.set(deque_first);
        match deque_first {
            true => self.lane(Normal).pop().or_else(|| self.pop_private()),
            false => self.pop_private().or_else(|| self.lane(Normal).pop()),
        }
    }

    /// The next entry that is kept out of the deque.
    #[inline]
    pub(super) fn pop_private(&self) -> Option<Entry> {
        self.private.as_ref()?.pop()
    }

    /// Puts some of what was kept out of the deque into it, if entries have turned out to be long.
    pub(super) fn publicise(&self) {
        if self.entry_nanos.get() >= self.public_from {
            let some = std::iter::from_fn(|| self.pop_private()).take(PUBLICISED);
            let some = some.map(|entry| self.lane(Normal).push(entry)).count();
            if some > 0 && self.core.sleep.state.any_idle() {
                self.consider_waking();
            }
        }
    }

    /// Is there something in the own run queue?
    pub(super) fn has_queued(&self) -> bool {
        self.shared().private.len() > 0 || Priority::ALL.iter().any(|c| !self.lane(*c).is_empty())
    }

    /// Somebody sleeps, and what has just become runnable is worth waking it, if it may take it then; what
    /// is not known to be is found by the sentinel.
    #[cold]
    fn consider_waking(&self) {
        // Alone in the queue of a worker that is about to look there, it runs here.
        let waits =
            self.lane(Normal).len() > 1 || self.current.is_held() || self.steps.get().is_busy();
        let is_eager = self.core.settings.rules.is_eager();
        if (waits || is_eager) && self.core.may_be_taken_from(self.index) {
            self.core.sleep.notify_any(&self.core, self.index + 1);
        }
    }
}

//! Work that is ready: it has all that it needs, and others wait until it has run.
//!
//! A set that has all its colors keeps every later event of these colors waiting. If it stood
//! behind everything else that is queued, whoever posts sets would post thousands more before the
//! first one runs; nothing that they touch would be in the cache, and memory would grow with what
//! waits. So ready work stands in queues of its own, which are served first: *a ready entry stands
//! in a ready queue, never elsewhere*.
//!
//! # Nothing starves
//!
//! *Other work.* Ready work goes first only as far as a credit reaches. When it is used up, one
//! other entry is served, and gives new credit: [`AT_ONCE`] entries, and as many as there are
//! sets that are posted from then on, so that whoever posts more at a time does not fill the
//! queue. Ready work may itself post sets, without end; so the credit ends also with the time that
//! a turn may take (C9), as seen at the worker's looks around.
//!
//! *Ready work.* It is served at least in turn with other entries.

use std::cell::Cell;

use dapple_colors::Priority;

use super::scheduler::Scheduler;
use super::work::Work;

/// Ready entries that are served between two other ones, beside those that are posted meanwhile.
pub(super) const AT_ONCE: u32 = 64;

/// See the module.
pub(super) struct Credit {
    left: Cell<u32>,
    /// The time of the look around since which only ready work was served; `None`: other work was.
    since: Cell<Option<u64>>,
}

impl Default for Credit {
    fn default() -> Self {
        Credit { left: Cell::new(AT_ONCE), since: Cell::new(None) }
    }
}

impl Credit {
    /// Other work is served.
    #[inline]
    fn begins(&self) {
        self.left.set(AT_ONCE);
        self.since.set(None);
    }
}

impl<W: Work> Scheduler<W> {
    /// Something was posted that will be ready.
    #[inline]
    pub(crate) fn posts_ready(&self) {
        self.credit.left.set(self.credit.left.get().saturating_add(1));
    }

    /// The next entry of a class: what is ready as far as the credit reaches, then the rest.
    #[inline]
    pub(super) fn next_of(&self, class: Priority) -> Option<W> {
        let left = self.credit.left.get();
        if left > 0
            && let Some(work) = self.ready.pop(class)
        {
            self.credit.left.set(left - 1);
            return Some(work);
        }
        self.credit.begins();
        self.plain.pop(class).or_else(|| self.ready.pop(class))
    }

    /// A look around: ends the credit if only ready work was served for the time of a turn.
    pub(super) fn limit_ready(&self, now: u64) {
        let turn_nanos = self.fleet.rules.turn_nanos;
        match self.credit.since.get() {
            None => self.credit.since.set(Some(now)),
            Some(since) if now.saturating_sub(since) >= turn_nanos => self.credit.left.set(0),
            Some(_) => {}
        }
    }
}

//! A worker's run queue: a deque that thieves may look into, and a private part for what nobody
//! else would gain by (see `private`); and beside them a deque each for what is high and what is
//! low (see `lanes`).
//!
//! What is known, or on average is likely, to take long is pushed to the deque, the rest to the
//! private part. The worker takes from both in turn, so neither part starves the other. With the
//! eager policy everything is public, and where nobody steals nothing is.

use dapple_colors::Priority::{self, Normal};

use super::figures::UNKNOWN;
use super::scheduler::Scheduler;
use super::work::{Host, Work};

/// Entries that take at least so long, in nanoseconds, others may gain by.
pub(super) const PUBLIC_NANOS: u32 = 2_000;

/// Entries that become public between two looks around, at most.
const PUBLICISED: usize = 64;

impl<W: Work> Scheduler<W> {
    /// Puts something into the run queue where it belongs: this worker's, unless work stays at
    /// home.
    pub(crate) fn schedule<H: Host<Work = W>>(&self, host: &H, work: W, worth: u32) {
        if work.is_normal() {
            return self.schedule_normal(host, work, worth);
        }
        let Some(work) = self.keep_or_send_home(host, work, worth) else { return };
        self.lane(work.class()).push(work);
        self.wake_for_schedule(host, if worth == UNKNOWN { self.entry_nanos.get() } else { worth });
    }

    /// [`schedule`](Self::schedule), of what names no class.
    #[inline(always)]
    pub(crate) fn schedule_normal<H: Host<Work = W>>(&self, host: &H, work: W, worth: u32) {
        let Some(work) = self.keep_or_send_home(host, work, worth) else { return };
        let worth = if worth == UNKNOWN { self.entry_nanos.get() } else { worth };
        self.queue_normal(work, worth);
        self.wake_for_schedule(host, worth);
    }

    /// If it stays at another worker, it goes there.
    #[inline(always)]
    fn keep_or_send_home<H: Host<Work = W>>(&self, host: &H, work: W, worth: u32) -> Option<W> {
        if self.keeps_home
            && let Some(home) = work.home()
            && home != self.index
        {
            host.hand_over(home, work, worth);
            return None;
        }
        Some(work)
    }

    #[inline(always)]
    fn wake_for_schedule<H: Host<Work = W>>(&self, host: &H, worth: u32) {
        if worth >= self.wakes_from && self.fleet.sleep.any_idle() {
            self.consider_waking(host.is_running());
        }
    }

    /// Puts something of so much worth into the own run queue.
    pub(crate) fn queue(&self, work: W, worth: u32) {
        match work.is_normal() {
            true => self.queue_normal(work, worth),
            false => self.lane(work.class()).push(work),
        }
    }

    #[inline(always)]
    fn queue_normal(&self, work: W, worth: u32) {
        if worth >= self.public_from {
            return self.lane(Normal).push(work);
        }
        let refused = match &self.private {
            Some(private) => private.push(work).err(),
            None => Some(work),
        };
        if let Some(work) = refused {
            self.lane(Normal).push(work);
        }
    }

    /// Puts something where this worker will find it, not to be taken back by whoever handed it
    /// over.
    pub(crate) fn queue_here(&self, work: W) {
        self.lane(work.class()).push(work);
    }

    #[inline]
    pub(super) fn dequeue(&self) -> Option<W> {
        match self.fleet.has_classes() {
            true => self.dequeue_by_class(),
            false => self.dequeue_normal(),
        }
    }

    /// The next entry of the own run queue. Neither part of it starves the other.
    #[inline]
    pub(super) fn dequeue_normal(&self) -> Option<W> {
        let deque_first = !self.deque_first.get();
        self.deque_first.set(deque_first);
        match deque_first {
            true => self.lane(Normal).pop().or_else(|| self.pop_private()),
            false => self.pop_private().or_else(|| self.lane(Normal).pop()),
        }
    }

    /// The next entry that is kept out of the deque.
    #[inline]
    pub(super) fn pop_private(&self) -> Option<W> {
        self.private.as_ref()?.pop()
    }

    /// Puts some of what was kept out of the deque into it, if entries have turned out to be long.
    pub(super) fn publicise(&self) {
        if self.entry_nanos.get() >= self.public_from {
            let some = std::iter::from_fn(|| self.pop_private()).take(PUBLICISED);
            let some = some.map(|work| self.lane(Normal).push(work)).count();
            if some > 0 && self.fleet.sleep.any_idle() {
                self.consider_waking(false);
            }
        }
    }

    /// Says whether there is something in the own run queue.
    pub(super) fn has_queued(&self) -> bool {
        self.shared().private.len() > 0 || Priority::ALL.iter().any(|c| !self.lane(*c).is_empty())
    }

    /// Somebody sleeps, and what has just become runnable is worth waking it, if it may take it
    /// then; what is not known to be is found by the sentinel.
    #[cold]
    fn consider_waking(&self, is_running: bool) {
        // Alone in the queue of a worker that is about to look there, it runs here.
        let waits = self.lane(Normal).len() > 1 || is_running;
        if (waits || self.fleet.rules.is_eager()) && self.fleet.may_be_taken_from(self.index) {
            self.fleet.notify_any(self.index + 1);
        }
    }
}

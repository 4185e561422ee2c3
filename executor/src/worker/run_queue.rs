//! A worker's run queue: which queue an entry goes to, and which entry is served next.
//!
//! A run queue has queues for ready work (see `ready`), for work that is bound to the worker (see
//! `affine`), and for all other work, each with lanes for the classes (see `lanes`).
//!
//! Work of the normal class that is known to take long, or is likely to on average, goes to the
//! deque. The rest goes to the private part (see `queues`). While a thief tries short work, or has
//! gained by it (see `trial`), all plain work goes to the deque. With the eager policy all work of
//! the normal class does, and without stealing none of it does. Work of the other classes always
//! goes to a deque.

use dapple_colors::Priority::Normal;

use super::figures::UNKNOWN;
use super::queues::OwnQueues;
use super::scheduler::Scheduler;
use super::work::{Host, Work};

/// The least run time of an entry by which other workers may gain, in nanoseconds.
pub(super) const PUBLIC_NANOS: u32 = 2_000;

/// The largest number of entries that move from a private part to the deque at one look around.
const PUBLICIZED: usize = 64;

impl<W: Work> Scheduler<W> {
    /// Puts an entry into the run queue where it belongs: that of this worker, unless work stays at
    /// home.
    pub(crate) fn schedule<H: Host<Work = W>>(&self, host: &H, work: W, worth: u32) {
        if work.is_plain() {
            return self.schedule_plain(host, work, worth);
        }
        if work.is_affine() {
            return self.schedule_affine(host, work, worth);
        }
        let Some(work) = self.keep_or_send_home(host, work, worth) else { return };
        let worth = if worth == UNKNOWN { self.entry_nanos.get() } else { worth };
        self.queue(work, worth);
        self.wake_for_schedule(host, worth);
    }

    /// Schedules an entry that is bound to a worker. Nobody is woken to take it.
    #[cold]
    fn schedule_affine<H: Host<Work = W>>(&self, host: &H, work: W, worth: u32) {
        match work.home() {
            Some(home) if home != self.index && !self.is_detached() => {
                host.hand_over(home, work, worth);
            }
            _ => self.queue_affine(work),
        }
    }

    /// Schedules a plain entry: of the normal class, not ready and not bound to a worker.
    #[inline(always)]
    pub(crate) fn schedule_plain<H: Host<Work = W>>(&self, host: &H, work: W, worth: u32) {
        let Some(work) = self.keep_or_send_home(host, work, worth) else { return };
        let worth = if worth == UNKNOWN { self.entry_nanos.get() } else { worth };
        self.queue_plain(work, worth);
        self.wake_for_schedule(host, worth);
    }

    /// Schedules an entry that is ready and has no home.
    #[inline]
    pub(crate) fn schedule_ready<H: Host<Work = W>>(&self, host: &H, work: W) {
        debug_assert!(work.is_ready() && work.home().is_none());
        let worth = self.entry_nanos.get();
        self.queue_ready(work, worth);
        self.wake_for_schedule(host, worth);
    }

    /// Hands an entry over to its home if work stays at home and that is another worker. Otherwise
    /// returns the entry.
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

    /// Puts an entry, which takes `worth` nanoseconds, into the own run queue.
    pub(crate) fn queue(&self, work: W, worth: u32) {
        match work.is_plain() {
            true => self.queue_plain(work, worth),
            false if work.is_affine() => self.queue_affine(work),
            false if work.is_ready() => self.queue_ready(work, worth),
            false => self.plain.lane(work.class()).push(work),
        }
    }

    #[inline(always)]
    fn queue_ready(&self, work: W, worth: u32) {
        let ready = self.ready_queues();
        match work.class() {
            Normal if !self.is_ready_open(worth) => ready.push_private(work),
            class => ready.lane(class).push(work),
        }
    }

    #[inline(always)]
    fn queue_plain(&self, work: W, worth: u32) {
        debug_assert!(!work.is_ready(), "what is ready stands in a ready queue");
        match worth >= self.plain_from.get() {
            true => self.plain.lane(Normal).push(work),
            false => self.plain.push_private(work),
        }
    }

    /// Puts an entry into the own queues whatever its home is, so that it does not go back to the
    /// worker that handed it over: a bound entry into its lane, any other into the deque.
    pub(crate) fn queue_here(&self, work: W) {
        if work.is_affine() {
            return self.queue_affine(work);
        }
        self.queues_of(&work).lane(work.class()).push(work);
    }

    #[inline]
    pub(super) fn dequeue(&self) -> Option<W> {
        match self.fleet.has_classes() {
            true => self.dequeue_by_class(),
            false => self.next_of(Normal),
        }
    }

    /// Moves some entries from the private parts to the deques, if entries have turned out to be
    /// long or thieves try short ones.
    pub(super) fn publicize(&self, now: u64) {
        let is_open = self.fleet.is_open(now) && self.steals();
        self.plain_from.set(if is_open { 0 } else { self.public_from });
        let is_long = self.entry_nanos.get() >= self.public_from;
        if !is_open && !is_long {
            return;
        }
        let ready = if is_long { self.publicize_from(&self.ready) } else { 0 };
        let some = ready + self.publicize_from(&self.plain);
        if some > 0 && self.fleet.sleep.any_idle() {
            self.consider_waking(false);
        }
    }

    /// Moves some entries from the private part to the deque, and returns their number.
    pub(super) fn publicize_from(&self, queues: &OwnQueues<W>) -> usize {
        let some = std::iter::from_fn(|| queues.pop_private()).take(PUBLICIZED);
        some.map(|work| queues.lane(Normal).push(work)).count()
    }

    /// Returns `true` if something is queued here, apart from the inboxes.
    pub(super) fn has_queued(&self) -> bool {
        !self.plain.is_empty() || !self.ready.is_empty() || !self.affine.is_empty()
    }

    /// Wakes a sleeping worker if it may take what has just become runnable, which is worth it. If
    /// the figures do not say that it may, the sentinel finds the work.
    #[cold]
    fn consider_waking(&self, is_running: bool) {
        // An entry that is alone in the queue of a worker that is about to look there runs here.
        let queued = self.plain.lane(Normal).len() + self.ready.lane(Normal).len();
        let waits = queued > 1 || is_running;
        if (waits || self.fleet.rules.is_eager()) && self.fleet.may_be_taken_from(self.index) {
            self.fleet.notify_any(self.index + 1);
        }
    }
}

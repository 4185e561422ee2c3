//! Ready work: it has all that it needs, and other events wait until it has run.
//!
//! A set that has all its colors blocks every later event of these colors. Suppose that it stood
//! behind everything else that is queued. A poster of sets would post thousands more before the
//! first one runs. Nothing that they touch would be in the cache, and memory would grow with the
//! backlog. So ready work stands in queues of its own, which are served first: *a ready entry
//! stands in a ready queue, never elsewhere*. A color whose front event is still being linked, as
//! its poster is between its two steps, is ready as well: the event that the poster links may be
//! one that a set waits for.
//!
//! # Nothing starves
//!
//! *Other work.* Ready work goes first only as far as a credit reaches. When the credit is used up,
//! one other entry is served, and a new credit starts. It is [`AT_ONCE`] entries, plus one for each
//! set that is posted from then on, so that a poster of several sets at a time does not fill the
//! queue. Ready work may itself post sets, without end. So the credit also ends after the time that
//! a turn may take (C9), as measured at the worker's looks around.
//!
//! *Ready work.* At the least, ready entries alternate with other entries.
//!
//! # Several workers
//!
//! As long as only one worker runs ready work, it keeps that work to itself, unless it is long (see
//! `run_queue`). Several workers run ready work if one of them has taken some of it on trial (see
//! `trial`). Then the ready work of one worker has colors that the sets of the others wait for. So
//! it stands in the deques then, and a worker that has run all of its own ready work takes ready
//! work from others before it serves other entries. Those would post more sets, which would wait,
//! too.
//!
//! A worker that is held up while it has a set blocks, in the end, all sets, and the others go on
//! posting meanwhile (30,000 sets in 4 ms were seen). When it gets on, all workers find what
//! becomes ready, wherever that is, and run it before they post more.

use std::cell::Cell;

use dapple_colors::Priority;

use super::queues::OwnQueues;
use super::scheduler::Scheduler;
use super::steal::retry;
use super::work::Work;

/// The number of ready entries that are served between two other ones, apart from those that are
/// posted meanwhile.
pub(super) const AT_ONCE: u32 = 64;

/// The number of ready entries that may still go first; see the module.
pub(super) struct Credit {
    left: Cell<u32>,
    /// The time of the first look around since which only ready work was served. `None` if other
    /// work was served since the last look.
    since: Cell<Option<u64>>,
}

impl Default for Credit {
    fn default() -> Self {
        Credit { left: Cell::new(AT_ONCE), since: Cell::new(None) }
    }
}

impl Credit {
    /// Starts a new credit, as other work is served.
    #[inline]
    fn begins(&self) {
        self.left.set(AT_ONCE);
        self.since.set(None);
    }
}

/// A worker's knowledge of which workers take part: they run ready work, or post it.
#[derive(Default)]
pub(super) struct Sharing {
    /// Whether this worker has run ready work, or posted work that becomes ready, since its last
    /// look around.
    takes_part: Cell<bool>,
    /// Whether this worker is counted among those that take part.
    is_counted: Cell<bool>,
    /// Whether other workers take part, too. Then ready work stands in the deques.
    is_open: Cell<bool>,
}

/// The number of ready entries that are taken from another worker at once.
const TAKEN: usize = 16;

/// The number of other workers at which a worker looks for ready work: the nearest ones.
const ASKED: usize = 4;

impl<W: Work> Scheduler<W> {
    /// Returns `true` if ready work that takes `worth` nanoseconds stands where other workers may
    /// take it.
    #[inline]
    pub(super) fn is_ready_open(&self, worth: u32) -> bool {
        worth >= self.public_from || self.sharing.is_open.get()
    }

    /// Returns the queues of ready work, for putting something into them.
    #[inline]
    pub(super) fn ready_queues(&self) -> &OwnQueues<W> {
        self.has_special.set(true);
        &self.ready
    }

    /// Updates, at a look around, whether this worker takes part, and opens its ready queue if
    /// others do, too.
    pub(super) fn share_ready(&self) {
        let takes_part = self.sharing.takes_part.replace(false);
        match (self.sharing.is_counted.replace(takes_part), takes_part) {
            (false, false) => return,
            (false, true) => self.fleet.begins_to_take_part(),
            (true, false) => self.fleet.ceases_to_take_part(),
            (true, true) => {}
        }
        let is_open = takes_part && self.shares_ready && self.fleet.several_take_part();
        self.sharing.is_open.set(is_open);
        if is_open {
            self.publicize_from(self.ready_queues());
        }
    }

    /// Notes that the worker has nothing to run, so it no longer takes part.
    pub(super) fn stops_sharing(&self) {
        self.sharing.takes_part.set(false);
        self.share_ready();
    }

    /// Takes ready work from the deques of other workers.
    #[cold]
    fn take_ready_elsewhere(&self, class: Priority) -> Option<W> {
        let mine = self.ready.lane(class);
        self.shared().neighbours.iter().take(ASKED).find_map(|&index| {
            let theirs = &self.fleet.workers[index].ready.lane(class).stealer;
            if theirs.is_empty() {
                return None;
            }
            let work = retry(|| theirs.steal_batch_with_limit_and_pop(mine, TAKEN))?;
            self.count_steal(1 + mine.len());
            Some(work)
        })
    }

    /// Notes that a set was posted, which becomes ready later.
    #[inline]
    pub(crate) fn posts_ready(&self) {
        self.credit.left.set(self.credit.left.get().saturating_add(1));
        self.sharing.takes_part.set(true);
    }

    /// Ends the credit, so that other work is served next, as the ready work cannot go on.
    pub(crate) fn ends_credit(&self) {
        self.credit.left.set(0);
    }

    /// Takes the next entry of a class: ready work as far as the credit reaches, then other work,
    /// with bound work in between.
    #[inline(always)]
    pub(super) fn next_of(&self, class: Priority) -> Option<W> {
        // Most programs have neither sets nor affine colors. They pay only for this check.
        match self.has_special.get() {
            false => self.plain.pop(class),
            true => self.next_of_special(class),
        }
    }

    /// Takes the next entry of a class. Work that is bound to this worker alternates with all other
    /// work.
    #[inline(never)]
    fn next_of_special(&self, class: Priority) -> Option<W> {
        if self.affine.is_empty() {
            return self.next_with_ready(class);
        }
        match self.affine.alternate() {
            true => self.pop_affine(class).or_else(|| self.next_with_ready(class)),
            false => self.next_with_ready(class).or_else(|| self.pop_affine(class)),
        }
    }

    #[inline]
    fn next_with_ready(&self, class: Priority) -> Option<W> {
        let left = self.credit.left.get();
        if left > 0
            && let Some(work) = self.pop_ready(class)
        {
            self.credit.left.set(left - 1);
            return Some(work);
        }
        self.credit.begins();
        self.plain.pop(class).or_else(|| self.pop_ready(class))
    }

    /// Takes the next ready entry of a class, from another worker if no ready entry is left here.
    #[inline]
    fn pop_ready(&self, class: Priority) -> Option<W> {
        let sharing = &self.sharing;
        if let Some(work) = self.ready.pop(class) {
            // A color whose front is still being linked may have nothing to do with sets.
            if work.home().is_none() {
                sharing.takes_part.set(true);
            }
            return Some(work);
        }
        if !sharing.is_open.get() {
            if self.ready.is_empty() && self.affine.is_empty() {
                self.has_special.set(false);
            }
            return None;
        }
        let work = self.take_ready_elsewhere(class)?;
        sharing.takes_part.set(true);
        Some(work)
    }

    /// Ends the credit, at a look around, if only ready work was served for the time of a turn.
    pub(super) fn limit_ready(&self, now: u64) {
        if !self.has_special.get() {
            return;
        }
        let turn_nanos = self.fleet.rules.turn_nanos;
        match self.credit.since.get() {
            None => self.credit.since.set(Some(now)),
            Some(since) if now.saturating_sub(since) >= turn_nanos => self.credit.left.set(0),
            Some(_) => {}
        }
    }
}

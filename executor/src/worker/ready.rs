//! Work that is ready: it has all that it needs, and others wait until it has run.
//!
//! A set that has all its colors keeps every later event of these colors waiting. If it stood
//! behind everything else that is queued, a poster of sets would post thousands more before the
//! first one runs; nothing that they touch would be in the cache, and memory would grow with what
//! waits. So ready work stands in queues of its own, which are served first: *a ready entry stands
//! in a ready queue, never elsewhere*. A color at whose front a poster is between its two steps is
//! ready as well: what the poster links may be what a set waits for.
//!
//! # Nothing starves
//!
//! *Other work.* Ready work goes first only as far as a credit reaches. When it is used up, one
//! other entry is served, and gives new credit: [`AT_ONCE`] entries, and as many as there are sets
//! that are posted from then on, so that a poster of more at a time does not fill the queue. Ready
//! work may itself post sets, without end; so the credit ends also with the time that a turn may
//! take (C9), as seen at the worker's looks around.
//!
//! *Ready work.* It is served at least in turn with other entries.
//!
//! # Several workers
//!
//! As long as one worker runs ready work, it keeps that to itself, unless it is long (see
//! `run_queue`). When several do, because one has taken some of it on trial (see `trial`), what is
//! ready at one of them keeps the colors that the sets of the others wait for. So it stands open
//! then, and a worker that has run all that is ready here takes what is ready elsewhere before it
//! serves other entries: those would post more sets, which would wait, too. A worker that is held
//! up while it has a set keeps, in the end, all sets waiting, and the others post meanwhile (30,000
//! sets in 4 ms were seen). When it gets on, all of them find what becomes ready, wherever that is,
//! and run it before they post more.

use std::cell::Cell;

use dapple_colors::Priority;

use super::queues::OwnQueues;
use super::scheduler::Scheduler;
use super::steal::retry;
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

/// What a worker knows of those that run ready work, or post it.
#[derive(Default)]
pub(super) struct Sharing {
    /// This one has, or has posted what will be ready, since its last look around.
    takes_part: Cell<bool>,
    /// The worker is counted among those that take part.
    is_counted: Cell<bool>,
    /// Whether others do, too: then what is ready stands open.
    is_open: Cell<bool>,
}

/// Ready entries that are taken from another worker at once.
const TAKEN: usize = 16;

/// Workers of which that is asked, the nearest ones.
const ASKED: usize = 4;

impl<W: Work> Scheduler<W> {
    /// Says whether what is ready, and takes so many nanoseconds, stands where others may take it.
    #[inline]
    pub(super) fn is_ready_open(&self, worth: u32) -> bool {
        worth >= self.public_from || self.sharing.is_open.get()
    }

    /// The queues of what is ready, to put something into them.
    #[inline]
    pub(super) fn ready_queues(&self) -> &OwnQueues<W> {
        self.has_special.set(true);
        &self.ready
    }

    /// A look around: counts who runs ready work, and opens the queue of it if others do.
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
            self.publicise_from(self.ready_queues());
        }
    }

    /// The worker has nothing to run.
    pub(super) fn stops_sharing(&self) {
        self.sharing.takes_part.set(false);
        self.share_ready();
    }

    /// Takes what is ready at other workers, and stands open there.
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

    /// Something was posted that will be ready.
    #[inline]
    pub(crate) fn posts_ready(&self) {
        self.credit.left.set(self.credit.left.get().saturating_add(1));
        self.sharing.takes_part.set(true);
    }

    /// Other work is served next, as what is ready cannot go on.
    pub(crate) fn ends_credit(&self) {
        self.credit.left.set(0);
    }

    /// The next entry of a class: what is ready as far as the credit reaches, then the rest; and
    /// what is bound to this worker in between.
    #[inline(always)]
    pub(super) fn next_of(&self, class: Priority) -> Option<W> {
        // Most programs have neither sets nor affine colors, and pay for this look only.
        match self.has_special.get() {
            false => self.plain.pop(class),
            true => self.next_of_special(class),
        }
    }

    /// What is bound to this worker and the rest take turns.
    #[inline(never)]
    fn next_of_special(&self, class: Priority) -> Option<W> {
        if self.affine.is_empty() {
            return self.next_with_ready(class);
        }
        match self.affine.takes_turns() {
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

    /// The next entry that is ready, of a class; from another worker, if all that is ready here has
    /// run.
    #[inline]
    fn pop_ready(&self, class: Priority) -> Option<W> {
        let sharing = &self.sharing;
        if let Some(work) = self.ready.pop(class) {
            // A color with a gap may have to do with no set at all.
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

    /// A look around: ends the credit if only ready work was served for the time of a turn.
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

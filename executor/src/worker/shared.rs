//! The part of a worker that other threads may touch.

use crossbeam_utils::CachePadded;
use dapple_colors::Priority;

use super::affine::AffineInbox;
use super::counters::Counters;
use super::poller::Unpark;
use super::queues::Queues;
use super::work::Work;
use crate::sync::{Arc, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// The part of one worker that other threads may touch.
pub(crate) struct Shared<W> {
    /// The queues of ready work; see `ready`.
    pub(super) ready: Queues<W>,
    /// The queues of all other work that thieves may take.
    pub(super) plain: Queues<W>,
    /// The inboxes of work that no other worker may run; see `affine`.
    pub(super) affine: AffineInbox<W>,
    /// The number plus one of the worker that stands in for this one, which is known to be stuck; 0
    /// means nobody. Entries that would be handed to this worker go to the stand-in. See `watch`.
    stand_in: AtomicUsize,
    /// The worker that last served the work behind this stuck worker. Other workers leave that to
    /// it, unless it does not come again.
    pub(super) rescuer: AtomicUsize,
    /// The time at which that worker last took on this rescue, in nanoseconds of the runtime's
    /// clock.
    pub(super) rescued_at: AtomicU64,
    /// The progress of this worker when its work was last taken.
    pub(super) rescued_progress: AtomicU64,
    /// The number plus one of a worker that asks for some private work, on trial; 0 means nobody.
    pub(super) asked: AtomicUsize,
    /// The answer to this worker's own question: the number plus one of the worker that has put
    /// private work into its inbox; 0 means no answer.
    pub(super) handed_by: AtomicUsize,
    pub(crate) unpark: Arc<dyn Unpark>,
    /// The other workers, nearest first.
    pub(super) neighbours: Box<[usize]>,
    pub(crate) published: CachePadded<Published>,
    pub(crate) counters: CachePadded<Counters>,
}

impl<W> Shared<W> {
    pub(super) fn new(
        ready: Queues<W>,
        plain: Queues<W>,
        unpark: Arc<dyn Unpark>,
        neighbours: Box<[usize]>,
    ) -> Self {
        Shared {
            ready,
            plain,
            affine: AffineInbox::new(),
            stand_in: AtomicUsize::new(0),
            rescuer: AtomicUsize::new(0),
            rescued_at: AtomicU64::new(0),
            rescued_progress: AtomicU64::new(u64::MAX),
            asked: AtomicUsize::new(0),
            handed_by: AtomicUsize::new(0),
            unpark,
            neighbours,
            published: CachePadded::default(),
            counters: CachePadded::default(),
        }
    }

    /// Returns the worker that stands in for this one.
    #[inline]
    pub(crate) fn stand_in(&self) -> Option<usize> {
        self.stand_in.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Makes another worker the stand-in for this one.
    pub(super) fn replace_by(&self, worker: usize) {
        self.stand_in.store(worker + 1, Ordering::Relaxed);
    }

    /// Ends the stand-in, as this worker is no longer stuck. Called by the worker itself, or by its
    /// stand-in.
    pub(super) fn end_stand_in(&self) {
        if self.stand_in.load(Ordering::Relaxed) != 0 {
            self.stand_in.store(0, Ordering::Relaxed);
        }
    }

    /// Returns `true` if nothing is queued here.
    pub(crate) fn has_nothing(&self) -> bool {
        self.has_nothing_to_give() && self.affine.has_nothing()
    }

    /// Returns both kinds of queues that other threads may look into, the ready ones first.
    pub(super) fn both(&self) -> [&Queues<W>; 2] {
        [&self.ready, &self.plain]
    }

    /// Returns the number of entries that the worker keeps out of its deques.
    pub(super) fn kept(&self) -> usize {
        self.both().into_iter().map(|queues| queues.private.len()).sum()
    }

    /// Returns the number of entries in the inboxes, apart from those that are bound to this
    /// worker.
    pub(super) fn handed_over(&self) -> usize {
        self.both().into_iter().map(Queues::handed_over).sum()
    }

    /// Returns the number of queued entries that other threads may take.
    pub(super) fn queued(&self) -> usize {
        self.both().into_iter().map(Queues::len).sum()
    }

    /// Returns `true` if an entry of a class is queued where any worker may take it.
    pub(super) fn has_open(&self, class: Priority) -> bool {
        self.both().into_iter().any(|queues| !queues.lane(class).is_empty())
    }

    /// Returns `true` if nothing is queued where any worker may take it.
    pub(super) fn has_nothing_open(&self) -> bool {
        self.both().into_iter().all(Queues::has_nothing_open)
    }
}

impl<W: Work> Shared<W> {
    /// Puts an entry into the worker's inbox; see [`Fleet::hand`](super::fleet::Fleet::hand).
    pub(super) fn hand(&self, work: W) {
        if work.is_affine() {
            let class = work.class();
            return self.affine.push(work, class);
        }
        let queues = if work.is_ready() { &self.ready } else { &self.plain };
        queues.lane(work.class()).inbox.push(work);
    }
}

/// The figures from which a thief decides. The worker writes them, relaxed, at each look around,
/// before a sleep, and when it becomes idle. They are hints.
#[derive(Default)]
pub(crate) struct Published {
    /// The average time per run-queue entry, in nanoseconds.
    pub(crate) entry_nanos: AtomicU32,
    /// The average number of events that an entry exchanges with other colors, in thousandths.
    pub(super) entry_traffic: AtomicU32,
    /// A count that grows while the worker gets on: at each look around, before a sleep, and as it
    /// discards entries.
    pub(crate) progress: AtomicU64,
    /// The time since which the worker has found nothing to run, in nanoseconds of the runtime's
    /// clock; 0 means that it runs something.
    pub(super) idle_since: AtomicU64,
}

//! The part of a worker that other threads may touch.

use crossbeam_utils::CachePadded;
use dapple_colors::Priority;

use super::affine::AffineInbox;
use super::counters::Counters;
use super::poller::Unpark;
use super::queues::Queues;
use super::work::Work;
use crate::sync::{Arc, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// See the module.
pub(crate) struct Shared<W> {
    /// What is ready; see `ready`.
    pub(super) ready: Queues<W>,
    /// What is not.
    pub(super) plain: Queues<W>,
    /// What nobody else may run; see `affine`.
    pub(super) affine: AffineInbox<W>,
    /// Number plus one of who stands in for this worker, which is known to be stuck: what would be
    /// handed to it goes there; 0: nobody. See `watch`.
    stand_in: AtomicUsize,
    /// Who last served what waits behind this worker because it was stuck, and when: others leave
    /// that to it, unless it does not come again.
    pub(super) rescuer: AtomicUsize,
    pub(super) rescued_at: AtomicU64,
    /// How far this worker had come then.
    pub(super) rescued_progress: AtomicU64,
    /// Number plus one of a worker that would like some of it, on trial; 0: none.
    pub(super) asked: AtomicUsize,
    /// The answer to this worker's own question: number plus one of who has put work into its
    /// inbox.
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

    /// Somebody stands in for this worker from now on.
    pub(super) fn replace_by(&self, worker: usize) {
        self.stand_in.store(worker + 1, Ordering::Relaxed);
    }

    /// It is no longer stuck: for the worker itself, or for who stood in for it.
    pub(super) fn end_stand_in(&self) {
        if self.stand_in.load(Ordering::Relaxed) != 0 {
            self.stand_in.store(0, Ordering::Relaxed);
        }
    }

    /// Says whether nothing runnable is queued here.
    pub(crate) fn has_nothing(&self) -> bool {
        self.has_nothing_to_give() && self.affine.has_nothing()
    }

    /// Both kinds of queues that others may look into; what is ready comes first.
    pub(super) fn both(&self) -> [&Queues<W>; 2] {
        [&self.ready, &self.plain]
    }

    /// How many entries it keeps out of its deques.
    pub(super) fn kept(&self) -> usize {
        self.both().into_iter().map(|queues| queues.private.len()).sum()
    }

    /// How many entries others have handed over, apart from what is bound to this worker.
    pub(super) fn handed_over(&self) -> usize {
        self.both().into_iter().map(Queues::handed_over).sum()
    }

    /// How many entries are queued that others may take.
    pub(super) fn queued(&self) -> usize {
        self.both().into_iter().map(Queues::len).sum()
    }

    /// Says whether something of a class is queued where everybody may take it.
    pub(super) fn has_open(&self, class: Priority) -> bool {
        self.both().into_iter().any(|queues| !queues.lane(class).is_empty())
    }

    /// Says whether nothing is queued where everybody may take it.
    pub(super) fn has_nothing_open(&self) -> bool {
        self.both().into_iter().all(Queues::has_nothing_open)
    }
}

impl<W: Work> Shared<W> {
    /// Puts something into its inbox; see [`Fleet::hand`](super::fleet::Fleet::hand).
    pub(super) fn hand(&self, work: W) {
        if work.is_affine() {
            let class = work.class();
            return self.affine.push(work, class);
        }
        let queues = if work.is_ready() { &self.ready } else { &self.plain };
        queues.lane(work.class()).inbox.push(work);
    }
}

/// What a thief decides from. Written by the worker now and then, relaxed: they are hints.
#[derive(Default)]
pub(crate) struct Published {
    /// Average time per run-queue entry, in nanoseconds.
    pub(crate) entry_nanos: AtomicU32,
    /// How many events an entry exchanges with other colors, on average, in thousandths.
    pub(super) entry_traffic: AtomicU32,
    /// Grows while the worker gets on.
    pub(crate) progress: AtomicU64,
    /// Since when the worker has found nothing to run, in nanoseconds of the runtime's clock; 0: it
    /// runs something.
    pub(super) idle_since: AtomicU64,
}

//! The part of a worker that other threads may touch.

use std::panic::Location;
use std::sync::Arc;

use crossbeam_deque::{Injector, Stealer};
use crossbeam_utils::CachePadded;
use dapple_colors::Priority;

use super::entry::Entry;
use super::private::Private;
use super::sleep::SleepState;
use crate::metrics::Histograms;
use crate::park::{Park, Unpark};
use crate::runtime::core::Core;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::timer::Timers;

/// What others see of a worker's run queue of one class.
pub(crate) struct Lane {
    pub(crate) stealer: Stealer<Entry>,
    /// What others hand to this worker.
    pub(crate) inbox: Injector<Entry>,
}

impl Lane {
    pub(crate) fn is_empty(&self) -> bool {
        self.inbox.is_empty() && self.stealer.is_empty()
    }
}

/// See the module.
pub(crate) struct WorkerShared {
    lanes: [Lane; 3],
    /// What nobody else would gain by.
    pub(crate) private: CachePadded<Private<Entry>>,
    /// Number plus one of who stands in for this worker, which is known to be stuck: what would be
    /// handed to it goes there; 0: nobody. See `watch`.
    stand_in: AtomicUsize,
    /// Who last served what waits behind this worker because it was stuck, and when: others leave that to
    /// it, unless it does not come again.
    pub(crate) rescuer: AtomicUsize,
    pub(crate) rescued_at: AtomicU64,
    /// How far this worker had come then.
    pub(crate) rescued_progress: AtomicU64,
    /// Number plus one of a worker that would like some of it, on trial; 0: none.
    pub(crate) asked: AtomicUsize,
    /// The answer to this worker's own question: number plus one of who has put work into its inbox.
    pub(crate) handed_by: AtomicUsize,
    pub(crate) unpark: Arc<dyn Unpark>,
    /// The other workers, nearest first.
    pub(crate) neighbours: Box<[usize]>,
    /// The poller. Locked while it is polled, which ends with the posting of the batch.
    pub(crate) park: CachePadded<Mutex<Box<dyn Park>>>,
    /// Apart from what posters read, as the worker writes to it at every look; so is the poller.
    pub(crate) timers: CachePadded<Mutex<Timers>>,
    pub(crate) published: CachePadded<Published>,
    pub(crate) counters: CachePadded<Counters>,
    pub(crate) histograms: CachePadded<Mutex<Histograms>>,
}

impl WorkerShared {
    pub(crate) fn new(
        stealers: [Stealer<Entry>; 3],
        park: Box<dyn Park>,
        neighbours: Box<[usize]>,
    ) -> Self {
        WorkerShared {
            lanes: stealers.map(|stealer| Lane { stealer, inbox: Injector::new() }),
            private: Private::new().into(),
            stand_in: AtomicUsize::new(0),
            rescuer: AtomicUsize::new(0),
            rescued_at: AtomicU64::new(0),
            rescued_progress: AtomicU64::new(u64::MAX),
            asked: AtomicUsize::new(0),
            handed_by: AtomicUsize::new(0),
            unpark: park.unparker(),
            neighbours,
            park: Mutex::new(park).into(),
            timers: Mutex::new(Timers::default()).into(),
            published: CachePadded::default(),
            counters: CachePadded::default(),
            histograms: Mutex::new(Histograms::default()).into(),
        }
    }

    #[inline]
    pub(crate) fn lane(&self, class: Priority) -> &Lane {
        &self.lanes[class as usize]
    }

    /// Who stands in for this worker.
    #[inline]
    pub(crate) fn stand_in(&self) -> Option<usize> {
        self.stand_in.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Somebody stands in for this worker from now on.
    pub(super) fn replace_by(&self, worker: usize) {
        self.stand_in.store(worker + 1, Ordering::Relaxed);
    }

    /// It is not stuck any more: for the worker itself, or for who stood in for it.
    pub(super) fn end_stand_in(&self) {
        if self.stand_in.load(Ordering::Relaxed) != 0 {
            self.stand_in.store(0, Ordering::Relaxed);
        }
    }

    /// Hands it something; see [`Core::inject`](crate::runtime::core::Core::inject).
    pub(crate) fn hand(&self, entry: Entry) {
        let class = entry.class();
        self.lane(class).inbox.push(entry);
    }

    /// Is nothing runnable queued here?
    pub(crate) fn has_nothing(&self) -> bool {
        self.has_nothing_open() && self.private.len() == 0
    }

    /// How many entries are queued where everybody may take them.
    pub(crate) fn queued(&self) -> usize {
        self.lanes.iter().map(|lane| lane.inbox.len() + lane.stealer.len()).sum()
    }

    /// Is nothing queued where everybody may take it?
    pub(crate) fn has_nothing_open(&self) -> bool {
        self.lanes.iter().all(Lane::is_empty)
    }
}

/// What a thief decides from. Written by the worker now and then, relaxed: they are hints.
#[derive(Default)]
pub(crate) struct Published {
    /// Average time per run-queue entry, in nanoseconds.
    pub(crate) entry_nanos: AtomicU32,
    /// How many events an entry exchanges with other colors, on average, in thousandths.
    pub(crate) entry_traffic: AtomicU32,
    /// Grows while the worker gets on.
    pub(crate) progress: AtomicU64,
    /// Where the event that runs now was posted, and the label of its color.
    pub(crate) site: AtomicPtr<Location<'static>>,
    pub(crate) label: AtomicU32,
    /// The progress, plus one, at which a stall was last reported; written by whoever reports.
    pub(crate) stall_reported: AtomicU64,
}

/// Counters with one writer, the worker: a load and a store, no read-modify-write.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) events: AtomicU64,
    pub(crate) turns: AtomicU64,
    pub(crate) steals: AtomicU64,
    pub(crate) colors_stolen: AtomicU64,
    pub(crate) wakeups: AtomicU64,
    pub(crate) parks: AtomicU64,
    pub(crate) sentinel_looks: AtomicU64,
    pub(crate) sentinel_nanos: AtomicU64,
    pub(crate) steals_undone: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) dropped: AtomicU64,
    /// Of `events`, those that have run for nothing: they are dropped ones.
    pub(crate) in_vain: AtomicU64,
    pub(crate) polls: AtomicU64,
    pub(crate) polls_for_others: AtomicU64,
    pub(crate) stalls: AtomicU64,
    pub(crate) over_limit: AtomicU64,
    pub(crate) ticket_stalls: AtomicU64,
}

/// Adds to a counter whose only writer is the caller.
#[inline]
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// The sleep protocol, with the unparking and the counting of it.
pub(crate) struct Sleep {
    pub(crate) state: SleepState,
    /// Wake-ups sent by threads that are no workers.
    pub(crate) wakeups_outside: AtomicU64,
}

impl Sleep {
    pub(crate) fn new(workers: usize) -> Self {
        Sleep { state: SleepState::new(workers), wakeups_outside: AtomicU64::new(0) }
    }

    /// Wakes `worker` if it sleeps, and says whether it did.
    pub(crate) fn notify(&self, core: &Core, worker: usize) -> bool {
        let slept = self.state.claim(worker);
        if slept {
            self.unpark(core, worker);
        }
        slept
    }

    /// Wakes some sleeping worker, `near` rather than another.
    pub(crate) fn notify_any(&self, core: &Core, near: usize) {
        if let Some(worker) = self.state.claim_any(near) {
            self.unpark(core, worker);
        }
    }

    /// Wakes all: the phase has changed.
    pub(crate) fn notify_all(&self, core: &Core) {
        for worker in core.workers.iter() {
            worker.unpark.unpark();
        }
    }

    fn unpark(&self, core: &Core, worker: usize) {
        core.workers[worker].unpark.unpark();
        match super::local::Local::current(core).and_then(super::local::Local::counters) {
            Some(counters) => add(&counters.wakeups, 1),
            None => {
                self.wakeups_outside.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

//! The workers of a runtime: what all of them share, and how work is handed to one of them from
//! elsewhere.

use crossbeam_utils::CachePadded;

use super::figures::UNKNOWN;
use super::machine::Machine;
use super::poller::Unpark;
use super::queues;
use super::rules::{Rules, StealPolicy};
use super::scheduler::Scheduler;
use super::shared::Shared;
use super::sleep::{Claimed, SleepState};
use super::steal::{SURELY_LONG, Verdict, verdict};
use super::trial::Reading;
use super::work::Work;
use crate::clock::Clock;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Ordering, Point, fence, point};

/// The workers of a runtime. Fields that are written often have a cache line of their own, apart
/// from those that every post reads.
pub(crate) struct Fleet<W> {
    /// Whether there has ever been work of a class other than the normal one. Read before every
    /// entry of a run queue.
    has_classes: CachePadded<AtomicBool>,
    /// Whether there has ever been work that is bound to a worker; see `affine`. Stands among
    /// fields that every post reads anyway.
    has_affine: AtomicBool,
    /// The number of times that work was raised to a higher class while it may have stood in a run
    /// queue.
    raised: CachePadded<AtomicUsize>,
    pub(crate) workers: Box<[Arc<CachePadded<Shared<W>>>]>,
    pub(crate) rules: Rules,
    pub(crate) clock: Clock,
    pub(crate) machine: Machine,
    /// The time until which no worker steals on trial, as a trial of one of them has failed.
    pub(super) trials_paused_until: AtomicU64,
    /// The time until which short plain work is not kept from thieves, as a thief tries it or has
    /// gained by it.
    open_until: CachePadded<AtomicU64>,
    pub(crate) sleep: CachePadded<SleepState>,
    /// The number of times that a worker was woken.
    pub(crate) wakeups: CachePadded<AtomicU64>,
    next_place: AtomicUsize,
    /// The number of workers that run ready work, or post it. A hint.
    with_ready: CachePadded<AtomicUsize>,
}

impl<W: Work> Fleet<W> {
    /// Creates the workers, one per poller, and for each the part that only its own thread touches.
    pub(crate) fn new(
        rules: Rules,
        clock: Clock,
        machine: Machine,
        unparkers: Vec<Arc<dyn Unpark>>,
    ) -> (Arc<Fleet<W>>, Vec<Scheduler<W>>) {
        let mut parts = Vec::new();
        let mut workers = Vec::new();
        for (unpark, neighbours) in unparkers.into_iter().zip(machine.neighbours()) {
            let (own_ready, ready) = queues::pair();
            let (own_plain, plain) = queues::pair();
            let shared = Shared::new(ready, plain, unpark, neighbours);
            workers.push(Arc::new(CachePadded::new(shared)));
            parts.push((own_ready, own_plain));
        }
        let fleet = Arc::new(Fleet {
            has_classes: AtomicBool::new(false).into(),
            has_affine: AtomicBool::new(false),
            raised: AtomicUsize::new(0).into(),
            sleep: SleepState::new(workers.len()).into(),
            workers: workers.into(),
            rules,
            clock,
            machine,
            trials_paused_until: AtomicU64::new(0),
            open_until: AtomicU64::new(0).into(),
            wakeups: AtomicU64::new(0).into(),
            next_place: AtomicUsize::new(0),
            with_ready: AtomicUsize::new(0).into(),
        });
        let own = |(index, (ready, plain))| Scheduler::new(&fleet, index, ready, plain);
        let schedulers = parts.into_iter().enumerate().map(own).collect();
        (fleet, schedulers)
    }

    /// Returns `true` if a worker has to look into the lanes of all classes, not only the normal
    /// one. The load is relaxed: if a worker still reads `false`, it finds the work of other
    /// classes at the latest when it is about to sleep.
    #[inline]
    pub(crate) fn has_classes(&self) -> bool {
        self.has_classes.load(Ordering::Relaxed)
    }

    /// Notes that there will be work of classes other than the normal one.
    pub(crate) fn use_classes(&self) {
        self.has_classes.store(true, Ordering::Relaxed);
    }

    /// Returns `true` if there is, or was, work that is bound to a worker.
    #[inline]
    pub(crate) fn has_affine(&self) -> bool {
        self.has_affine.load(Ordering::Relaxed)
    }

    /// Notes that there will be work that is bound to a worker. The caller queues that work
    /// afterwards.
    pub(crate) fn use_affine(&self) {
        self.has_affine.store(true, Ordering::Relaxed);
    }

    /// Notes that work was raised to a higher class, and may stand in the lane of a lower one.
    pub(crate) fn note_raised(&self) {
        self.raised.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn raised(&self) -> usize {
        self.raised.load(Ordering::Relaxed)
    }

    /// Counts a worker in, which runs ready work or posts it from now on.
    pub(super) fn begins_to_take_part(&self) {
        self.with_ready.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a worker out, which neither runs ready work nor posts it any longer.
    pub(super) fn ceases_to_take_part(&self) {
        self.with_ready.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns `true` if more than one worker runs ready work or posts it.
    pub(super) fn several_take_part(&self) -> bool {
        self.with_ready.load(Ordering::Relaxed) > 1
    }

    /// Returns the worker on which something starts that a thread outside the runtime has made.
    ///
    /// With stealing it is the first worker that is always with the runtime: what belongs together
    /// stays together until it pays to part it. Without stealing it is the next worker,
    /// round-robin, as nothing would ever move.
    pub(crate) fn place(&self) -> usize {
        if self.rules.steals() {
            usize::from(self.rules.first_may_be_away)
        } else {
            self.next_place.fetch_add(1, Ordering::Relaxed) % self.workers.len()
        }
    }

    /// Puts something into a worker's inbox: the first step of handing it over from elsewhere.
    /// Returns the worker that has it now, which is the stand-in if `worker` is stuck and the work
    /// is not bound to it. The caller then calls [`wake_for`](Self::wake_for), unless no worker
    /// serves the queues any longer.
    pub(crate) fn hand(&self, worker: usize, work: W) -> usize {
        let (worker, work) = match self.stand_in_of(worker) {
            Some(other) if !work.is_affine() => (other, work.into_guest()),
            _ => (worker, work),
        };
        self.workers[worker].hand(work);
        point(Point::Injected);
        // Partners: the fence of a worker between announcing that it sleeps and looking at its
        // inbox, and the fence of a change of the phase. At least one of the two sides sees what
        // the other has done.
        fence(Ordering::SeqCst);
        worker
    }

    /// Wakes the worker if it sleeps: the second step of handing something over.
    ///
    /// With stealing, another worker may be woken as well. If the worker is away, an idle one is.
    /// If it neither sleeps nor is away, an idle one is woken provided that it may steal from this
    /// worker and that what was handed over is worth it. `worth` is in nanoseconds; 0 means "not
    /// known", and then the published average counts.
    pub(crate) fn wake_for(&self, worker: usize, worth: u32) {
        let woken = self.notify(worker);
        if woken == Some(Claimed::Away) && self.rules.steals() && self.sleep.any_idle() {
            // A thread that is away may take its time to come back. The other worker looks after
            // its work.
            return self.notify_any(worker + 1);
        }
        if woken.is_none() && self.rules.steals() && self.sleep.any_idle() {
            let published = &self.workers[worker].published;
            let expected = match worth {
                UNKNOWN => published.entry_nanos.load(Ordering::Relaxed),
                worth => worth,
            };
            if expected >= self.wakes_from() && self.may_be_taken_from(worker) {
                self.notify_any(worker + 1);
            }
        }
    }

    /// Puts something into a worker's inbox without waking the worker, as more follows.
    pub(crate) fn hand_quietly(&self, worker: usize, work: W) {
        self.workers[worker].hand(work);
    }

    /// Returns `true` if nothing is queued for any worker.
    pub(crate) fn has_nothing(&self) -> bool {
        self.workers.iter().all(|worker| worker.has_nothing())
    }

    /// Returns the worker that serves the work of a worker that is known to be stuck in an event
    /// (E4).
    #[inline]
    pub(crate) fn stand_in_of(&self, worker: usize) -> Option<usize> {
        let first = self.workers[worker].stand_in()?;
        // The stand-in may be stuck itself, and have a stand-in. As all of this is a hint, one hop
        // is enough.
        match self.workers[first].stand_in() {
            Some(next) if next != worker => Some(next),
            _ => Some(first),
        }
    }

    /// Returns the least run time for which a worker is woken, in nanoseconds. The eager policy
    /// wakes a worker for everything that becomes runnable.
    pub(crate) fn wakes_from(&self) -> u32 {
        match (self.rules.steals(), self.rules.is_eager()) {
            (false, _) => u32::MAX,
            (true, true) => 0,
            (true, false) => SURELY_LONG.max(4 * self.machine.move_nanos),
        }
    }

    /// Returns `true` if a worker that is woken may take what is queued at this one.
    pub(super) fn may_be_taken_from(&self, worker: usize) -> bool {
        self.rules.is_eager() || self.judge(worker) == Verdict::Yes
    }

    /// Judges by a worker's published figures whether it pays to steal from it.
    pub(super) fn judge(&self, worker: usize) -> Verdict {
        let published = &self.workers[worker].published;
        match self.rules.policy {
            StealPolicy::Off => Verdict::No,
            StealPolicy::Eager => Verdict::Yes,
            StealPolicy::CostAware => verdict(
                published.entry_nanos.load(Ordering::Relaxed),
                published.entry_traffic.load(Ordering::Relaxed),
                self.machine.move_nanos,
            ),
        }
    }

    /// Returns for how many nanoseconds, between `from` and `now`, a worker was idle that still is.
    /// The worker that has been idle for longest counts.
    pub(crate) fn idle_between(&self, from: u64, now: u64) -> u64 {
        let all = self.workers.iter().map(|w| w.published.idle_since.load(Ordering::Relaxed));
        all.filter(|since| *since != 0).min().map_or(0, |since| now.saturating_sub(since.max(from)))
    }

    /// Notes that a thief tries short work, or has gained by it: until this time no worker keeps
    /// that work from thieves.
    pub(super) fn opens_until(&self, time: u64) {
        self.open_until.fetch_max(time, Ordering::Relaxed);
    }

    /// Returns `true` if short work is not kept from thieves now. A hint.
    #[inline]
    pub(super) fn is_open(&self, now: u64) -> bool {
        now < self.open_until.load(Ordering::Relaxed)
    }

    /// Returns the number of events that all workers have run, without those of their current
    /// turns.
    pub(super) fn reading(&self, now: u64) -> Reading {
        let events = self.workers.iter().map(|w| w.counters.events.load(Ordering::Relaxed));
        Reading { now, events: events.sum() }
    }

    /// Returns `true` if `worker`, whose work was taken because it was stuck, has made no progress
    /// since.
    pub(crate) fn is_still_stuck(&self, worker: usize) -> bool {
        let worker = &self.workers[worker];
        let progress = worker.published.progress.load(Ordering::Relaxed);
        worker.rescued_progress.load(Ordering::Relaxed) == progress
    }

    /// Wakes `worker` if it sleeps or is away, and returns which of these it was.
    pub(crate) fn notify(&self, worker: usize) -> Option<Claimed> {
        let claimed = self.sleep.claim(worker);
        if claimed.is_some() {
            self.unpark(worker);
        }
        claimed
    }

    /// Wakes a sleeping worker, `near` first if it sleeps.
    pub(super) fn notify_any(&self, near: usize) {
        if let Some(worker) = self.sleep.claim_any(near) {
            self.unpark(worker);
        }
    }

    /// Ends the waits of all workers, whether they sleep or not.
    pub(crate) fn unpark_all(&self) {
        self.workers.iter().for_each(|worker| worker.unpark.unpark());
    }

    fn unpark(&self, worker: usize) {
        self.workers[worker].unpark.unpark();
        // Next to the system call, the shared counter costs nothing.
        self.wakeups.fetch_add(1, Ordering::Relaxed);
    }
}

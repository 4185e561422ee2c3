//! The workers of a runtime, as each of them and everybody else sees them.

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

/// See the module. What is written often has a line of its own, apart from what every post reads.
pub(crate) struct Fleet<W> {
    /// There has been work that is not of the normal class. Read before every entry of a run queue.
    has_classes: CachePadded<AtomicBool>,
    /// There has been work that is bound to a worker; see `affine`. Stands where every post reads
    /// anyway.
    has_affine: AtomicBool,
    /// How much work has been raised to a higher class while it may have stood in a run queue.
    raised: CachePadded<AtomicUsize>,
    pub(crate) workers: Box<[Arc<CachePadded<Shared<W>>>]>,
    pub(crate) rules: Rules,
    pub(crate) clock: Clock,
    pub(crate) machine: Machine,
    /// Until when no worker steals on trial, as one has done so in vain.
    pub(super) trials_paused_until: AtomicU64,
    /// Until when short plain work is not kept from thieves, as one of them tries it, or has gained
    /// by it.
    open_until: CachePadded<AtomicU64>,
    pub(crate) sleep: CachePadded<SleepState>,
    /// Workers that were woken.
    pub(crate) wakeups: CachePadded<AtomicU64>,
    next_place: AtomicUsize,
    /// How many workers run ready work, or post it. A hint.
    with_ready: CachePadded<AtomicUsize>,
}

impl<W: Work> Fleet<W> {
    /// Workers of which each sleeps on a poller, with the parts that only they themselves touch.
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

    /// Says whether a worker has to look into any lane but the normal one. What is in another lane
    /// when it says no is found when the worker is about to sleep, at the latest.
    #[inline]
    pub(crate) fn has_classes(&self) -> bool {
        self.has_classes.load(Ordering::Relaxed)
    }

    /// Notes that there will be work of other classes.
    pub(crate) fn use_classes(&self) {
        self.has_classes.store(true, Ordering::Relaxed);
    }

    /// Says whether there is, or was, work that is bound to a worker.
    #[inline]
    pub(crate) fn has_affine(&self) -> bool {
        self.has_affine.load(Ordering::Relaxed)
    }

    /// There will be work that is bound to a worker. The caller queues that work afterwards.
    pub(crate) fn use_affine(&self) {
        self.has_affine.store(true, Ordering::Relaxed);
    }

    /// Work has been raised to a higher class, and may stand in a lane of a lower one.
    pub(crate) fn has_raised(&self) {
        self.raised.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn raised(&self) -> usize {
        self.raised.load(Ordering::Relaxed)
    }

    /// Counts a worker that runs ready work, or posts it, from now on.
    pub(super) fn begins_to_take_part(&self) {
        self.with_ready.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a worker out of that count.
    pub(super) fn ceases_to_take_part(&self) {
        self.with_ready.fetch_sub(1, Ordering::Relaxed);
    }

    /// Says whether more than one worker does.
    pub(super) fn several_take_part(&self) -> bool {
        self.with_ready.load(Ordering::Relaxed) > 1
    }

    /// Where something begins that a thread outside has made. With stealing it is the first worker
    /// that is always with the runtime: what belongs together stays together until it pays to part
    /// it. Without, it is dealt out, as nothing would ever move it.
    pub(crate) fn place(&self) -> usize {
        if self.rules.steals() {
            usize::from(self.rules.first_may_be_away)
        } else {
            self.next_place.fetch_add(1, Ordering::Relaxed) % self.workers.len()
        }
    }

    /// First step of handing something to a worker from elsewhere. The answer is who has it now,
    /// for [`wake_for`](Self::wake_for), unless nobody serves the queues any more.
    pub(crate) fn hand(&self, worker: usize, work: W) -> usize {
        let (worker, work) = match self.stand_in_of(worker) {
            Some(other) if !work.is_affine() => (other, work.into_guest()),
            _ => (worker, work),
        };
        self.workers[worker].hand(work);
        point(Point::Injected);
        // Partner: the fence of a worker between saying that it sleeps and looking at its inbox,
        // and the fence of a change of the phase. One of the two sees what the other has done.
        fence(Ordering::SeqCst);
        worker
    }

    /// Second step: wakes the worker if it sleeps; if it does not, and what was handed over is
    /// worth so many nanoseconds (0: not known), another one.
    pub(crate) fn wake_for(&self, worker: usize, worth: u32) {
        let woken = self.notify(worker);
        if woken == Some(Claimed::Away) && self.rules.steals() && self.sleep.any_idle() {
            // It may take its time. Who is woken looks after it.
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

    /// Puts something into a worker's inbox without waking it: more will follow.
    pub(crate) fn hand_quietly(&self, worker: usize, work: W) {
        self.workers[worker].hand(work);
    }

    /// Says whether nothing is queued for any worker.
    pub(crate) fn has_nothing(&self) -> bool {
        self.workers.iter().all(|worker| worker.has_nothing())
    }

    /// Who serves what belongs to a worker that is known to be stuck in an event (E4).
    #[inline]
    pub(crate) fn stand_in_of(&self, worker: usize) -> Option<usize> {
        let first = self.workers[worker].stand_in()?;
        // Who stands in may itself be stuck, and have somebody; it is a hint, so one hop is looked
        // at.
        match self.workers[first].stand_in() {
            Some(next) if next != worker => Some(next),
            _ => Some(first),
        }
    }

    /// What takes so many nanoseconds, or more, is worth waking a worker for. The eager policy
    /// wakes somebody for everything that becomes runnable.
    pub(crate) fn wakes_from(&self) -> u32 {
        match (self.rules.steals(), self.rules.is_eager()) {
            (false, _) => u32::MAX,
            (true, true) => 0,
            (true, false) => SURELY_LONG.max(4 * self.machine.move_nanos),
        }
    }

    /// Says whether a worker that is woken may take what is queued at this one.
    pub(super) fn may_be_taken_from(&self, worker: usize) -> bool {
        self.rules.is_eager() || self.judge(worker) == Verdict::Yes
    }

    /// What the figures of a worker say about stealing from it.
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

    /// For how many nanoseconds between two times, the second of which is now, a worker was idle
    /// that is so still: the one that has been idle for longest.
    pub(crate) fn idle_between(&self, from: u64, now: u64) -> u64 {
        let all = self.workers.iter().map(|w| w.published.idle_since.load(Ordering::Relaxed));
        all.filter(|since| *since != 0).min().map_or(0, |since| now.saturating_sub(since.max(from)))
    }

    /// A thief tries short work, or has gained by it: until then nobody keeps that from thieves.
    pub(super) fn opens_until(&self, time: u64) {
        self.open_until.fetch_max(time, Ordering::Relaxed);
    }

    /// Says whether short work is not kept from thieves. A hint.
    #[inline]
    pub(super) fn is_open(&self, now: u64) -> bool {
        now < self.open_until.load(Ordering::Relaxed)
    }

    /// The events that all workers have run, to the turn.
    pub(super) fn reading(&self, now: u64) -> Reading {
        let events = self.workers.iter().map(|w| w.counters.events.load(Ordering::Relaxed));
        Reading { now, events: events.sum() }
    }

    /// Says whether `worker`, whose work was taken by somebody because it was stuck, has come no
    /// further since.
    pub(crate) fn is_still_stuck(&self, worker: usize) -> bool {
        let worker = &self.workers[worker];
        let progress = worker.published.progress.load(Ordering::Relaxed);
        worker.rescued_progress.load(Ordering::Relaxed) == progress
    }

    /// Wakes `worker` if it sleeps, or is away, and says which it was.
    pub(crate) fn notify(&self, worker: usize) -> Option<Claimed> {
        let claimed = self.sleep.claim(worker);
        if claimed.is_some() {
            self.unpark(worker);
        }
        claimed
    }

    /// Wakes some sleeping worker, `near` rather than another.
    pub(super) fn notify_any(&self, near: usize) {
        if let Some(worker) = self.sleep.claim_any(near) {
            self.unpark(worker);
        }
    }

    /// Ends the waits of all workers, asleep or not.
    pub(crate) fn unpark_all(&self) {
        self.workers.iter().for_each(|worker| worker.unpark.unpark());
    }

    fn unpark(&self, worker: usize) {
        self.workers[worker].unpark.unpark();
        // Beside the system call it costs nothing.
        self.wakeups.fetch_add(1, Ordering::Relaxed);
    }
}

//! Watching over other workers: which one is stuck in an event, and what is done about it (E4, E5,
//! E12).
//!
//! A worker shows that it gets on by a number that grows with every look around
//! (`Published::progress`). If it has been busy without a pause, and the number has stood still for
//! the steal delay, it is stuck in one event. The worker that notices takes the runnable entries
//! there, polls the descriptors for it, and posts the timers that are due. All of that then runs on
//! the worker that noticed. A color that was taken in this way is a *guest*: it keeps its home and
//! goes back there when its turn is over, unless the home is still stuck.
//!
//! *Standing in.* To notice a stuck worker takes a steal delay, which is to be paid only once, not
//! for each event that arrives while the worker is stuck. So the worker that has noticed *stands
//! in* for it. Entries that are handed to the stuck worker from outside, and timers that are armed
//! for it, go to the stand-in at once, as guests. The stand-in sleeps no longer than until the
//! stuck worker's next timer, and wakes up when a descriptor of the stuck worker is ready
//! ([`Park::attend`](crate::park::Park::attend)). The stuck worker ends the stand-in at its next
//! look around. All of this consists of hints: an entry that is handed to a wrong worker runs
//! there.
//!
//! The poller and the timers have one user at a time: their locks are held until the batch is
//! posted. A stuck worker is not in its own poller, so trying the lock is enough. If a worker goes
//! to sleep while another one polls for it, a wakeup that was meant for it may be taken out of its
//! poller. So after polling for a worker that is no longer busy, the worker is woken again.
//!
//! The sentinel looks once per steal delay (see `sleep`). If all workers are busy, each watches the
//! others between turns.
//!
//! An event that is stuck for longer than the stall threshold is reported, once, by the worker that
//! sees it first: a watcher, while the event runs, or its own worker afterwards. Its site is
//! published before every event, by a plain store to a cache line of the worker's own.

use super::counters::add;
use super::fleet::Fleet;
use super::poller::Attention;
use super::scheduler::Scheduler;
use super::shared::Shared;
use super::work::{Host, Work};
use crate::sync::{Ordering, Point, point};

/// A worker's memory of the others.
pub(super) struct Watch {
    /// The last look at each worker, and the time since which it has looked the same.
    looks: Vec<(Look, u64)>,
}

#[derive(Clone, Copy, Default, PartialEq)]
struct Look {
    /// The number of the worker's stretch without sleep. `None` if it is not busy.
    stretch: Option<usize>,
    progress: u64,
}

impl Watch {
    pub(super) fn new(workers: usize) -> Self {
        Watch { looks: vec![(Look::default(), 0); workers] }
    }

    /// Returns the nanoseconds for which a worker is known to have been in the same event. The true
    /// time may be longer.
    fn stuck_for<W>(&mut self, fleet: &Fleet<W>, index: usize, now: u64) -> u64 {
        let stretch = fleet.sleep.busy_stretch(index);
        let progress = fleet.workers[index].published.progress.load(Ordering::Relaxed);
        let (last, since) = &mut self.looks[index];
        let look = Look { stretch, progress };
        if *last != look || stretch.is_none() {
            (*last, *since) = (look, now);
        }
        now.saturating_sub(*since)
    }

    /// Returns the progress of a worker at the last look.
    fn progress(&self, index: usize) -> u64 {
        self.looks[index].0.progress
    }
}

impl<W: Work> Scheduler<W> {
    /// Serves the work that waits behind stuck workers. Returns `true` if something is runnable
    /// here now.
    pub(super) fn rescue<H: Host<Work = W>>(&self, host: &H, watch: &mut Watch) -> bool {
        let now = self.now();
        let n = self.fleet.workers.len();
        for index in (1..n).map(|i| (self.index + i) % n) {
            let stuck = watch.stuck_for(&self.fleet, index, now);
            if stuck < self.fleet.rules.steal_delay_nanos() {
                self.end_standing_in_for(host, index);
                continue;
            }
            host.report_running(index, stuck, false);
            let victim = &self.fleet.workers[index];
            if !self.is_rescuer_of(victim, now) {
                continue;
            }
            victim.rescued_progress.store(watch.progress(index), Ordering::Relaxed);
            self.stand_in_for(host, index);
            point(Point::StandsIn);
            self.take_as_guests(victim);
            self.look_for(host, index);
            host.fire_timers(index, now);
        }
        // Hooks and pollers may have taken long.
        self.time_passes();
        self.has_queued()
    }

    /// Serves the descriptors and timers of the workers for which this one stands in, as often as
    /// its own while it is busy.
    pub(super) fn serve_attended<H: Host<Work = W>>(&self, host: &H, now: u64) {
        let attended = self.attended.borrow().clone();
        for index in attended {
            let victim = &self.fleet.workers[index];
            if victim.stand_in() == Some(self.index) && self.fleet.is_still_stuck(index) {
                self.look_for(host, index);
                host.fire_timers(index, now);
            } else {
                self.end_standing_in_for(host, index);
            }
        }
    }

    /// Makes this worker the stand-in of a stuck one.
    fn stand_in_for(&self, host: &impl Host, index: usize) {
        let victim = &self.fleet.workers[index];
        if victim.stand_in() != Some(self.index) {
            victim.replace_by(self.index);
            self.attend(host, index, Attention::Begins);
        }
        // The worker may have got on meanwhile, and have looked around before it was given a
        // stand-in. If it has not, it ends the stand-in at its next look.
        if !self.fleet.is_still_stuck(index) {
            self.end_standing_in_for(host, index);
        }
    }

    /// Ends standing in for a worker, which is not stuck or no longer stuck.
    fn end_standing_in_for(&self, host: &impl Host, index: usize) {
        if !self.attended.borrow().contains(&index) {
            return;
        }
        let victim = &self.fleet.workers[index];
        if victim.stand_in() == Some(self.index) {
            victim.end_stand_in();
        }
        self.attend(host, index, Attention::Ends);
    }

    /// Makes the own poller attend to that of another worker, or end that.
    fn attend(&self, host: &impl Host, index: usize, attention: Attention) {
        let mut attended = self.attended.borrow_mut();
        let before = attended.len();
        attended.retain(|other| *other != index);
        let was_attended = attended.len() < before;
        if attention == Attention::Begins {
            attended.push(index);
        }
        drop(attended);
        // Another worker may have stood in meanwhile, unnoticed here, so the poller may attend
        // already.
        if was_attended == (attention == Attention::Begins) {
            return;
        }
        // The poller is this worker's own, and this worker is not in it.
        host.attend(index, attention);
    }

    /// Returns the time of the next timer of the workers for which this one stands in.
    pub(super) fn next_timer_of_others(&self, host: &impl Host) -> Option<u64> {
        let attended = self.attended.borrow();
        let mine = |w: &&usize| self.fleet.workers[**w].stand_in() == Some(self.index);
        let next = |w: &usize| host.next_timer(*w);
        attended.iter().filter(mine).filter_map(next).min()
    }

    /// Returns `true` if this worker is to serve the stuck one. One rescuer at a time is enough:
    /// other workers can steal from it what it takes, and if it gets stuck itself the next one
    /// comes. This is a hint, as two rescuers at once do no harm.
    fn is_rescuer_of(&self, victim: &Shared<W>, now: u64) -> bool {
        let served = now.saturating_sub(victim.rescued_at.load(Ordering::Relaxed));
        let mine = victim.rescuer.load(Ordering::Relaxed) == self.index;
        if !mine && served < self.fleet.rules.steal_delay_nanos() {
            return false;
        }
        victim.rescuer.store(self.index, Ordering::Relaxed);
        victim.rescued_at.store(now, Ordering::Relaxed);
        true
    }

    /// Polls the descriptors of a stuck worker, and posts here what is ready.
    fn look_for(&self, host: &impl Host, index: usize) {
        if !host.poll_for(index) {
            return;
        }
        // The posts came after this worker's own last look at its descriptors.
        self.polls.set(self.polls.get() + 1);
        add(&self.shared().counters.polls_for_others, 1);
        if self.fleet.sleep.may_be_woken(index) {
            self.fleet.workers[index].unpark.unpark();
        }
    }
}

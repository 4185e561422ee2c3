//! Watching over the others: who is stuck in an event, and what is done about it (E4, E5, E12).
//!
//! A worker says that it gets on by a number that grows with every look around
//! (`Published::progress`). If it has been busy without a pause, and the number stands still for
//! the steal delay, it is stuck in one event. Who notices takes what is runnable there, polls the
//! descriptors for it, and posts the timers that are due; all that then runs here. A color that was
//! taken so is a *guest*: it keeps its home, and when its turn is over goes back there, unless the
//! home is still stuck.
//!
//! *Standing in.* To find that out takes a steal delay, which shall be paid once, not for each
//! event that comes while the worker is stuck. So who has noticed it *stands in* for it: what is
//! handed to the stuck worker from outside, and timers that are armed for it, go to the stand-in at
//! once, as guests; and the stand-in sleeps no longer than until the stuck worker's next timer, and
//! wakes up when a descriptor of its is ready ([`Park::attend`](crate::park::Park::attend)). The
//! stuck worker ends that at its next look around. All of this are hints: what is handed to a wrong
//! worker is run there.
//!
//! The poller and the timers have one owner at a time: their locks are held until the batch is
//! posted. The owner of a stuck worker's poller is not in it, so trying the lock is enough. Should
//! the owner come to sleep while somebody else polls, a wake-up that was meant for it may be taken
//! out of the poller; so after polling for a worker that is no longer busy, it is woken again.
//!
//! The sentinel looks once per steal delay (see `sleep`); if all are busy, each watches the others
//! between turns.
//!
//! An event that is stuck for longer than the stall threshold is reported, once, by the worker that
//! sees it first: a watcher, while it lasts, or its own worker afterwards. Its site is published
//! before every event, a plain store to a line of the worker's own.

use super::counters::add;
use super::fleet::Fleet;
use super::poller::Attention;
use super::scheduler::Scheduler;
use super::shared::Shared;
use super::work::{Host, Work};
use crate::sync::{Ordering, Point, point};

/// What a worker remembers of the others.
pub(super) struct Watch {
    /// What was seen last, and since when it has been so.
    looks: Vec<(Look, u64)>,
}

#[derive(Clone, Copy, Default, PartialEq)]
struct Look {
    /// Which stretch without sleep it is in.
    stretch: Option<usize>,
    progress: u64,
}

impl Watch {
    pub(super) fn new(workers: usize) -> Self {
        Watch { looks: vec![(Look::default(), 0); workers] }
    }

    /// The nanoseconds, at least, for which this worker has been in the same event.
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

    /// How far it had come when it was looked at last.
    fn progress(&self, index: usize) -> u64 {
        self.looks[index].0.progress
    }
}

impl<W: Work> Scheduler<W> {
    /// Serves what waits behind a worker that is stuck. True: something is runnable here now.
    pub(super) fn rescue<H: Host<Work = W>>(&self, host: &H, watch: &mut Watch) -> bool {
        let now = self.now();
        let n = self.fleet.workers.len();
        for index in (1..n).map(|i| (self.index + i) % n) {
            let stuck = watch.stuck_for(&self.fleet, index, now);
            if stuck < self.fleet.rules.steal_delay_nanos() {
                self.end_standing_in_for(host, index);
                continue;
            }
            host.is_in_one_event(index, stuck, false);
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
        // Hooks and pollers take their time.
        self.time_passes();
        self.has_queued()
    }

    /// Looks at descriptors and timers of those that this worker stands in for, as its own ones are
    /// looked at while it is busy.
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

    /// From now on, what belongs to a stuck worker comes here.
    fn stand_in_for(&self, host: &impl Host, index: usize) {
        let victim = &self.fleet.workers[index];
        if victim.stand_in() != Some(self.index) {
            victim.replace_by(self.index);
            self.attend(host, index, Attention::Begins);
        }
        // It may have got on meanwhile, and have looked before it was said. If it has not, it will
        // look.
        if !self.fleet.is_still_stuck(index) {
            self.end_standing_in_for(host, index);
        }
    }

    /// The worker is not stuck, or not any more.
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

    /// Has the own poller look at that of another worker, or not any more.
    fn attend(&self, host: &impl Host, index: usize, attention: Attention) {
        let mut attended = self.attended.borrow_mut();
        let before = attended.len();
        attended.retain(|other| *other != index);
        let was_attended = attended.len() < before;
        if attention == Attention::Begins {
            attended.push(index);
        }
        drop(attended);
        // It may have been another worker's meanwhile, which has not been noticed here.
        if was_attended == (attention == Attention::Begins) {
            return;
        }
        // It is this worker's own, and it is not in it.
        host.attend(index, attention);
    }

    /// Until when this worker may sleep, for the sake of the timers of those that it stands in for.
    pub(super) fn next_timer_of_others(&self, host: &impl Host) -> Option<u64> {
        let attended = self.attended.borrow();
        let mine = |w: &&usize| self.fleet.workers[**w].stand_in() == Some(self.index);
        let next = |w: &usize| host.next_timer(*w);
        attended.iter().filter(mine).filter_map(next).min()
    }

    /// Says whether this worker shall serve the stuck one. One at a time is enough: what is taken
    /// can be stolen from it, and if it gets stuck itself the next one comes. A hint: two at once
    /// do no harm.
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

    /// Looks at the descriptors of a stuck worker; what is ready is posted here.
    fn look_for(&self, host: &impl Host, index: usize) {
        if !host.poll_for(index) {
            return;
        }
        // What was posted here was not there at this worker's own last look.
        self.polls.set(self.polls.get() + 1);
        add(&self.shared().counters.polls_for_others, 1);
        if self.fleet.sleep.may_be_woken(index) {
            self.fleet.workers[index].unpark.unpark();
        }
    }
}

//! The loop of a worker: run what is queued; now and then look at the time, the descriptors and the
//! inbox; when there is nothing, steal; when that fails, sleep.

use std::time::Duration;

use dapple_colors::Priority;

use super::counters::add;
use super::scheduler::Scheduler;
use super::steal::{Verdict, verdict};
use super::trial::{Judgement, TRIAL, Trials, WARM_UP};
use super::watch::Watch;
use super::work::Host;
use crate::clock::saturating_nanos;
use crate::sync::{Mutant, Ordering, Point, Reached, mutant, point, reached, spin_loop};

/// Run-queue entries between two looks at time, descriptors and inbox, at most. After a sleep it is
/// one, and doubles with every look that finds that entries are short.
const ENTRIES_PER_LOOK: u32 = 32;

/// While entries take longer than this on average, in nanoseconds, each is followed by a look.
const SLOW_ENTRY_NANOS: u64 = 10_000;

/// Nanoseconds between two looks at the descriptors while there is work.
const POLL_INTERVAL: u64 = 100_000;

/// Nanoseconds between two looks at timers and descriptors while a worker spins.
const SPIN_POLL_INTERVAL: u64 = 10_000;

/// Rounds of a spinning worker between two looks at what the others have.
const SPINS_PER_LOOK: u64 = 32;

/// Looks of the sentinel that found nobody busy, after which it sleeps without limit.
const QUIET_LOOKS: u32 = 16;

/// What a worker remembers between two entries.
pub(crate) struct Rounds {
    watch: Watch,
    trials: Trials,
    until_look: u32,
    look_every: u32,
    entries: u32,
    last_look: u64,
    last_poll: u64,
    last_watch: u64,
    quiet_looks: u32,
    /// The poller is not looked at between two entries, as the thread looks only once (E18); and
    /// whether that was due.
    looks_once: bool,
    is_poll_due: bool,
    /// The worker was idle, and has not run anything since.
    fresh: bool,
    /// Since when the worker has been idle; `None`: it is not.
    idle_since: Option<u64>,
    /// The CPU time of this thread when it last went to sleep as sentinel; `None`: it did not.
    sentinel_since: Option<u64>,
}

impl Rounds {
    pub(crate) fn new(workers: usize) -> Self {
        Rounds {
            watch: Watch::new(workers),
            trials: Trials::default(),
            until_look: 1,
            look_every: 1,
            entries: 0,
            last_look: 0,
            last_poll: 0,
            last_watch: 0,
            quiet_looks: 0,
            looks_once: false,
            is_poll_due: false,
            fresh: true,
            idle_since: None,
            sentinel_since: None,
        }
    }
}

/// A worker at work, on the thread that has entered it.
pub(crate) struct WorkerLoop<'a, H: Host> {
    host: &'a H,
    own: &'a Scheduler<H::Work>,
    rounds: &'a mut Rounds,
}

impl<'a, H: Host> WorkerLoop<'a, H> {
    pub(crate) fn new(host: &'a H, own: &'a Scheduler<H::Work>, rounds: &'a mut Rounds) -> Self {
        WorkerLoop { host, own, rounds }
    }

    /// Works, and sleeps when there is nothing, until it is told to stop; asked before each entry,
    /// and after each sleep.
    pub(crate) fn run_until(&mut self, is_over: impl Fn() -> bool) {
        while !is_over() {
            if !self.run_next() {
                self.idle(&is_over, None);
            }
        }
        self.ends_idleness();
    }

    /// One turn (E18): one look at the poller, which waits if there is nothing to run, here or at
    /// another worker from which to steal, for so long at most; then up to `budget` entries, until
    /// there is nothing to run, or the poller is to be looked at again. Says how many entries there
    /// were.
    pub(crate) fn turn(
        &mut self,
        wait: Option<Duration>,
        budget: u64,
        is_over: impl Fn() -> bool,
    ) -> u64 {
        let may_wait = wait != Some(Duration::ZERO) && self.own.shared().has_nothing();
        if may_wait && !self.steal() {
            self.idle(&is_over, wait);
        } else {
            (self.rounds.looks_once, self.rounds.is_poll_due) = (false, true);
            self.look_around();
        }
        (self.rounds.looks_once, self.rounds.is_poll_due) = (true, false);
        let mut ran = 0;
        while ran < budget && !self.rounds.is_poll_due && !is_over() && self.run_next() {
            ran += 1;
        }
        self.rounds.looks_once = false;
        // The thread goes back to the caller that asked for the turn, perhaps an event of this
        // worker's.
        self.ends_idleness();
        ran
    }

    /// Takes from another worker what pays; true: it is queued here.
    fn steal(&mut self) -> bool {
        self.own.steals() && self.own.steal(&mut self.rounds.trials)
    }

    /// The thread is back.
    pub(crate) fn comes_back(&mut self) {
        if self.own.is_idle() {
            // Somebody shall watch, if it finds work.
            self.rounds.fresh = true;
        }
        self.own.rise(self.host);
        self.own.time_passes();
        // What was away is nobody's time.
        self.rounds.last_look = self.own.now();
        self.rounds.entries = 0;
    }

    /// The thread leaves, until it comes back. What is queued is left to the other workers, or to
    /// its next turn. The answer: when that is to be, in nanoseconds of the runtime's clock, if its
    /// poller is not woken before; `None`: only then.
    pub(crate) fn goes_away(&mut self) -> Option<u64> {
        if self.own.is_idle() {
            // A panic of the user's has ended a sleep.
            self.host.ends_sleep();
            self.own.rise(self.host);
        }
        self.host.flush_figures(true);
        self.ends_stretch();
        self.ends_idleness();
        self.publish();
        if self.own.shared().has_nothing_to_give() {
            self.own.stops_sharing();
            self.own.go_away(self.host);
            if !self.own.shared().has_nothing_to_give() {
                self.own.rise(self.host);
            }
        }
        if !self.own.is_idle() {
            // What it leaves behind waits for others.
            self.own.wake_sentinel();
        }
        // Planned after it has been said that the thread is away: who arms an earlier timer from
        // now on wakes the poller.
        let timer = self.next_deadline();
        match self.own.shared().has_nothing() {
            true => timer,
            false => Some(0),
        }
    }

    /// Works for as long as there is something to run, up to `budget` entries, without sleeping;
    /// says how many there were.
    #[cfg(test)]
    pub(crate) fn run_once(&mut self, budget: u64, is_over: impl Fn() -> bool) -> u64 {
        let mut ran = 0;
        while ran < budget && !is_over() && self.run_next() {
            ran += 1;
        }
        ran
    }

    /// Runs one entry; false: there is none.
    #[inline(always)]
    fn run_next(&mut self) -> bool {
        if self.rounds.until_look == 0 {
            self.look_around();
        }
        match self.next_entry() {
            Some(entry) => {
                self.run(entry);
                true
            }
            None => false,
        }
    }

    /// When the first timer is due that the worker is to fire, in nanoseconds of the runtime's
    /// clock: until then, and until its poller is woken, a thread that has nothing to run may do
    /// something else. For a worker that has announced its sleep, a thread that arms an earlier
    /// timer wakes the poller.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let timer = self.host.next_timer_before_sleep();
        let others = self.own.next_timer_of_others(self.host);
        [timer, others].into_iter().flatten().min()
    }

    #[inline(always)]
    fn next_entry(&mut self) -> Option<H::Work> {
        let local = self.own;
        let own = match self.own.fleet.has_classes() {
            false => local.next_of(Priority::Normal),
            true => {
                // A lower class must not run before what others have handed over.
                if let Some(entry) = self.take_inbox() {
                    local.queue_here(entry);
                }
                local.dequeue_by_class()
            }
        };
        own.or_else(|| self.take_inbox()).or_else(|| {
            let found =
                self.steal() || local.steals() && local.rescue(self.host, &mut self.rounds.watch);
            found.then(|| local.dequeue()).flatten()
        })
    }

    fn take_inbox(&mut self) -> Option<H::Work> {
        let entry = self.own.take_inbox();
        if entry.is_some() {
            self.own.note_answer(&mut self.rounds.trials);
        }
        entry
    }

    #[inline(always)]
    fn run(&mut self, entry: H::Work) {
        if self.rounds.fresh {
            self.rounds.fresh = false;
            self.rounds.sentinel_since = None;
            self.ends_idleness();
            self.rounds.trials.works();
            // On trial, the rest of what it has asked for may still come.
            if !self.rounds.trials.is_running() {
                self.own.withdraw();
            }
            self.own.wake_sentinel();
        }
        self.rounds.until_look -= 1;
        self.rounds.entries += 1;
        // The first entry after a look is timed: so the color learns how long its turns are.
        if self.host.run(entry, self.rounds.entries == 1) {
            self.rounds.until_look = 0;
        }
    }

    /// Time, timers, descriptors, inbox; and what is published.
    fn look_around(&mut self) {
        let now = self.own.now();
        let elapsed = self.since_last_look(now);
        let per_entry = elapsed / u64::from(self.rounds.entries.max(1));
        self.rounds.look_every = match per_entry > SLOW_ENTRY_NANOS {
            true => 1,
            false => (2 * self.rounds.look_every).min(ENTRIES_PER_LOOK),
        };
        self.rounds.until_look = self.rounds.look_every;
        self.report_own_stall(elapsed);
        self.learn(elapsed);
        self.rounds.entries = 0;
        self.publish();
        self.judge_trial(now);
        self.own.answer(self.host);
        self.own.publicise(now);
        self.own.limit_ready(now);
        self.own.share_ready();
        self.own.take_high();
        self.fire_timers(now);
        self.host.look_after_waits(now);
        // An idle worker does it, if there is one.
        let watches = self.own.steals() && !self.own.fleet.sleep.has_sentinel();
        if watches && now.saturating_sub(self.rounds.last_watch) >= self.watch_interval() {
            self.rounds.last_watch = now;
            self.own.rescue(self.host, &mut self.rounds.watch);
        }
        let is_due = now.saturating_sub(self.rounds.last_poll) >= POLL_INTERVAL;
        if is_due && self.rounds.looks_once {
            self.rounds.is_poll_due = true;
        } else if is_due || std::mem::take(&mut self.rounds.is_poll_due) {
            self.rounds.last_poll = now;
            self.park(Some(Duration::ZERO));
            let took = self.own.now().saturating_sub(now);
            self.host.has_looked(took);
            self.own.serve_attended(self.host, now);
        }
        if let Some(entry) = self.take_inbox() {
            self.own.queue_here(entry);
        }
        self.host.flush_figures(false);
        // What this took is nobody's.
        self.own.time_passes();
        self.rounds.last_look = self.own.now();
    }

    /// No entry follows for now: what the last ones tell is learned.
    fn ends_stretch(&mut self) {
        if self.rounds.entries > 0 {
            let elapsed = self.since_last_look(self.own.now());
            self.report_own_stall(elapsed);
            self.learn(elapsed);
        }
    }

    /// What the entries since the last look tell. A look behind none, as a turn begins with, tells
    /// nothing.
    fn learn(&mut self, elapsed: u64) {
        let entries = self.rounds.entries;
        if entries > 0 {
            self.own.learn_entries(entries, elapsed, self.host.traffic());
            self.rounds.trials.ran(entries, elapsed);
        }
    }

    /// How long the worker has been at entries since its last look; none, if one of them was
    /// suspended in between.
    fn since_last_look(&self, now: u64) -> u64 {
        match self.own.was_suspended.take() {
            true => 0,
            false => now.saturating_sub(self.rounds.last_look),
        }
    }

    /// If one entry only was run since the last look, it took so long.
    fn report_own_stall(&self, elapsed: u64) {
        if self.rounds.entries == 1 {
            self.host.is_in_one_event(self.own.index, elapsed, true);
        }
    }

    fn watch_interval(&self) -> u64 {
        self.own.fleet.rules.steal_delay_nanos()
    }

    fn publish(&mut self) {
        let published = &self.own.shared().published;
        published.entry_nanos.store(self.own.entry_nanos.get(), Ordering::Relaxed);
        published.entry_traffic.store(self.own.entry_traffic.get(), Ordering::Relaxed);
        add(&published.progress, 1);
        // Not stuck: nobody has to stand in.
        self.own.shared().end_stand_in();
        self.host.is_between_events();
    }

    fn judge_trial(&mut self, now: u64) {
        if self.rounds.trials.is_warm(now) {
            self.rounds.trials.counts_from(self.own.fleet.reading(now));
            // It may be late, and what counts is to be like the rest.
            if self.own.fleet.is_open(now) {
                self.own.fleet.opens_until(now + (TRIAL - WARM_UP));
            }
        } else if self.rounds.trials.is_due(now) {
            let reading = self.own.fleet.reading(now);
            let surely = self.rounds.trials.entry_nanos().is_some_and(|nanos| {
                let price = self.own.fleet.machine.move_nanos;
                verdict(nanos, self.own.entry_traffic.get(), price) == Verdict::Yes
            });
            self.own.withdraw();
            let judged = self.rounds.trials.judge(reading, surely);
            if let Judgement::Kept = judged {
                reached(Reached::TrialKept);
                self.own.fleet.opens_until(self.rounds.trials.trusted_until());
            }
            if let Judgement::Undone(victim) = judged {
                reached(Reached::TrialUndone);
                let pause = self.rounds.trials.paused_until();
                self.own.fleet.trials_paused_until.fetch_max(pause, Ordering::Relaxed);
                self.own.send_back(self.host, victim);
            }
        }
    }

    fn fire_timers(&self, now: u64) {
        self.host.fire_timers(self.own.index, now);
    }

    /// Waits at the poller, or looks at it, once.
    fn park(&self, timeout: Option<Duration>) {
        self.own.polls.set(self.own.polls.get() + 1);
        add(&self.own.shared().counters.polls, 1);
        self.host.park(timeout);
        self.own.time_passes();
    }

    /// Sleeps for `limit` at most, as there is nothing to run.
    fn idle(&mut self, is_over: &impl Fn() -> bool, limit: Option<Duration>) {
        self.host.flush_figures(true);
        self.ends_stretch();
        self.publish();
        self.own.stops_sharing();
        self.own.ready.shrink();
        self.own.plain.shrink();
        let fleet = &self.own.fleet;
        let since = *self.rounds.idle_since.get_or_insert_with(|| self.own.now());
        self.own.shared().published.idle_since.store(since.max(1), Ordering::Relaxed);
        let may_spin = !fleet.rules.spin.is_zero() && limit.is_none();
        let spun = may_spin && self.spin(since, is_over);
        if !spun {
            // Its hook may post, so it comes before the worker says that it sleeps.
            self.own.rise(self.host);
            let look = self.host.look_before_sleep(self.own.now());
            point(Point::Announces);
            self.own.announce(self.host);
            point(Point::Announced);
            let is_over = is_over();
            let timeout = match is_over || !self.own.is_idle() {
                // The callee may have posted, so that the worker has risen.
                true => Some(Duration::ZERO),
                false => {
                    let time = self.time_to_sleep(look.map(Duration::from_nanos));
                    time.into_iter().chain(limit).min()
                }
            };
            if timeout != Some(Duration::ZERO) {
                add(&self.own.shared().counters.parks, 1);
            }
            point(Point::Parks);
            self.park(timeout);
            point(Point::Woken);
            self.host.ends_sleep();
        }
        self.own.rise(self.host);
        let now = self.own.now();
        if !spun {
            self.rounds.last_poll = now;
            self.rounds.trials.wakes(self.own.fleet.reading(now));
        }
        self.rounds.entries = 0;
        (self.rounds.until_look, self.rounds.look_every) = (1, 1);
        self.rounds.fresh = true;
        self.judge_trial(now);
        self.fire_timers(now);
        // The time that was spent here is nobody's.
        self.own.time_passes();
        self.rounds.last_look = self.own.now();
    }

    fn ends_idleness(&mut self) {
        self.rounds.idle_since = None;
        self.own.shared().published.idle_since.store(0, Ordering::Relaxed);
    }

    /// How long the worker, which has announced its sleep, may sleep; zero: not at all. `look`:
    /// until tickets are looked at again.
    fn time_to_sleep(&mut self, look: Option<Duration>) -> Option<Duration> {
        if !self.own.shared().has_nothing() && !mutant(Mutant::LostWakeup) {
            return Some(Duration::ZERO);
        }
        let now = self.own.now();
        self.rounds.trials.naps(self.own.fleet.reading(now));
        let timer = self.next_deadline();
        let timer = timer.map(|deadline| Duration::from_nanos(deadline.saturating_sub(now)));
        [timer, self.sentinel_delay(), look].into_iter().flatten().min()
    }

    /// If this worker is to stand sentinel, the time until its next look.
    fn sentinel_delay(&mut self) -> Option<Duration> {
        if !self.own.steals() {
            return None;
        }
        let me = self.own.index;
        let fleet = &self.own.fleet;
        let state = &fleet.sleep;
        if state.others_busy(me) {
            self.rounds.quiet_looks = 0;
        } else {
            self.rounds.quiet_looks = (self.rounds.quiet_looks + 1).min(QUIET_LOOKS);
            if self.rounds.quiet_looks == QUIET_LOOKS {
                self.rounds.sentinel_since = None;
                state.resign_as_sentinel(me);
                if !state.others_busy(me) {
                    self.own.withdraw();
                    return None;
                }
                self.rounds.quiet_looks = 0;
            }
        }
        let delay = state.become_sentinel(me).then(|| {
            add(&self.own.shared().counters.sentinel_looks, 1);
            fleet.rules.steal_delay
        });
        let cpu = delay.and_then(|_| crate::clock::thread_cpu_nanos());
        if let (Some(since), Some(now)) = (self.rounds.sentinel_since, cpu) {
            // It has looked, found nothing, and sleeps on: that is the price of a sentinel.
            add(&self.own.shared().counters.sentinel_nanos, now.saturating_sub(since));
        }
        self.rounds.sentinel_since = cpu;
        if delay.is_none() {
            self.own.withdraw();
        }
        delay
    }

    /// Looks for work for as long as the user has paid for; true if there is some. To the others it
    /// is as good as idle meanwhile, so that it takes nothing, and posts to its own run queue only.
    fn spin(&mut self, since: u64, is_over: &impl Fn() -> bool) -> bool {
        let local = self.own;
        let fleet = &self.own.fleet;
        let (me, state) = (local.index, &*fleet.sleep);
        let limit = saturating_nanos(fleet.rules.spin);
        local.announce_spinning(self.host);
        for round in 0u64.. {
            if !self.own.shared().has_nothing() || is_over() {
                return true;
            }
            if round.is_multiple_of(SPINS_PER_LOOK) {
                self.own.time_passes();
                let now = self.own.now();
                if now.saturating_sub(since) >= limit {
                    return false;
                }
                if self.own.steals() && self.own.sees_prey(&self.rounds.trials) {
                    return true;
                }
                if now.saturating_sub(self.rounds.last_poll) >= SPIN_POLL_INTERVAL {
                    self.rounds.last_poll = now;
                    self.fire_timers(now);
                    self.park(Some(Duration::ZERO));
                    // It has risen if something was posted.
                    if !local.is_idle() {
                        if local.has_queued() {
                            return true;
                        }
                        local.announce_spinning(self.host);
                    }
                }
                if self.host.is_look_due(now) {
                    local.rise(self.host);
                    self.host.look_after_waits(now);
                    if local.has_queued() {
                        return true;
                    }
                    local.announce_spinning(self.host);
                }
                let watches = self.own.steals() && state.others_busy(me);
                if watches && now.saturating_sub(self.rounds.last_watch) >= self.watch_interval() {
                    self.rounds.last_watch = now;
                    self.rounds.trials.wakes(self.own.fleet.reading(now));
                    self.rounds.trials.naps(self.own.fleet.reading(now));
                    local.rise(self.host);
                    if self.own.rescue(self.host, &mut self.rounds.watch) {
                        return true;
                    }
                    local.announce_spinning(self.host);
                }
            }
            spin_loop();
        }
        true
    }
}

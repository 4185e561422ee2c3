//! The loop of a worker. It runs what is queued, and at intervals looks at the time, the
//! descriptors and the inbox. When nothing is queued it steals, and when that fails it sleeps.

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

/// The largest number of run-queue entries between two looks around: at the time, the descriptors
/// and the inbox. After a sleep the number is 1. It doubles with every look that finds that entries
/// are short.
const ENTRIES_PER_LOOK: u32 = 32;

/// The average time per entry, in nanoseconds, above which each entry is followed by a look around.
const SLOW_ENTRY_NANOS: u64 = 10_000;

/// The interval of looks at the descriptors while there is work, in nanoseconds.
const POLL_INTERVAL: u64 = 100_000;

/// The interval of looks at timers and descriptors while a worker spins, in nanoseconds.
const SPIN_POLL_INTERVAL: u64 = 10_000;

/// The number of rounds of a spinning worker between two looks at the time and at the other
/// workers.
const SPINS_PER_LOOK: u64 = 32;

/// The number of consecutive looks without a busy worker after which the sentinel sleeps without a
/// limit.
const QUIET_LOOKS: u32 = 16;

/// The state that a worker keeps between two entries.
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
    /// Whether the poller is not looked at between two entries, as the thread looks only once per
    /// turn (E18).
    looks_once: bool,
    /// Whether a look at the poller is due.
    is_poll_due: bool,
    /// Whether the worker was idle and has not run anything since.
    fresh: bool,
    /// The time since which the worker has been idle. `None` if it is not idle.
    idle_since: Option<u64>,
    /// The CPU time of this thread when it last went to sleep as sentinel. `None` if it did not.
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

/// A worker at work, on its thread.
pub(crate) struct WorkerLoop<'a, H: Host> {
    host: &'a H,
    own: &'a Scheduler<H::Work>,
    rounds: &'a mut Rounds,
}

impl<'a, H: Host> WorkerLoop<'a, H> {
    pub(crate) fn new(host: &'a H, own: &'a Scheduler<H::Work>, rounds: &'a mut Rounds) -> Self {
        WorkerLoop { host, own, rounds }
    }

    /// Runs entries, and sleeps when there are none, until `is_over` returns `true`. It is called
    /// before each entry, and after each sleep.
    pub(crate) fn run_until(&mut self, is_over: impl Fn() -> bool) {
        while !is_over() {
            if !self.run_next() {
                self.idle(&is_over, None);
            }
        }
        self.ends_idleness();
    }

    /// Runs one turn of a caller's thread (E18), and returns the number of entries that it ran.
    ///
    /// It first looks once at the poller. That look waits, for at most `wait`, if there is nothing
    /// to run here and nothing to steal from another worker. Then it runs up to `budget` entries,
    /// until there is nothing to run, or until the poller is to be looked at again.
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
        // The thread returns to the caller that asked for the turn, which may be an event of this
        // worker.
        self.ends_idleness();
        ran
    }

    /// Steals from other workers if that pays. Returns `true` if there are entries in the own queue
    /// now.
    fn steal(&mut self) -> bool {
        self.own.steals() && self.own.steal(&mut self.rounds.trials)
    }

    /// Makes the worker busy, as its thread is back.
    pub(crate) fn comes_back(&mut self) {
        if self.own.is_idle() {
            // If it finds work, another worker has to watch it.
            self.rounds.fresh = true;
        }
        self.own.rise(self.host);
        self.own.time_passes();
        // The time away counts for no entry.
        self.rounds.last_look = self.own.now();
        self.rounds.entries = 0;
    }

    /// Notes that the worker's thread leaves. The worker counts as away if it leaves nothing that
    /// others may take. Otherwise it stays busy, and a sentinel is woken if there is none. Queued
    /// entries are left to the other workers, or to the thread's next turn. Returns the time at
    /// which the thread is to come back at the latest, in nanoseconds of the runtime's clock.
    /// `None` means that it need not come back before its poller is woken.
    pub(crate) fn goes_away(&mut self) -> Option<u64> {
        if self.own.is_idle() {
            // A panic in user code has ended a sleep.
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
            // The entries that it leaves behind wait for other workers.
            self.own.wake_sentinel();
        }
        // Planned after announcing that the thread is away: from now on, a thread that arms an
        // earlier timer wakes the poller.
        let timer = self.next_deadline();
        match self.own.shared().has_nothing() {
            true => timer,
            false => Some(0),
        }
    }

    /// Runs up to `budget` entries, as long as there are any, without sleeping. Returns their
    /// number.
    #[cfg(test)]
    pub(crate) fn run_once(&mut self, budget: u64, is_over: impl Fn() -> bool) -> u64 {
        let mut ran = 0;
        while ran < budget && !is_over() && self.run_next() {
            ran += 1;
        }
        ran
    }

    /// Runs one entry. Returns `false` if there is none.
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

    /// Returns the time at which the first timer is due that the worker is to fire, in nanoseconds
    /// of the runtime's clock. Until then, and until its poller is woken, a thread that has nothing
    /// to run may do something else. If the worker has announced its sleep, a thread that arms an
    /// earlier timer wakes the poller.
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
                // A lower class must not run before entries that are still in the inbox.
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
            // During a trial, the rest of the private work that it has asked for may still come.
            if !self.rounds.trials.is_running() {
                self.own.withdraw();
            }
            self.own.wake_sentinel();
        }
        self.rounds.until_look -= 1;
        self.rounds.entries += 1;
        // The first entry after a look is timed, so that its color learns how long its turns are.
        if self.host.run(entry, self.rounds.entries == 1) {
            self.rounds.until_look = 0;
        }
    }

    /// Looks around: at the time, timers, descriptors and the inbox. It also publishes the worker's
    /// figures and helps other workers.
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
        self.own.publicize(now);
        self.own.limit_ready(now);
        self.own.share_ready();
        self.own.take_high();
        self.fire_timers(now);
        self.host.look_after_waits(now);
        // If there is a sentinel, it watches.
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
            self.host.note_poll(took);
            self.own.serve_attended(self.host, now);
        }
        if let Some(entry) = self.take_inbox() {
            self.own.queue_here(entry);
        }
        self.host.flush_figures(false);
        // The time of the look counts for no entry.
        self.own.time_passes();
        self.rounds.last_look = self.own.now();
    }

    /// Learns from the last entries, as none follows for now.
    fn ends_stretch(&mut self) {
        if self.rounds.entries > 0 {
            let elapsed = self.since_last_look(self.own.now());
            self.report_own_stall(elapsed);
            self.learn(elapsed);
        }
    }

    /// Learns from the entries since the last look. A look without entries, as at the start of a
    /// turn, teaches nothing.
    fn learn(&mut self, elapsed: u64) {
        let entries = self.rounds.entries;
        if entries > 0 {
            self.own.learn_entries(entries, elapsed, self.host.traffic());
            self.rounds.trials.ran(entries, elapsed);
        }
    }

    /// Returns the nanoseconds since the last look, which the worker has spent on entries. Returns
    /// 0 if one of the entries was suspended in between.
    fn since_last_look(&self, now: u64) -> u64 {
        match self.own.was_suspended.take() {
            true => 0,
            false => now.saturating_sub(self.rounds.last_look),
        }
    }

    /// Reports the time of the last entry if only that one has run since the last look.
    fn report_own_stall(&self, elapsed: u64) {
        if self.rounds.entries == 1 {
            self.host.report_running(self.own.index, elapsed, true);
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
        // The worker is not stuck, so it needs no stand-in.
        self.own.shared().end_stand_in();
        self.host.clear_event();
    }

    fn judge_trial(&mut self, now: u64) {
        if self.rounds.trials.is_warm(now) {
            self.rounds.trials.counts_from(self.own.fleet.reading(now));
            // This look may be late. Short plain work stays open to thieves for all of the time
            // that counts.
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

    /// Waits at the poller once, or only looks at it.
    fn park(&self, timeout: Option<Duration>) {
        self.own.polls.set(self.own.polls.get() + 1);
        add(&self.own.shared().counters.polls, 1);
        self.host.park(timeout);
        self.own.time_passes();
    }

    /// Sleeps, for at most `limit`, as there is nothing to run.
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
            // The hook of this look may post, so the look comes before the announcement of the
            // sleep.
            self.own.rise(self.host);
            let look = self.host.look_before_sleep(self.own.now());
            point(Point::Announces);
            self.own.announce(self.host);
            point(Point::Announced);
            let is_over = is_over();
            let timeout = match is_over || !self.own.is_idle() {
                // The code that was just called may have posted, so that the worker has risen.
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
        // The time that was spent here counts for no entry.
        self.own.time_passes();
        self.rounds.last_look = self.own.now();
    }

    fn ends_idleness(&mut self) {
        self.rounds.idle_since = None;
        self.own.shared().published.idle_since.store(0, Ordering::Relaxed);
    }

    /// Returns how long the worker, which has announced its sleep, may sleep. Zero means not at
    /// all, and `None` without a limit. `look` is the time until tickets are looked at again.
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

    /// Returns the time until the next look if this worker is to stand sentinel.
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
            // It has looked, found nothing, and goes on sleeping: the CPU time of that is the price
            // of a sentinel.
            add(&self.own.shared().counters.sentinel_nanos, now.saturating_sub(since));
        }
        self.rounds.sentinel_since = cpu;
        if delay.is_none() {
            self.own.withdraw();
        }
        delay
    }

    /// Looks for work for as long as the setting `spin` says. Returns `true` if there is some, or
    /// if the loop is over. To other threads the worker counts as idle meanwhile, so it takes
    /// nothing, and posts only to its own run queue.
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
                    // The worker has risen if something was posted.
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

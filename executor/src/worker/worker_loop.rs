//! The loop of a worker; see the parent module.

use std::time::Duration;

use crossbeam_deque::Worker as Deque;

use super::cores::{Mask, Pin};
use super::entry::Entry;
use super::local::Local;
use super::shared::add;
use super::steal::Verdict;
use super::trial::{Judgement, Trials};
use super::watch::Watch;
use crate::clock::saturating_nanos;
use crate::cx::Cx;
use crate::metrics::{Measure, Sample};
use crate::runtime::core::{CoreRef, Phase};
use crate::runtime::shutdown;
use crate::sync::{Ordering, lock};

/// Run-queue entries between two looks at time, descriptors and inbox, at most. After a sleep it is one,
/// and doubles with every look that finds that entries are short.
const ENTRIES_PER_LOOK: u32 = 32;

/// The same, while entries take longer than this on average, in nanoseconds: one.
const SLOW_ENTRY_NANOS: u64 = 10_000;

/// Nanoseconds between two looks at the descriptors while there is work.
const POLL_INTERVAL: u64 = 100_000;

/// Nanoseconds between two looks at timers and descriptors while a worker spins.
const SPIN_POLL_INTERVAL: u64 = 10_000;

/// Rounds of a spinning worker between two looks at what the others have.
const SPINS_PER_LOOK: u64 = 32;

/// Looks of the sentinel that found nobody busy, after which it sleeps without limit.
const QUIET_LOOKS: u32 = 16;

struct WorkerLoop<'a> {
    local: &'a Local,
    watch: Watch,
    trials: Trials,
    until_look: u32,
    look_every: u32,
    entries: u32,
    last_look: u64,
    last_poll: u64,
    last_watch: u64,
    quiet_looks: u32,
    /// It was idle, and has not run anything since.
    fresh: bool,
    /// Since when it has been idle; `None`: it is not.
    idle_since: Option<u64>,
    /// The CPU time of this thread when it last went to sleep as sentinel; `None`: it did not.
    sentinel_since: Option<u64>,
}

/// The body of a worker's thread.
pub(crate) fn run(core: CoreRef, index: usize, lanes: [Deque<Entry>; 3], pin: Option<Pin>) {
    match &pin {
        Some(pin) if !super::cores::pin(pin.core()) => {
            let core = pin.core().id;
            tracing::warn!(worker = index, core, "the system refused to pin a worker");
        }
        Some(_) => {}
        // The thread that has built the runtime may be pinned.
        None => Mask::of_the_process().iter().for_each(Mask::apply),
    }
    let workers = core.workers.len();
    let local = Local::new(core, index, lanes);
    let entered = local.enter();
    let mut this = WorkerLoop {
        local: &local,
        watch: Watch::new(workers),
        trials: Trials::default(),
        until_look: 1,
        look_every: 1,
        entries: 0,
        last_look: 0,
        last_poll: 0,
        last_watch: 0,
        quiet_looks: 0,
        fresh: true,
        idle_since: None,
        sentinel_since: None,
    };
    this.main();
    shutdown::worker_stops(&local);
    drop(entered);
    // Before the worker says that it has left: its counts of the core go to the core.
    let core = local.core.clone();
    drop(local);
    shutdown::worker_leaves(&core);
}

impl WorkerLoop<'_> {
    fn main(&mut self) {
        while self.local.core.phase() < Phase::Stopping {
            if self.until_look == 0 {
                self.look_around();
            }
            match self.next_entry() {
                Some(entry) => self.run(entry),
                None => self.idle(),
            }
        }
    }

    fn next_entry(&mut self) -> Option<Entry> {
        let local = self.local;
        let own = match local.core.has_classes() {
            false => local.dequeue_normal(),
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
                local.steals() && (local.steal(&mut self.trials) || local.rescue(&mut self.watch));
            found.then(|| local.dequeue()).flatten()
        })
    }

    fn take_inbox(&mut self) -> Option<Entry> {
        let entry = self.local.take_inbox();
        if entry.is_some() {
            self.local.note_answer(&mut self.trials);
        }
        entry
    }

    fn run(&mut self, entry: Entry) {
        if self.fresh {
            self.fresh = false;
            self.sentinel_since = None;
            self.idle_since = None;
            self.trials.works();
            // On trial, the rest of what it has asked for may still come.
            if !self.trials.is_running() {
                self.local.withdraw();
            }
            self.local.call_sentinel();
        }
        self.until_look -= 1;
        self.entries += 1;
        // The first entry after a look is timed: so the color learns how long its turns are.
        if self.local.run_entry(entry, self.entries == 1) {
            self.until_look = 0;
        }
    }

    /// Time, timers, descriptors, inbox; and what is published.
    fn look_around(&mut self) {
        let now = self.local.now();
        let elapsed = now.saturating_sub(self.last_look);
        let per_entry = elapsed / u64::from(self.entries.max(1));
        self.look_every = match per_entry > SLOW_ENTRY_NANOS {
            true => 1,
            false => (2 * self.look_every).min(ENTRIES_PER_LOOK),
        };
        self.until_look = self.look_every;
        self.report_own_stall(elapsed);
        self.local.learn_entries(self.entries, elapsed);
        self.entries = 0;
        self.publish();
        self.judge_trial(now);
        self.local.hand_over();
        self.local.publicise();
        self.local.take_high();
        self.fire_timers(now);
        self.local.watch_tickets(now);
        // An idle worker does it, if there is one.
        let watches = self.local.steals() && !self.local.core.sleep.state.has_sentinel();
        if watches && now.saturating_sub(self.last_watch) >= self.watch_interval() {
            self.last_watch = now;
            self.local.rescue(&mut self.watch);
        }
        if now.saturating_sub(self.last_poll) >= POLL_INTERVAL {
            self.last_poll = now;
            self.park(Some(Duration::ZERO));
            let took = self.local.now().saturating_sub(now);
            self.local.sample(Sample::new(Measure::PollTime, 0, took));
            self.local.serve_attended(now);
        }
        if let Some(entry) = self.take_inbox() {
            self.local.queue_here(entry);
        }
        self.local.flush_samples_if_many();
        // What this took is nobody's.
        self.local.time_passes();
        self.last_look = self.local.now();
    }

    /// If one entry only was run since the last look, it took so long.
    fn report_own_stall(&self, elapsed: u64) {
        if self.entries == 1 {
            self.local.report_stall(self.local.index, elapsed, true);
        }
    }

    fn watch_interval(&self) -> u64 {
        self.local.core.settings.rules.steal_delay_nanos()
    }

    fn publish(&mut self) {
        let published = &self.local.shared().published;
        published.entry_nanos.store(self.local.entry_nanos.get(), Ordering::Relaxed);
        published.entry_traffic.store(self.local.entry_traffic.get(), Ordering::Relaxed);
        add(&published.progress, 1);
        // Not stuck: nobody has to stand in.
        self.local.shared().end_stand_in();
        // No event runs.
        published.site.store(std::ptr::null_mut(), Ordering::Relaxed);
    }

    fn judge_trial(&mut self, now: u64) {
        if self.trials.is_due(now) {
            let reading = self.local.core.reading(now);
            let surely = self.local.core.judge(self.local.index) == Verdict::Yes;
            self.local.withdraw();
            let judged = self.trials.judge(reading, surely);
            if let Judgement::Undone(victim) = judged {
                let pause = self.trials.paused_until();
                self.local.core.trials_paused_until.fetch_max(pause, Ordering::Relaxed);
                self.local.send_back(victim);
            }
        }
    }

    fn fire_timers(&self, now: u64) {
        crate::timer::fire(self.local, now);
    }

    /// One wait, or look, at the poller.
    fn park(&self, timeout: Option<Duration>) {
        self.local.polls.set(self.local.polls.get() + 1);
        add(&self.local.shared().counters.polls, 1);
        let mut polled = Ok(());
        self.local.guard(None, || {
            let mut cx = Cx::new(self.local);
            polled = lock(&self.local.shared().park).park(timeout, &mut cx);
        });
        self.local.time_passes();
        if let Err(error) = polled {
            self.local.report_poller(self.local.index, &error);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Nothing to run.
    fn idle(&mut self) {
        self.local.flush_samples();
        if self.entries > 0 {
            let elapsed = self.local.now().saturating_sub(self.last_look);
            self.report_own_stall(elapsed);
            self.local.learn_entries(self.entries, elapsed);
        }
        self.publish();
        self.local.private.iter().for_each(|private| private.shrink());
        let core = &self.local.core;
        let since = *self.idle_since.get_or_insert_with(|| self.local.now());
        let spun = !core.settings.rules.spin.is_zero() && self.spin(since);
        if !spun {
            // Its hook may post, so it comes before the worker says that it sleeps.
            self.local.rise();
            let look = self.local.watch_tickets(self.local.now());
            let look = look.and_then(|nanos| self.local.sleep_until_look(nanos));
            let look = look.map(Duration::from_nanos);
            self.local.announce();
            let timeout = self.time_to_sleep(look);
            if timeout != Some(Duration::ZERO) {
                add(&self.local.shared().counters.parks, 1);
            }
            self.park(timeout);
            self.local.end_watch();
        }
        self.local.rise();
        let now = self.local.now();
        if !spun {
            self.last_poll = now;
            self.trials.wakes(core.reading(now));
        }
        self.entries = 0;
        (self.until_look, self.look_every) = (1, 1);
        self.fresh = true;
        self.judge_trial(now);
        self.fire_timers(now);
        // The time that was spent here is nobody's.
        self.local.time_passes();
        self.last_look = self.local.now();
    }

    /// How long the worker, which has announced its sleep, may sleep; zero: not at all. `look`: until tickets are looked at
    /// again.
    fn time_to_sleep(&mut self, look: Option<Duration>) -> Option<Duration> {
        let core = &self.local.core;
        if core.phase() >= Phase::Stopping || !self.local.shared().has_nothing() {
            return Some(Duration::ZERO);
        }
        let now = self.local.now();
        self.trials.naps(core.reading(now));
        let timer = lock(&self.local.shared().timers)
            .plan_sleep()
            .map(|deadline| Duration::from_nanos(deadline.saturating_sub(now)));
        let others = self.local.next_timer_of_others();
        let others = others.map(|deadline| Duration::from_nanos(deadline.saturating_sub(now)));
        [timer, others, self.sentinel_delay(), look].into_iter().flatten().min()
    }

    /// If this worker is to stand sentinel, the time until its next look.
    fn sentinel_delay(&mut self) -> Option<Duration> {
        if !self.local.steals() {
            return None;
        }
        let me = self.local.index;
        let core = &self.local.core;
        let state = &core.sleep.state;
        if state.others_busy(me) {
            self.quiet_looks = 0;
        } else {
            self.quiet_looks = (self.quiet_looks + 1).min(QUIET_LOOKS);
            if self.quiet_looks == QUIET_LOOKS {
                self.sentinel_since = None;
                state.leave_post(me);
                if !state.others_busy(me) {
                    self.local.withdraw();
                    return None;
                }
                self.quiet_looks = 0;
            }
        }
        let delay = state.take_post(me).then(|| {
            add(&self.local.shared().counters.sentinel_looks, 1);
            core.settings.rules.steal_delay
        });
        let cpu = delay.and_then(|_| crate::clock::thread_cpu_nanos());
        if let (Some(since), Some(now)) = (self.sentinel_since, cpu) {
            // It has looked, found nothing, and sleeps on: that is the price of a sentinel.
            add(&self.local.shared().counters.sentinel_nanos, now.saturating_sub(since));
        }
        self.sentinel_since = cpu;
        if delay.is_none() {
            self.local.withdraw();
        }
        delay
    }

    /// Looks for work for as long as the user has paid for; true if there is some. To the others it is
    /// as good as idle meanwhile, so that it takes nothing, and posts to its own run queue only.
    fn spin(&mut self, since: u64) -> bool {
        let local = self.local;
        let core = &local.core;
        let (me, state) = (local.index, &core.sleep.state);
        let limit = saturating_nanos(core.settings.rules.spin);
        local.spin();
        for round in 0u64.. {
            if !self.local.shared().has_nothing() || core.phase() >= Phase::Stopping {
                return true;
            }
            if round.is_multiple_of(SPINS_PER_LOOK) {
                self.local.time_passes();
                let now = self.local.now();
                if now.saturating_sub(since) >= limit {
                    return false;
                }
                if self.local.steals() && self.local.sees_prey(&self.trials) {
                    return true;
                }
                if now.saturating_sub(self.last_poll) >= SPIN_POLL_INTERVAL {
                    self.last_poll = now;
                    self.fire_timers(now);
                    self.park(Some(Duration::ZERO));
                    // It has risen if something was posted.
                    if !local.is_asleep() {
                        if local.has_queued() {
                            return true;
                        }
                        local.spin();
                    }
                }
                if local.is_look_due(now) {
                    local.rise();
                    local.watch_tickets(now);
                    if local.has_queued() {
                        return true;
                    }
                    local.spin();
                }
                let watches = self.local.steals() && state.others_busy(me);
                if watches && now.saturating_sub(self.last_watch) >= self.watch_interval() {
                    self.last_watch = now;
                    self.trials.wakes(core.reading(now));
                    self.trials.naps(core.reading(now));
                    local.rise();
                    if self.local.rescue(&mut self.watch) {
                        return true;
                    }
                    local.spin();
                }
            }
            crate::sync::spin_loop();
        }
        true
    }
}

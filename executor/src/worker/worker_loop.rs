//! The loop of a worker; see the parent module.

use std::time::Duration;

use crossbeam_deque::Worker as Deque;

use super::cores::CoreId;
use super::entry::Entry;
use super::local::Local;
use super::shared::add;
use super::watch::Watch;
use crate::clock::saturating_nanos;
use crate::cx::Cx;
use crate::metrics::{Measure, Sample};
use crate::runtime::builder::StealPolicy;
use crate::runtime::core::{CoreRef, Phase};
use crate::runtime::shutdown;
use crate::sync::{Ordering, lock};

/// Run-queue entries between two looks at time, descriptors and inbox, at most. After a sleep it is one,
/// and doubles with every look that finds that entries are short.
const ENTRIES_PER_LOOK: u32 = 16;

/// The same, while entries take longer than this on average, in nanoseconds: one.
const SLOW_ENTRY_NANOS: u64 = 10_000;

/// Nanoseconds between two looks at the descriptors while there is work.
const POLL_INTERVAL: u64 = 100_000;

/// Nanoseconds between two looks at timers and descriptors while a worker spins.
const SPIN_POLL_INTERVAL: u64 = 10_000;

/// Looks of the sentinel that found nobody busy, after which it sleeps without limit.
const QUIET_LOOKS: u32 = 16;

struct WorkerLoop<'a> {
    local: &'a Local,
    watch: Watch,
    until_look: u32,
    look_every: u32,
    entries: u32,
    last_look: u64,
    last_poll: u64,
    last_watch: u64,
    posts_seen: (u32, u32),
    quiet_looks: u32,
    /// It was idle, and has not run anything since.
    fresh: bool,
}

/// The body of a worker's thread.
pub(crate) fn run(core: CoreRef, index: usize, deque: Deque<Entry>, pin: Option<CoreId>) {
    if let Some(id) = pin
        && !super::cores::pin(id)
    {
        tracing::warn!(worker = index, core = id.id, "the system refused to pin a worker");
    }
    let workers = core.workers.len();
    let local = Local::new(core, index, deque);
    let entered = local.enter();
    let mut this = WorkerLoop {
        local: &local,
        watch: Watch::new(workers),
        until_look: 1,
        look_every: 1,
        entries: 0,
        last_look: 0,
        last_poll: 0,
        last_watch: 0,
        posts_seen: (0, 0),
        quiet_looks: 0,
        fresh: true,
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
        local.deque.pop().or_else(|| local.take_inbox()).or_else(|| {
            let found = local.steals() && (local.steal() || local.rescue(&mut self.watch));
            found.then(|| local.deque.pop()).flatten()
        })
    }

    fn run(&mut self, entry: Entry) {
        if self.fresh {
            self.fresh = false;
            self.call_sentinel();
        }
        self.until_look -= 1;
        self.entries += 1;
        // The last entry before a look is timed: the figure stands for those that are not.
        if self.local.run_entry(entry, self.until_look == 0) {
            self.until_look = 0;
        }
    }

    /// This worker has found work after it had been idle. If nobody watches, an idle one shall.
    fn call_sentinel(&self) {
        let core = &self.local.core;
        if self.local.steals() && core.sleep.state.needs_sentinel() {
            core.sleep.notify_any(core, self.local.index + 1);
        }
    }

    /// Time, timers, descriptors, inbox; and what is published.
    fn look_around(&mut self) {
        let core = &self.local.core;
        let now = core.clock.now();
        let elapsed = now.saturating_sub(self.last_look);
        let per_entry = elapsed / u64::from(self.entries.max(1));
        self.look_every = match per_entry > SLOW_ENTRY_NANOS {
            true => 1,
            false => (2 * self.look_every).min(ENTRIES_PER_LOOK),
        };
        self.until_look = self.look_every;
        self.report_own_stall(elapsed);
        self.last_look = now;
        self.entries = 0;
        self.publish();
        self.fire_timers(now);
        if self.local.steals() && now.saturating_sub(self.last_watch) >= self.watch_interval() {
            self.last_watch = now;
            self.local.rescue(&mut self.watch);
        }
        if now.saturating_sub(self.last_poll) >= POLL_INTERVAL {
            self.last_poll = now;
            self.park(Some(Duration::ZERO));
            let took = core.clock.now().saturating_sub(now);
            self.local.sample(Sample::new(Measure::PollTime, 0, took));
        }
        if let Some(entry) = self.local.take_inbox() {
            self.local.deque.push(entry);
        }
        self.local.flush_samples_if_many();
    }

    /// If one entry only was run since the last look, it took so long.
    fn report_own_stall(&self, elapsed: u64) {
        if self.entries == 1 {
            self.local.report_stall(self.local.index, elapsed, true);
        }
    }

    fn watch_interval(&self) -> u64 {
        self.local.core.settings.steal_delay_nanos()
    }

    fn publish(&mut self) {
        let published = &self.local.shared().published;
        published.entry_nanos.store(self.local.entry_nanos.get(), Ordering::Relaxed);
        add(&published.progress, 1);
        let (posts, own) = (self.local.posts.get(), self.local.self_posts.get());
        let fresh = posts.wrapping_sub(self.posts_seen.0);
        if fresh >= 64 {
            let share = u64::from(own.wrapping_sub(self.posts_seen.1)) * 1000 / u64::from(fresh);
            published.self_posts.store(share as u32, Ordering::Relaxed);
            self.posts_seen = (posts, own);
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
        if let Err(error) = polled {
            tracing::error!(worker = self.local.index, %error, "the poller failed");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Nothing to run.
    fn idle(&mut self) {
        self.local.flush_samples();
        if self.entries > 0 {
            let elapsed = self.local.core.clock.now().saturating_sub(self.last_look);
            self.report_own_stall(elapsed);
        }
        self.publish();
        if self.spin() {
            // The time that was spun is nobody's.
            self.last_look = self.local.core.clock.now();
            self.entries = 0;
            return;
        }
        let me = self.local.index;
        let state = &self.local.core.sleep.state;
        state.announce(me);
        self.local.core.quiesce.worker_went_idle();
        let timeout = self.time_to_sleep();
        if timeout != Some(Duration::ZERO) {
            add(&self.local.shared().counters.parks, 1);
        }
        self.park(timeout);
        state.rise(me);
        let now = self.local.core.clock.now();
        (self.last_look, self.last_poll) = (now, now);
        self.entries = 0;
        (self.until_look, self.look_every) = (1, 1);
        self.fresh = true;
        self.fire_timers(now);
    }

    /// How long the worker, which has announced its sleep, may sleep; zero: not at all.
    fn time_to_sleep(&mut self) -> Option<Duration> {
        let core = &self.local.core;
        if core.phase() >= Phase::Stopping || !self.local.shared().has_nothing() {
            return Some(Duration::ZERO);
        }
        let now = core.clock.now();
        let timer = lock(&self.local.shared().timers)
            .plan_sleep()
            .map(|deadline| Duration::from_nanos(deadline.saturating_sub(now)));
        match (timer, self.sentinel_delay()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
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
                state.leave_post(me);
                if !state.others_busy(me) {
                    return None;
                }
                self.quiet_looks = 0;
            }
        }
        state.take_post(me).then(|| {
            add(&self.local.shared().counters.sentinel_looks, 1);
            core.settings.steal_delay
        })
    }

    /// Looks for work for as long as the user has paid for; true if there is some.
    fn spin(&mut self) -> bool {
        let limit = self.local.core.settings.spin;
        if limit.is_zero() {
            return false;
        }
        let core = self.local.core.clone();
        let eager = core.settings.steal_policy == StealPolicy::Eager;
        let start = core.clock.now();
        loop {
            let found = !self.local.shared().has_nothing()
                || core.phase() >= Phase::Stopping
                || (eager && core.workers.iter().any(|w| !w.has_nothing()));
            if found {
                return true;
            }
            let now = core.clock.now();
            if now.saturating_sub(start) >= saturating_nanos(limit) {
                return false;
            }
            if now.saturating_sub(self.last_poll) >= SPIN_POLL_INTERVAL {
                self.last_poll = now;
                self.publish();
                self.fire_timers(now);
                self.park(Some(Duration::ZERO));
            }
            if self.local.steals() && now.saturating_sub(self.last_watch) >= self.watch_interval() {
                self.last_watch = now;
                self.local.rescue(&mut self.watch);
            }
            crate::sync::spin_loop();
        }
    }
}

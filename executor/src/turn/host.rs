//! The host of a worker's scheduler: running, posting, and looking at descriptors.

use std::time::Duration;

use super::entry::{Entry, Job};
use super::local::Local;
use super::run::Stay;
use crate::color::held::Held;
use crate::cx::Cx;
use crate::metrics::{Measure, Ran, Sample};
use crate::sync::{lock, sleep, try_lock};
use crate::worker::figures::UNKNOWN;
use crate::worker::poller::Attention;
use crate::worker::work::Host;

/// The pause after a poller has failed, before it is polled again.
const PAUSE: Duration = Duration::from_millis(1);

impl Host for Local {
    type Work = Entry;

    #[inline]
    fn run(&self, entry: Entry, time_it: bool) -> bool {
        match entry.open() {
            Job::Color(held) => self.run_turn(held, time_it, Stay::Home),
            Job::Guest(held) => self.run_turn(held, time_it, Stay::Guest),
            Job::Event(event) => self.run_uncolored(event),
        }
    }

    fn discard(&self, entry: Entry) -> u64 {
        match entry.open() {
            Job::Event(event) => {
                self.discard_uncolored(event);
                1
            }
            Job::Color(held) | Job::Guest(held) => self.discard_color(held),
        }
    }

    fn hand_over(&self, worker: usize, entry: Entry, worth: u32) {
        self.core.inject(worker, entry, worth);
    }

    fn is_running(&self) -> bool {
        self.current.is_held() || self.steps.get().is_busy()
    }

    fn before_rest(&self) {
        self.put_memory_away();
        self.core.quiesce.worker_went_idle();
    }

    fn after_rest(&self) {
        self.take_memory_out();
    }

    fn park(&self, timeout: Option<Duration>) {
        let mut polled = Ok(());
        self.guard(None, || {
            let park = &self.seat.park;
            polled = Cx::with(self, |cx| lock(park).park(timeout, cx));
        });
        if let Err(error) = polled {
            self.report_poller(self.index(), &error);
            sleep(PAUSE);
        }
    }

    fn note_poll(&self, nanos: u64) {
        self.sample(Sample::new(Measure::PollTime, 0, nanos));
    }

    fn poll_for(&self, worker: usize) -> bool {
        let Some(mut park) = try_lock(&self.core.seats[worker].park) else { return false };
        self.guard(None, || {
            if let Err(error) = Cx::with(self, |cx| park.park(Some(Duration::ZERO), cx)) {
                self.report_poller(worker, &error);
            }
        });
        true
    }

    fn attend(&self, worker: usize, attention: Attention) {
        // This cannot deadlock: it is the worker's own poller, and the worker is not polling it.
        self.guard(None, || lock(&self.seat.park).attend(worker, attention));
    }

    fn fire_timers(&self, worker: usize, now: u64) {
        crate::timer::fire(self, worker, now);
    }

    fn next_timer(&self, worker: usize) -> Option<u64> {
        lock(&self.core.seats[worker].timers).next_deadline()
    }

    fn next_timer_before_sleep(&self) -> Option<u64> {
        lock(&self.seat.timers).plan_sleep()
    }

    fn look_after_waits(&self, now: u64) {
        self.watch_tickets(now);
    }

    fn look_before_sleep(&self, now: u64) -> Option<u64> {
        let nanos = self.watch_tickets(now)?;
        self.sleep_until_look(nanos)
    }

    fn ends_sleep(&self) {
        self.end_watch();
    }

    fn is_look_due(&self, now: u64) -> bool {
        Local::is_look_due(self, now)
    }

    fn report_running(&self, worker: usize, nanos: u64, ended: bool) {
        self.report_stall(worker, nanos, ended);
    }

    fn clear_event(&self) {
        self.seat.event.clear();
        self.events_at_look.set(self.events_run());
        self.parts.set(0);
    }

    fn traffic(&self) -> u64 {
        self.traffic.since_asked(self.events_run())
    }

    fn flush_figures(&self, all: bool) {
        self.flush_samples(all);
    }
}

impl Local {
    /// Stores a sample, unless nothing is measured.
    pub(crate) fn sample(&self, sample: Sample) {
        self.samples.keep(sample, &self.seat.histograms);
    }

    /// Stores the measurements of an event.
    pub(crate) fn sample_event(&self, ran: Ran) {
        self.samples.keep_event(ran, &self.seat.histograms);
    }

    /// Moves the stored samples to the histograms: all of them if `all` is set, otherwise only if
    /// there are many.
    pub(crate) fn flush_samples(&self, all: bool) {
        self.samples.flush(all, &self.seat.histograms);
    }

    /// Puts a held color that has something to run into the run queue where it belongs.
    pub(crate) fn schedule(&self, held: Held, worth: u32) {
        self.scheduler.schedule(self, Entry::color(held), worth);
    }

    /// Prepares for a post on this thread, perhaps by the worker's poller or timers. See
    /// [`Scheduler::rise_to_post`](crate::worker::scheduler::Scheduler::rise_to_post).
    #[inline]
    pub(crate) fn before_post(&self) {
        if self.scheduler.is_idle() {
            self.scheduler.rise_to_post(self);
        }
    }

    /// Reports that the poller of a worker fails. It is polled again, and may go on failing, so
    /// this is reported at most once a second.
    #[cold]
    fn report_poller(&self, worker: usize, error: &std::io::Error) {
        const AGAIN: u64 = 1_000_000_000;
        let (now, last) = (self.core.clock().now(), self.poller_reported.get());
        if last == 0 || now.saturating_sub(last) >= AGAIN {
            self.poller_reported.set(now.max(1));
            tracing::error!(worker, %error, "a worker's poller failed");
        }
    }

    /// Hands a color over to its home worker.
    pub(super) fn send_home(&self, home: usize, entry: Entry) {
        self.core.inject(home, entry, UNKNOWN);
    }
}

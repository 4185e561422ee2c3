//! The seam between the scheduler and what it schedules.
//!
//! A scheduler handles [`Work`]: one word that it puts into queues, takes out, and gives to its
//! [`Host`], which runs it. The scheduler knows neither colors nor events nor descriptors.
//! Everything that it asks is in these two traits, with static dispatch. Its tests schedule plain
//! numbers.

use std::time::Duration;

use dapple_colors::Priority;

use super::poller::Attention;

/// An entry that can be run, by one worker at a time. It owns what it stands for.
pub(crate) trait Work: Send + Sized {
    /// Returns the class, which chooses the lane in which the entry is queued.
    fn class(&self) -> Priority;
    /// Returns `true` if the entry is served before other work of its class, as other events wait
    /// until it has run; see `ready`.
    fn is_ready(&self) -> bool;
    /// Returns `true` if only the worker at [`home`](Self::home) may run the entry; see `affine`.
    /// If it has no home, that is the worker that has it.
    fn is_affine(&self) -> bool;
    /// Returns `true` if the entry is of the normal class, not ready, and not bound to a worker.
    fn is_plain(&self) -> bool;
    /// Returns the worker on which the entry stays where work does not move. `None` means that it
    /// may run anywhere.
    fn home(&self) -> Option<usize>;
    /// Returns the nanoseconds that another worker would gain by running the entry; 0 means "not
    /// known".
    fn worth(&self) -> u32;
    /// Marks the entry as taken from a stuck worker, to which it goes back.
    fn into_guest(self) -> Self;
    /// Updates the class of the entry, which may have changed while it was queued.
    fn sorted(self) -> Self;
}

/// The part of a runtime that runs a scheduler's work, on one worker's thread.
pub(crate) trait Host {
    type Work: Work;

    /// Runs an entry, and times it if `time_it` is set. Returns `true` if the entry took long, or
    /// may have.
    fn run(&self, work: Self::Work, time_it: bool) -> bool;

    /// Drops an entry unrun, and returns how many links of queues it has passed.
    fn discard(&self, work: Self::Work) -> u64;

    /// Hands an entry over to another worker, which may have exited already.
    fn hand_over(&self, worker: usize, work: Self::Work, worth: u32);

    /// Returns `true` if an event runs on this worker now, so that queued entries have to wait for
    /// it.
    fn is_running(&self) -> bool;

    /// Notes that the worker counts as idle from now on.
    fn before_rest(&self);

    /// Notes that the worker no longer counts as idle.
    fn after_rest(&self);

    /// Waits for descriptors, for at most `timeout`, and posts the events of those that are ready.
    /// With a timeout of zero it only looks at them; `None` means no limit.
    fn park(&self, timeout: Option<Duration>);

    /// Notes that a busy worker has looked at its descriptors, which took `nanos` nanoseconds.
    fn note_poll(&self, nanos: u64);

    /// Polls the descriptors of a stuck worker, and posts here what is ready. Returns `false` if
    /// that worker is in its poller itself, so it is not stuck.
    fn poll_for(&self, worker: usize) -> bool;

    /// Makes this worker's poller attend to that of another worker, or end that.
    fn attend(&self, worker: usize, attention: Attention);

    /// Posts the due timers of a worker: this one, or one that is stuck.
    fn fire_timers(&self, worker: usize, now: u64);

    /// Returns the time at which the first timer of a worker is due.
    fn next_timer(&self, worker: usize) -> Option<u64>;

    /// Returns the time at which this worker's first timer is due, for a worker that is about to
    /// sleep until then.
    fn next_timer_before_sleep(&self) -> Option<u64>;

    /// Watches waits that stand in no queue, if a look at them is due.
    fn look_after_waits(&self, now: u64);

    /// Watches these waits before a sleep. Returns the nanoseconds after which the worker has to
    /// look again; `None` means that it may sleep without a limit.
    fn look_before_sleep(&self, now: u64) -> Option<u64>;

    /// Notes that the sleep is over.
    fn ends_sleep(&self);

    /// Returns `true` if [`look_after_waits`](Self::look_after_waits) is due.
    fn is_look_due(&self, now: u64) -> bool;

    /// Notes that a worker has been in one event for `nanos` nanoseconds: the event that it runs
    /// now, or, if `ended` is set, the one that it ran last.
    fn report_running(&self, worker: usize, nanos: u64, ended: bool);

    /// Notes that the worker runs nothing now.
    fn clear_event(&self);

    /// Returns the thousandths of events that crossed from color to color here since the last call.
    fn traffic(&self) -> u64;

    /// Stores what has been measured. Unless `all` is set, it does so only if that is much.
    fn flush_figures(&self, all: bool);
}

//! The seam between the scheduler and what it schedules.
//!
//! A scheduler handles [`Work`]: one word that it puts into queues, takes out, and gives to its
//! [`Host`] to be run. It knows neither colors nor events nor descriptors; all that it asks is
//! here, with static dispatch. Its tests schedule plain numbers.

use std::time::Duration;

use dapple_colors::Priority;

use super::poller::Attention;

/// Something that can be run, by one worker at a time. It owns what it stands for.
pub(crate) trait Work: Send + Sized {
    /// Where it is queued.
    fn class(&self) -> Priority;
    /// Says whether it is served before other work of its class, as it keeps others waiting until
    /// it has run; see `ready`.
    fn is_ready(&self) -> bool;
    /// Says whether no other worker than that at [`home`](Self::home) may run it; see `affine`. Its
    /// home, if it says none, is the worker that has it.
    fn is_affine(&self) -> bool;
    /// Says whether it is of the normal class, not ready, and not bound to a worker.
    fn is_plain(&self) -> bool;
    /// The worker on which it stays where work does not move; `None`: it may run anywhere.
    fn home(&self) -> Option<usize>;
    /// Nanoseconds that another worker would gain by running it; 0: not known.
    fn worth(&self) -> u32;
    /// Marks it as taken from a worker that is stuck, to which it goes back.
    fn into_guest(self) -> Self;
    /// Brings its class up to date, which may have changed while it was queued.
    fn sorted(self) -> Self;
}

/// What runs a scheduler's work: one worker's part of a runtime, on that worker's thread.
pub(crate) trait Host {
    type Work: Work;

    /// Runs it. Timed, if `time_it`. True: it took long, or may have.
    fn run(&self, work: Self::Work, time_it: bool) -> bool;

    /// Drops it unrun, and says how many links of queues that has passed.
    fn discard(&self, work: Self::Work) -> u64;

    /// Hands work over to another worker, which may have left.
    fn hand_over(&self, worker: usize, work: Self::Work, worth: u32);

    /// Says whether an event runs on this worker now, which what is queued waits for.
    fn is_running(&self) -> bool;

    /// Is told that the worker counts as idle from now on.
    fn rests(&self);

    /// Is told that the worker no longer counts as idle.
    fn rises(&self);

    /// Waits for descriptors for so long, or only looks at them: one that is ready is posted.
    fn park(&self, timeout: Option<Duration>);

    /// A busy worker has looked at its descriptors, which took so many nanoseconds.
    fn has_looked(&self, nanos: u64);

    /// Looks at the descriptors of a worker that is stuck; what is ready is posted here. False:
    /// that worker is in its poller itself, so it is not stuck.
    fn poll_for(&self, worker: usize) -> bool;

    /// Has this worker's poller look at that of another one, or not any more.
    fn attend(&self, worker: usize, attention: Attention);

    /// Posts the timers of a worker that are due: its own, or those of one that is stuck.
    fn fire_timers(&self, worker: usize, now: u64);

    /// When the first timer of a worker is due.
    fn next_timer(&self, worker: usize) -> Option<u64>;

    /// When its own first timer is due, for a worker that is about to sleep until then.
    fn next_timer_before_sleep(&self) -> Option<u64>;

    /// Looks after what is not queued anywhere, if that is due.
    fn look_after_waits(&self, now: u64);

    /// Does so before a sleep. The answer: for how many nanoseconds the worker may sleep.
    fn look_before_sleep(&self, now: u64) -> Option<u64>;

    /// The sleep is over.
    fn ends_sleep(&self);

    /// Says whether [`look_after_waits`](Self::look_after_waits) is due.
    fn is_look_due(&self, now: u64) -> bool;

    /// A worker has been in what it runs now, or ran last if that has `ended`, for so many
    /// nanoseconds.
    fn is_in_one_event(&self, worker: usize, nanos: u64, ended: bool);

    /// Is told that the worker runs nothing now.
    fn is_between_events(&self);

    /// Thousandths of events that crossed from color to color here since this was last asked.
    fn traffic(&self) -> u64;

    /// Stores what has been measured; `all` of it, or only if that is much.
    fn flush_figures(&self, all: bool);
}

//! Reports to a simulation, from which it has names for everything that runs, and a history.
//!
//! Without the feature `sim`, and outside of a simulation, the functions do nothing.

use std::any::Any;

use dapple_colors::{Access, Context, Mode};

/// The kind of something that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sort {
    /// An event that a program has posted.
    Posted,
    /// Blocking work, which runs on a thread of the blocking pool.
    Blocking,
    /// A part of an event, or an event of the runtime, which drops something.
    Own,
}

/// A decision in the order of a domain, taken under its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DomainStep {
    /// The domain was made.
    Made(Mode),
    /// An event takes its ticket. The context is the highest that it may reach.
    Takes(Context),
    /// A sub-event begins, with its ticket.
    Begins,
    /// The event enters this context.
    Enters(Context),
    /// The event renounces all contexts above this one.
    Renounces(Context),
    /// The event reads the state.
    Reads,
    /// The event may change the state.
    Writes,
    /// The event goes from global to anon.
    Downgrades,
    /// The event is in global, and waits to be alone in the domain.
    WaitsToBeAlone,
    /// The event has released the state, and waits for its turn to commit. If a sub-event follows,
    /// the context is the highest that the sub-event may reach.
    Leaves(Option<Context>),
    /// It is the event's turn to commit, and its actions run now.
    Commits,
    /// The actions of the event have run.
    Committed,
    /// The event has panicked, or was dropped.
    Abandons,
    /// The end of an abandoned event poisons the domain.
    Poisons,
    /// An event that repairs the domain takes its ticket.
    Repairs,
    /// The event has deferred the action at this address.
    Defers(usize),
}

/// Something that the runtime does rarely. A storm of simulated programs must have reached each of
/// these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reached {
    /// The holder of a color came to an event that its poster had not linked yet.
    Gap,
    /// A worker has stolen from another one.
    Steal,
    /// A steal has paid, and was kept.
    TrialKept,
    /// A steal has not paid, and was undone.
    TrialUndone,
    /// A worker has handed over private work, as another worker had asked it to.
    PrivateHandedOver,
    /// The private work of a stuck worker was taken.
    PrivateTaken,
    /// Work that waited behind a stuck worker was taken.
    Rescue,
    /// A guest went back to its home.
    GuestSentHome,
    /// A timer was fired for another worker.
    TimerForAnother,
    /// An idle worker was woken to stand sentinel, as there was no sentinel.
    SentinelRelieved,
    /// A turn ended in the middle of the events that its color had posted to itself.
    OwnListCut,
    /// A set waited for a color that another set had taken.
    SetBehindSet,
    /// A color was raised to the class of a set that waited for it.
    ColorRaised,
}

impl Reached {
    /// All variants, in the order of their declaration.
    pub const ALL: &[Reached] = &[
        Reached::Gap,
        Reached::Steal,
        Reached::TrialKept,
        Reached::TrialUndone,
        Reached::PrivateHandedOver,
        Reached::PrivateTaken,
        Reached::Rescue,
        Reached::GuestSentHome,
        Reached::TimerForAnother,
        Reached::SentinelRelieved,
        Reached::OwnListCut,
        Reached::SetBehindSet,
        Reached::ColorRaised,
    ];

    /// Returns the name in a list for people.
    pub fn name(self) -> &'static str {
        match self {
            Reached::Gap => "gap",
            Reached::Steal => "steal",
            Reached::TrialKept => "trial kept",
            Reached::TrialUndone => "trial undone",
            Reached::PrivateHandedOver => "private work handed over",
            Reached::PrivateTaken => "private work taken",
            Reached::Rescue => "rescue",
            Reached::GuestSentHome => "guest sent home",
            Reached::TimerForAnother => "timer fired for another worker",
            Reached::SentinelRelieved => "sentinel relieved",
            Reached::OwnListCut => "own list cut by a turn's end",
            Reached::SetBehindSet => "set that waits for a set",
            Reached::ColorRaised => "raised color",
        }
    }
}

/// A disturbance that a simulation may make at random. It changes nothing but the time of
/// something.
#[cfg_attr(not(feature = "sim"), allow(dead_code, reason = "only simulations use it"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The timers of a color fire late.
    LateTimer,
    /// A wait ends before its time limit, and without a notification.
    EarlyWake,
}

impl Fault {
    /// All faults, in the order of their declaration.
    #[cfg(feature = "sim")]
    pub(crate) const ALL: [Fault; 2] = [Fault::LateTimer, Fault::EarlyWake];
}

/// Calls the simulation whose fiber runs on this thread.
macro_rules! tell {
    ($simulation:ident => $what:expr, else $($unused:expr),*) => {{
        #[cfg(feature = "sim")]
        super::seam::with(|$simulation| $what);
        #[cfg(not(feature = "sim"))]
        #[allow(clippy::let_unit_value, reason = "some reports have no arguments")]
        let _ = ($($unused,)*);
    }};
}

/// Reports that a color was made at this address, perhaps with a label, and perhaps bound to a
/// worker.
#[inline(always)]
pub(crate) fn color_made(
    address: usize,
    worker: Option<usize>,
    label: impl FnOnce() -> Option<std::sync::Arc<str>>,
) {
    tell!(s => s.color_made(address, worker, label()), else address, worker, label);
}

/// Reports that a worker of the runtime at this address begins.
///
/// The worker takes what has waited behind another one for `steal_delay` nanoseconds; with `None`
/// it takes nothing.
#[inline(always)]
pub(crate) fn worker_begins(runtime: usize, steal_delay: Option<u64>) {
    tell!(s => s.worker_begins(runtime, steal_delay), else runtime, steal_delay);
}

/// Reports that an event was made at this address. `site` is a `Site`.
#[inline(always)]
pub(crate) fn event_made(address: usize, site: &dyn Any, sort: impl FnOnce() -> Sort) {
    tell!(simulation => simulation.event_made(address, site, sort()), else address, site, sort);
}

/// Reports that the event at the address `from` has moved to the address `to`.
#[inline(always)]
pub(crate) fn event_moved(from: usize, to: usize) {
    tell!(simulation => simulation.event_moved(from, to), else from, to);
}

/// Reports that the event at `address` was posted to the color at the address `color`.
#[inline(always)]
pub(crate) fn event_posted(address: usize, color: usize, access: impl FnOnce() -> Access) {
    tell!(s => s.event_posted(address, color, access()), else address, color, access);
}

/// Reports that the event at this address begins.
#[inline(always)]
pub(crate) fn event_begins(address: usize) {
    tell!(simulation => simulation.event_begins(address), else address);
}

/// Reports that a part of the running event begins: a step or an action at this address.
#[inline(always)]
pub(crate) fn part_begins(address: usize) {
    tell!(simulation => simulation.part_begins(address), else address);
}

/// Reports that the event at this address is dropped without having run.
#[inline(always)]
pub(crate) fn event_dropped(address: usize) {
    tell!(simulation => simulation.event_dropped(address), else address);
}

/// Reports that an event has panicked.
#[inline(always)]
pub(crate) fn event_panicked(message: impl FnOnce() -> String) {
    tell!(simulation => simulation.event_panicked(message()), else message);
}

/// Reports that the order of the domain at this address has decided a step of an event.
#[inline(always)]
pub(crate) fn domain_decides(address: usize, ticket: u64, step: impl FnOnce() -> DomainStep) {
    tell!(s => s.domain_decides(address, ticket, step()), else address, ticket, step);
}

/// Reports that something rare has happened.
#[inline(always)]
pub(crate) fn reached(what: Reached) {
    tell!(simulation => simulation.reached(what), else what);
}

/// Reports that something rare has happened, if `cond` returns `true`.
#[inline(always)]
pub(crate) fn reached_if(what: Reached, cond: impl FnOnce() -> bool) {
    tell!(s => if cond() { s.reached(what) }, else what, cond);
}

/// Reports that the call that posted an event is over. A simulation does not pause the caller here.
#[inline(always)]
pub(crate) fn posted() {
    tell!(s => s.posted(), else);
}

/// Returns the time at which a timer of the color at this address fires: its deadline, or later, in
/// nanoseconds.
///
/// For the timers of one color, later deadlines give later times.
#[inline(always)]
pub(crate) fn late(color: usize, deadline: u64) -> u64 {
    #[cfg(feature = "sim")]
    return super::seam::with(|s| s.late(color, deadline)).unwrap_or(deadline);
    #[cfg(not(feature = "sim"))]
    {
        let _ = color;
        deadline
    }
}

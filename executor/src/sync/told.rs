//! What a simulation is told, so that it has names for what runs, and a history of it. Without the
//! feature `sim`, and outside of a simulation, nothing is done.

use std::any::Any;

use dapple_colors::{Access, Context, Mode};

/// What something that runs is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sort {
    /// An event that somebody has posted.
    Posted,
    /// Blocking work, which runs on a thread of its own.
    Blocking,
    /// A part of an event, or the runtime's own: it drops something.
    Own,
}

/// What has been decided in the order of a domain, under its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DomainStep {
    /// The domain was made.
    Made(Mode),
    /// An event has its ticket, and may go so high.
    Takes(Context),
    /// It is a sub-event, and has its ticket.
    Begins,
    /// It is in this context from now on.
    Enters(Context),
    /// It goes no higher than this from now on.
    Renounces(Context),
    /// It looks at the state.
    Reads,
    /// It may change the state.
    Writes,
    /// It goes from global to anon.
    Downgrades,
    /// It is in global, and waits to be alone.
    WaitsToBeAlone,
    /// It has left the state, and waits for its turn; a sub-event that follows goes so high.
    Leaves(Option<Context>),
    /// It is its turn: its actions run now.
    Commits,
    /// They have run.
    Committed,
    /// It has panicked, or was dropped.
    Abandons,
    /// That poisons the domain.
    Poisons,
    /// It repairs the domain, and has its ticket.
    Repairs,
    /// It has deferred the action that stands at this address.
    Defers(usize),
}

/// What the runtime does seldom, and a storm of programs has to have reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reached {
    /// The holder of a color came to an event that its poster had not linked yet.
    Gap,
    /// A worker has stolen.
    Steal,
    /// A steal has paid.
    TrialKept,
    /// It has not, and was undone.
    TrialUndone,
    /// A worker that was asked has handed over what it kept to itself.
    PrivateHandedOver,
    /// What a stuck worker kept to itself was taken.
    PrivateTaken,
    /// What waited behind a stuck worker was taken.
    Rescue,
    /// A color that was taken so went back.
    GuestSentHome,
    /// A timer was fired for another worker.
    TimerForAnother,
    /// Somebody was asked to stand sentinel, as nobody did.
    SentinelRelieved,
    /// A turn ended in the middle of what its color had kept to itself.
    OwnListCut,
    /// A set waited for a color that another set had.
    SetBehindSet,
    /// A color was raised to the class of a set that waited for it.
    ColorRaised,
}

impl Reached {
    /// All of them.
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

    /// Its name in a list.
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

/// Something that may go wrong by chance, in time only.
#[cfg_attr(not(feature = "sim"), allow(dead_code, reason = "a simulation makes them"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The timers of a color fire late.
    LateTimer,
    /// A wait ends that nobody has ended, and before its time.
    EarlyWake,
}

impl Fault {
    /// All of them, in order.
    #[cfg(feature = "sim")]
    pub(crate) const ALL: [Fault; 2] = [Fault::LateTimer, Fault::EarlyWake];
}

/// Calls the simulation whose fiber runs here.
macro_rules! tell {
    ($simulation:ident => $what:expr, else $($unused:expr),*) => {{
        #[cfg(feature = "sim")]
        super::seam::with(|$simulation| $what);
        #[cfg(not(feature = "sim"))]
        #[allow(clippy::let_unit_value, reason = "some tell nothing but that they are here")]
        let _ = ($($unused,)*);
    }};
}

/// A color was made at this address, perhaps bound to this worker.
#[inline(always)]
pub(crate) fn color_made(
    address: usize,
    worker: Option<usize>,
    label: impl FnOnce() -> Option<std::sync::Arc<str>>,
) {
    tell!(s => s.color_made(address, worker, label()), else address, worker, label);
}

/// A worker begins, of the runtime at this address. What waits behind another one for so many
/// nanoseconds is taken by this one; `None`: nothing is.
#[inline(always)]
pub(crate) fn worker_begins(runtime: usize, steal_delay: Option<u64>) {
    tell!(s => s.worker_begins(runtime, steal_delay), else runtime, steal_delay);
}

/// An event was made at this address, at this `Site`.
#[inline(always)]
pub(crate) fn event_made(address: usize, site: &dyn Any, sort: impl FnOnce() -> Sort) {
    tell!(simulation => simulation.event_made(address, site, sort()), else address, site, sort);
}

/// The event at this address now stands at another one.
#[inline(always)]
pub(crate) fn event_moved(from: usize, to: usize) {
    tell!(simulation => simulation.event_moved(from, to), else from, to);
}

/// The event at this address goes to the color at that one.
#[inline(always)]
pub(crate) fn event_posted(address: usize, color: usize, access: impl FnOnce() -> Access) {
    tell!(s => s.event_posted(address, color, access()), else address, color, access);
}

/// The event at this address begins.
#[inline(always)]
pub(crate) fn event_begins(address: usize) {
    tell!(simulation => simulation.event_begins(address), else address);
}

/// A part of the event that runs begins: a step, or an action, which stands at this address.
#[inline(always)]
pub(crate) fn part_begins(address: usize) {
    tell!(simulation => simulation.part_begins(address), else address);
}

/// The event at this address is dropped unrun.
#[inline(always)]
pub(crate) fn event_dropped(address: usize) {
    tell!(simulation => simulation.event_dropped(address), else address);
}

/// An event has panicked.
#[inline(always)]
pub(crate) fn event_panicked(message: impl FnOnce() -> String) {
    tell!(simulation => simulation.event_panicked(message()), else message);
}

/// The order of the domain at this address has decided this of an event.
#[inline(always)]
pub(crate) fn domain_decides(address: usize, ticket: u64, step: impl FnOnce() -> DomainStep) {
    tell!(s => s.domain_decides(address, ticket, step()), else address, ticket, step);
}

/// Something that is seldom has been reached.
#[inline(always)]
pub(crate) fn reached(what: Reached) {
    tell!(simulation => simulation.reached(what), else what);
}

/// That has been reached, if `cond` says so.
#[inline(always)]
pub(crate) fn reached_if(what: Reached, cond: impl FnOnce() -> bool) {
    tell!(s => if cond() { s.reached(what) }, else what, cond);
}

/// The call that has posted an event is over; nobody pauses here.
#[inline(always)]
pub(crate) fn posted() {
    tell!(s => s.posted(), else);
}

/// When a timer of the color at this address fires: at its deadline, or later. For all timers of a
/// color, later deadlines give later times.
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

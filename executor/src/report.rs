//! What the hooks of a runtime are told: panics, stalls, tickets that do not commit.

use crate::site::Site;
use std::any::Any;
use std::time::Duration;

use dapple_colors::{Doing, Ticket};

/// A panic of a callback, as the hook of
/// [`Builder::on_panic`](crate::Builder::on_panic) gets it.
#[non_exhaustive]
pub struct PanicReport<'a> {
    /// What the callback panicked with.
    pub payload: &'a (dyn Any + Send),
    /// Where the callback was posted; for the drop of a value of a [`Colored`](crate::Colored),
    /// where that was made; `None` if it was no callback that panicked, but the drop of something
    /// at the end of the runtime.
    pub site: Option<Site>,
    /// The label of its color, if it has one.
    pub label: Option<&'a str>,
}

impl PanicReport<'_> {
    /// The message, if it is text, as that of `panic!` is.
    pub fn message(&self) -> Option<&str> {
        let text = self.payload.downcast_ref::<&'static str>().copied();
        text.or_else(|| self.payload.downcast_ref::<String>().map(String::as_str))
    }
}

impl std::fmt::Debug for PanicReport<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PanicReport")
            .field("message", &self.message())
            .field("site", &self.site)
            .field("label", &self.label)
            .finish()
    }
}

/// An event that runs for longer than it should, as the hook of
/// [`Builder::on_stall`](crate::Builder::on_stall) gets it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StallReport<'a> {
    /// The worker that is in it, counted from 0.
    pub worker: usize,
    /// Where the event was posted; for the drop of a value of a [`Colored`](crate::Colored), where
    /// that was made.
    pub site: Site,
    /// The label of its color, if it has one.
    pub label: Option<&'a str>,
    /// For how long the worker has not looked at the clock, at least. It does so behind each event
    /// that is known to be long, and behind some of those that are not.
    pub running: Duration,
    /// Whether it has ended. A single worker learns of its own stall only then.
    pub ended: bool,
    /// How many events have run in that time, if it has ended, with drops of values, steps of
    /// domains and deferred actions each as one. If there are several, `site` names the last that
    /// is no drop, or the first if all are, and each may be the one that has taken long.
    pub events: Option<u64>,
}

/// A line for people.
impl std::fmt::Display for StallReport<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (label, millis) = (self.label.unwrap_or("none"), self.running.as_millis());
        write!(f, "{}: an event (label: {label}) ", self.site)?;
        match self.events {
            None => write!(f, "runs, and its worker has looked at nothing else for {millis} ms"),
            Some(0 | 1) => write!(f, "took {millis} ms"),
            Some(n) => write!(f, "and {} more that ran with it took {millis} ms", n - 1),
        }
    }
}

/// A ticket that has not committed for longer than it should, and that all later ones of its domain
/// wait for, as the hook of [`Builder::on_ticket_stall`](crate::Builder::on_ticket_stall) gets it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TicketStall<'a> {
    /// The ticket.
    pub ticket: Ticket,
    /// What its event is about.
    pub doing: Doing,
    /// Where the event was posted.
    pub site: Site,
    /// The label of its domain, if it has one.
    pub label: Option<&'a str>,
    /// For how long it has been the oldest one, at least.
    pub waiting: Duration,
    /// How many events of the domain have not committed.
    pub uncommitted: usize,
}

/// A line for people.
impl std::fmt::Display for TicketStall<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (label, millis) = (self.label.unwrap_or("none"), self.waiting.as_millis());
        let TicketStall { site, ticket, doing, uncommitted, .. } = self;
        write!(f, "{site}: ticket {ticket} (domain: {label}), {doing}, has not committed for")?;
        write!(f, " {millis} ms,")?;
        write!(f, " and {} wait for it", uncommitted.saturating_sub(1))
    }
}

/// Says whether what is logged on this thread goes to a subscriber of tracing. If not, what a
/// person should know is [written](tell) to standard error.
pub(crate) fn has_subscriber() -> bool {
    tracing::dispatcher::get_default(|to| !to.is::<tracing::subscriber::NoSubscriber>())
}

/// Writes a line to standard error, if that can be written to. In a simulation what takes long is
/// paused, as a rule, and nobody is to read of that.
pub(crate) fn tell(what: &impl std::fmt::Display) {
    use std::io::Write;
    if crate::sync::is_simulated() {
        return;
    }
    // The end of the process that reads a log must not end a worker.
    drop(writeln!(std::io::stderr(), "dapple: {what}"));
}

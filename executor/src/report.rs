//! The reports that a runtime passes to its hooks: panics, stalls, and tickets that do not commit.

use crate::site::Site;
use std::any::Any;
use std::time::Duration;

use dapple_colors::{Doing, Ticket};

/// A panic of a callback, as it is passed to the hook of
/// [`Builder::on_panic`](crate::Builder::on_panic).
#[non_exhaustive]
pub struct PanicReport<'a> {
    /// The payload of the panic.
    pub payload: &'a (dyn Any + Send),
    /// The site where the callback was posted, or, for the drop of a value of a
    /// [`Colored`](crate::Colored), where that was made. `None` if the drop of something else
    /// panicked at the end of the runtime.
    pub site: Option<Site>,
    /// The label of the callback's color, if it has one.
    pub label: Option<&'a str>,
}

impl PanicReport<'_> {
    /// Returns the message if the payload is text, as that of `panic!` is.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// let (tx, rx) = mpsc::channel();
    /// let rt = dapple::Runtime::builder()
    ///     .on_panic(move |report| {
    ///         let message = report.message().unwrap_or("not a text");
    ///         let site = report.site.expect("a callback has a site");
    ///         tx.send(format!("{message} (posted in line {})", site.line())).unwrap();
    ///     })
    ///     .build()?;
    /// let line = line!() + 1;
    /// rt.handle().post_default(|_| panic!("page {} is missing", 7));
    /// assert_eq!(rx.recv().unwrap(), format!("page 7 is missing (posted in line {line})"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

/// An event that runs too long, as it is passed to the hook of
/// [`Builder::on_stall`](crate::Builder::on_stall).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StallReport<'a> {
    /// The number of the worker that runs the event, counted from 0.
    pub worker: usize,
    /// The site where the event was posted, or, for the drop of a value of a
    /// [`Colored`](crate::Colored), where that was made.
    pub site: Site,
    /// The label of the event's color, if it has one.
    pub label: Option<&'a str>,
    /// The time since the worker last looked at the clock, at least. It does so after each event
    /// that is known to be long, and after some of the others.
    pub running: Duration,
    /// Whether the event has ended. A single worker notices its own stall only then.
    pub ended: bool,
    /// The number of events that have run in that time, if the event has ended.
    ///
    /// The drop of a value, a step in a domain and a deferred action count as one event each. If
    /// there are several, any of them may be the one that took long, and `site` names the last one
    /// that is not a drop, or the first if all are drops.
    pub events: Option<u64>,
}

/// Writes the report as one line for people.
impl std::fmt::Display for StallReport<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (label, millis) = (self.label.unwrap_or("none"), self.running.as_millis());
        write!(f, "{}: an event (label: {label}) ", self.site)?;
        match self.events {
            None => {
                write!(f, "has been running for {millis} ms, and its worker has done nothing else")
            }
            Some(0 | 1) => write!(f, "took {millis} ms"),
            Some(n) => write!(f, "and {} more that ran with it took {millis} ms", n - 1),
        }
    }
}

/// A ticket that has not committed for too long, while all later tickets of its domain wait for it.
///
/// It is passed to the hook of [`Builder::on_ticket_stall`](crate::Builder::on_ticket_stall).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TicketStall<'a> {
    /// The ticket that has not committed.
    pub ticket: Ticket,
    /// What the event of the ticket is doing.
    pub doing: Doing,
    /// The site where the event was posted.
    pub site: Site,
    /// The label of its domain, if it has one.
    pub label: Option<&'a str>,
    /// The time for which the ticket has been the oldest of its domain, at least.
    pub waiting: Duration,
    /// The number of events of the domain that have not committed, this one included.
    pub uncommitted: usize,
}

/// Writes the report as one line for people.
impl std::fmt::Display for TicketStall<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (label, millis) = (self.label.unwrap_or("none"), self.waiting.as_millis());
        let TicketStall { site, ticket, doing, uncommitted, .. } = self;
        write!(f, "{site}: ticket {ticket} (domain: {label}), {doing}, has not committed for")?;
        write!(f, " {millis} ms,")?;
        write!(f, " and {} other events wait for it", uncommitted.saturating_sub(1))
    }
}

/// Returns `true` if a subscriber of `tracing` gets what is logged on this thread. If none does,
/// what a person should know is [written](tell) to standard error.
pub(crate) fn has_subscriber() -> bool {
    tracing::dispatcher::get_default(|to| !to.is::<tracing::subscriber::NoSubscriber>())
}

/// Writes a line to standard error, and ignores a failure. In a simulation nothing is written:
/// there, long events are usually pauses that the simulation made, and nobody should read of those.
pub(crate) fn tell(what: &impl std::fmt::Display) {
    use std::io::Write;
    if crate::sync::is_simulated() {
        return;
    }
    // The end of the process that reads the log must not end a worker.
    drop(writeln!(std::io::stderr(), "dapple: {what}"));
}

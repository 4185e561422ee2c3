//! The values that the order returns: tickets, decisions and reports.

use std::fmt;

use crate::Context;

/// The place of an event in the order of its domain, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

impl Ticket {
    /// Returns the number of the ticket.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Returns the ticket with this number, which came from [`number`](Self::number).
    pub fn from_number(number: u64) -> Self {
        Ticket(number)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the caller has to do next.
#[must_use = "what the order hands out is not handed out again"]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Next<W> {
    /// The event is in `context` now, and goes on with `with`.
    ///
    /// In anon it reads the version that is current at this moment. In none it is a sub-event,
    /// whose ticket is new.
    Run {
        /// The ticket of the event.
        ticket: Ticket,
        /// The context that the event is in now.
        context: Context,
        /// What the event goes on with.
        with: W,
    },
    /// Poison covers the event: drop `with`.
    ///
    /// The event keeps its place until it is [abandoned](super::Order::abandon). A sub-event
    /// (`ticket` is `None`) gets no place, so it is not abandoned.
    Skip {
        /// The ticket of the event, or `None` for a sub-event.
        ticket: Option<Ticket>,
        /// What the event would have gone on with.
        with: W,
    },
    /// The event is ready and all earlier ones have committed: run its deferred actions now, or
    /// drop them if `covered`.
    ///
    /// Call [`Order::committed`](super::Order::committed) afterwards. Until then no other event
    /// commits.
    Commit {
        /// The ticket of the event.
        ticket: Ticket,
        /// Whether poison covers the event, so that its deferred actions are dropped.
        covered: bool,
    },
    /// There is room for an event again.
    Room {
        /// The value that was passed to [`Order::wait_for_room`](super::Order::wait_for_room).
        with: W,
    },
    /// Nothing to do yet: the order has only moved its gates by a bounded number of slots. Ask
    /// again.
    Moved,
}

/// The outcome of an event that was abandoned.
#[must_use = "an abandoned event may leave a state that nobody should see"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Abandoned {
    /// The event was in this context, and does not poison the domain.
    Left(Context),
    /// The event was in global, and poisons the domain for later tickets, until an event repairs
    /// the state.
    Poisons,
}

/// The oldest event that has not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Oldest {
    /// The ticket of the event.
    pub ticket: Ticket,
    /// What the event does or waits for.
    pub doing: Doing,
}

/// What an uncommitted event does or waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doing {
    /// The event is in this context.
    In(Context),
    /// The event waits to enter this context.
    WaitsFor(Context),
    /// The event waits to be alone.
    WaitsToBeAlone,
    /// The event commits, or has ended and waits for its commit.
    Commits,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doing::In(context) => write!(f, "in {context}"),
            Doing::WaitsFor(context) => write!(f, "waits for {context}"),
            Doing::WaitsToBeAlone => f.write_str("waits to be alone"),
            Doing::Commits => f.write_str("commits"),
        }
    }
}

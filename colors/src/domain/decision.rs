//! What the order hands out, and what it tells: plain values.

use std::fmt;

use crate::Context;

/// The place of an event in the order of its domain; counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

impl Ticket {
    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The ticket of a number, as [`number`](Self::number) gave it.
    pub fn from_number(number: u64) -> Self {
        Ticket(number)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is to be done next.
#[must_use = "what the order hands out is not handed out again"]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Next<W> {
    /// The event is in this context now; it goes on with `with`. In anon it reads what is the
    /// current version at this moment. In none it is a sub-event, whose ticket is new.
    Run {
        /// Whose turn it is.
        ticket: Ticket,
        /// Where it is.
        context: Context,
        /// How it goes on.
        with: W,
    },
    /// Poison covers the event: how it would have gone on is dropped. Its place stays until it is
    /// [abandoned](super::Order::abandon), unless it was a sub-event (no ticket), which has got no
    /// place.
    Skip {
        /// Whose turn it would have been.
        ticket: Option<Ticket>,
        /// How it would have gone on.
        with: W,
    },
    /// All earlier events have committed, and this one is ready: what it deferred runs now, or is
    /// dropped if poison covers it. Then [`Order::committed`](super::Order::committed) is to be
    /// called; until then no other event commits.
    Commit {
        /// Whose turn it is.
        ticket: Ticket,
        /// Whether what the event deferred is to be dropped.
        covered: bool,
    },
    /// There is room again for an event.
    Room {
        /// What waited for room.
        with: W,
    },
    /// Nothing, but it took a while to find out, and there may be more.
    Moved,
}

/// What an event that was abandoned leaves behind.
#[must_use = "an abandoned event may leave a state that nobody should see"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Abandoned {
    /// It was in this context, and poisons nothing.
    Left(Context),
    /// It was in global, and poisons the domain from now on.
    Poisons,
}

/// The oldest event that has not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Oldest {
    /// Its ticket.
    pub ticket: Ticket,
    /// What the event is about to do.
    pub doing: Doing,
}

/// What an uncommitted event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doing {
    /// The event is in this context.
    In(Context),
    /// The event waits to enter this context.
    WaitsFor(Context),
    /// The event waits to be alone.
    WaitsToBeAlone,
    /// The event commits, or is about to.
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

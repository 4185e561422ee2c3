//! Attempts to read or write in one direction of a stream for tasks, and whether the next one may
//! succeed.
//!
//! The system reports edges. An attempt remembers how many edges had come when it began. If the
//! attempt would block and no edge has come since, the next attempt waits for an edge. If one has
//! come, the next attempt begins at once, because that edge may have reported just what this
//! attempt did not find. So no edge is lost between the system's `WouldBlock` and the storing of
//! the waker.
//!
//! An attempt that moves fewer bytes than it could counts as one that would block (epoll(7),
//! questions and answers), unless a short read [proves nothing](Trust). A read stops at a byte that
//! the peer has marked as urgent. An end that was reported together with bytes is not reported
//! again (N11). Once a stream is in doubt, it stays in doubt, as a connection in callback style
//! does.

use crate::readiness::Trust;

/// The state of one direction; see the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attempts {
    hope: Hope,
    trust: Trust,
    edges: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Hope {
    /// An attempt may succeed.
    Some,
    /// An attempt would block until an edge comes.
    Waits,
    /// No further edge will come, so each attempt is made and reports what it finds.
    Last,
}

/// An attempt that has begun.
#[must_use = "what an attempt found has to be told"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    /// The number of edges that had come when the attempt began.
    edges: u64,
}

/// The error for an attempt that has found nothing when no further edge will come.
#[derive(Debug)]
pub(super) struct NoMoreEdges;

impl Attempts {
    pub(super) fn new(trust: Trust) -> Self {
        Attempts { hope: Hope::Some, trust, edges: 0 }
    }

    /// Begins an attempt. Returns `None` if it would block until the next edge.
    pub(super) fn begin(&self) -> Option<Attempt> {
        (self.hope != Hope::Waits).then_some(Attempt { edges: self.edges })
    }

    /// Records an edge. After an edge that raises doubt, no short read is trusted.
    pub(super) fn edge(&mut self, trust: Trust) {
        if trust == Trust::Doubt {
            self.trust = Trust::Doubt;
        }
        if self.hope == Hope::Waits {
            self.hope = Hope::Some;
        }
        self.edges += 1;
    }

    /// Records that the reactor has ended.
    pub(super) fn end(&mut self) {
        self.hope = Hope::Last;
    }

    /// Returns `true` if the reactor has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.hope == Hope::Last
    }

    /// Records that an attempt has found nothing.
    ///
    /// # Errors
    ///
    /// Returns `NoMoreEdges` if the reactor has ended, so that there is nothing to wait for.
    pub(super) fn found_nothing(&mut self, attempt: Attempt) -> Result<(), NoMoreEdges> {
        match self.hope {
            Hope::Last => return Err(NoMoreEdges),
            _ if self.edges == attempt.edges => self.hope = Hope::Waits,
            _ => {}
        }
        Ok(())
    }

    /// Records that an attempt has moved some bytes, and fewer than it could.
    pub(super) fn fell_short(&mut self, attempt: Attempt) {
        let is_current = self.edges == attempt.edges;
        if self.hope == Hope::Some && self.trust == Trust::Proof && is_current {
            self.hope = Hope::Waits;
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "attempts_tests.rs"]
mod tests;

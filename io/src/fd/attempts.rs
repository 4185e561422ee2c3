//! Whether trying may help: what a stream for tasks knows of one direction of its socket.
//!
//! The system tells edges. An attempt remembers how many there were when it began; if it would
//! block, the next one waits for an edge, but only if none has come since: otherwise that edge may
//! have been of just what the attempt did not find. So no edge is lost between the system's "not
//! now" and the waker.
//!
//! An attempt that moves fewer bytes than it could is as good as one that would block (epoll(7),
//! questions and answers), unless a short read [proves nothing](Trust): it stops at a byte that the
//! peer has marked as urgent, and an end that was announced together with bytes is not announced
//! again (N11). Once in doubt, a stream stays so, as a connection does.

use crate::reactor::Trust;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attempts {
    hope: Hope,
    trust: Trust,
    edges: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Hope {
    /// An attempt may bring something.
    Some,
    /// It would block, until an edge comes.
    Waits,
    /// No edge will come any more, so each attempt tells what there is.
    Last,
}

/// An attempt that has begun.
#[must_use = "what an attempt found has to be told"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    /// How many edges had come.
    edges: u64,
}

/// No edge will come any more.
#[derive(Debug)]
pub(super) struct NoMoreEdges;

impl Attempts {
    pub(super) fn new(trust: Trust) -> Self {
        Attempts { hope: Hope::Some, trust, edges: 0 }
    }

    /// Begins an attempt; `None`: there is nothing to be had before the next edge.
    pub(super) fn begin(&self) -> Option<Attempt> {
        (self.hope != Hope::Waits).then_some(Attempt { edges: self.edges })
    }

    /// The system has told an edge. From one that brings doubt on, no short read is trusted.
    pub(super) fn edge(&mut self, trust: Trust) {
        if trust == Trust::Doubt {
            self.trust = Trust::Doubt;
        }
        if self.hope == Hope::Waits {
            self.hope = Hope::Some;
        }
        self.edges += 1;
    }

    /// The reactor has ended.
    pub(super) fn end(&mut self) {
        self.hope = Hope::Last;
    }

    /// Says whether the reactor has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.hope == Hope::Last
    }

    /// The attempt found nothing.
    ///
    /// # Errors
    ///
    /// When there is nothing to wait for.
    pub(super) fn found_nothing(&mut self, attempt: Attempt) -> Result<(), NoMoreEdges> {
        match self.hope {
            Hope::Last => return Err(NoMoreEdges),
            _ if self.edges == attempt.edges => self.hope = Hope::Waits,
            _ => {}
        }
        Ok(())
    }

    /// The attempt moved some bytes, and fewer than it could.
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

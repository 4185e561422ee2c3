//! The state of the two directions of a socket.
//!
//! The system reports edges, so this file remembers them. A read that returns fewer bytes than it
//! has room for has drained the socket, with three exceptions (N11): a read stops at a byte that
//! the peer has marked as urgent, an announced end is still to be read, and a socket other than TCP
//! proves nothing. A write that would block has filled the socket.

use std::time::Instant;

use super::buffer::{Filled, Flushed};
use crate::readiness::{Readiness, Trust};

/// The state of the direction from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FromPeer {
    /// A read would return nothing, until the system reports an edge.
    Quiet(Trust),
    /// A read may return something.
    Ready(Trust),
    /// The connection is in error. Bytes that the peer sent before may still be read.
    Failing,
    /// The connection is in error, and no read reports it.
    Failed,
    /// The end has been read. The protocol has not been told.
    Ending,
    /// The end has been read, and the connection is in error. The protocol has been told of
    /// neither.
    EndingFailed,
    /// The end has been read, and the protocol has been told.
    Ended,
}

/// The state of the direction to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ToPeer {
    /// No output waits.
    Free,
    /// A write may take something. Output has waited without progress since this time.
    Waits(Instant),
    /// The socket is full, until the system reports an edge. Output has waited without progress
    /// since this time.
    Full(Instant),
}

impl FromPeer {
    pub(super) fn is_ready(self) -> bool {
        matches!(self, FromPeer::Ready(_) | FromPeer::Failing)
    }

    /// Returns `true` if nothing more can arrive.
    pub(super) fn is_over(self) -> bool {
        match self {
            FromPeer::Quiet(_) | FromPeer::Ready(_) | FromPeer::Failing => false,
            FromPeer::Failed | FromPeer::Ending | FromPeer::EndingFailed | FromPeer::Ended => true,
        }
    }

    /// Returns `true` if the protocol is to be told of the end, and marks it as told.
    pub(super) fn take_end(&mut self) -> bool {
        let told = match *self {
            FromPeer::Ending => FromPeer::Ended,
            FromPeer::EndingFailed => FromPeer::Failed,
            _ => return false,
        };
        *self = told;
        true
    }

    /// Records that a read may return something again.
    pub(super) fn mark_ready(&mut self) {
        if let FromPeer::Quiet(trust) = *self {
            *self = FromPeer::Ready(trust);
        }
    }

    pub(super) fn edge(&mut self, edge: Readiness) {
        if Trust::after(edge) == Trust::Doubt {
            match self {
                FromPeer::Quiet(trust) | FromPeer::Ready(trust) => *trust = Trust::Doubt,
                _ => {}
            }
        }
        if edge.readable {
            self.mark_ready();
        }
        if edge.failed {
            *self = match *self {
                FromPeer::Quiet(_) | FromPeer::Ready(_) => FromPeer::Failing,
                FromPeer::Ending => FromPeer::EndingFailed,
                FromPeer::Ended => FromPeer::Failed,
                failing => failing,
            };
        }
    }

    /// Records the outcome of a read.
    pub(super) fn filled(&mut self, filled: &Filled) {
        *self = match (*self, filled) {
            (FromPeer::Failing, Filled::Nothing) => FromPeer::Failed,
            (FromPeer::Failing, Filled::Eof) => FromPeer::EndingFailed,
            (FromPeer::Ready(trust), Filled::Nothing) => FromPeer::Quiet(trust),
            (FromPeer::Ready(Trust::Proof), Filled::Drained) => FromPeer::Quiet(Trust::Proof),
            (FromPeer::Quiet(_) | FromPeer::Ready(_), Filled::Eof) => FromPeer::Ending,
            (same, _) => same,
        };
    }
}

impl ToPeer {
    pub(super) fn may_take(self) -> bool {
        !matches!(self, ToPeer::Full(_))
    }

    pub(super) fn edge(&mut self, edge: Readiness) {
        if let ToPeer::Full(since) = *self
            && edge.writable
        {
            *self = ToPeer::Waits(since);
        }
    }

    /// Returns the time since which output waits without progress.
    pub(super) fn waits_since(self) -> Option<Instant> {
        match self {
            ToPeer::Free => None,
            ToPeer::Waits(since) | ToPeer::Full(since) => Some(since),
        }
    }

    /// Records that a write has left `after` of `before` bytes.
    pub(super) fn flushed(&mut self, before: u64, after: u64, flushed: &Flushed, now: Instant) {
        let since = match self.waits_since() {
            Some(since) if after == before => since,
            _ => now,
        };
        *self = match flushed {
            _ if after == 0 => ToPeer::Free,
            Flushed::Blocked => ToPeer::Full(since),
            Flushed::All | Flushed::Budget => ToPeer::Waits(since),
        };
    }
}

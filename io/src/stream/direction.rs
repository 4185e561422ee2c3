//! What is known of the two directions of a socket.
//!
//! The system tells edges, so that is remembered which it has told. A read that brought less than
//! its room has drained the socket, unless the peer has marked a byte as urgent, at which a read
//! stops, or its end has been announced, which is still to be read (N11). A write that would block
//! has filled it.

use std::time::Instant;

use super::buffer::{Filled, Flushed};
use crate::reactor::{Readiness, Trust};

/// What is known of the direction from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FromPeer {
    /// A read would bring nothing, until the system says otherwise.
    Quiet(Trust),
    /// A read may bring something.
    Ready(Trust),
    /// The connection is in error; what was sent before may still be read.
    Failing,
    /// The connection is in error, and no read tells.
    Failed,
    /// The end has been read, and the protocol has not been told.
    Ending,
    /// The end has been read, and the connection is in error: neither has been told.
    EndingFailed,
    /// The end has been read.
    Ended,
}

/// What is known of the direction to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ToPeer {
    /// Nothing has waited.
    Free,
    /// A write may take something. So much has waited since then without progress.
    Waits(Instant),
    /// The socket is full, until the system says otherwise.
    Full(Instant),
}

impl FromPeer {
    pub(super) fn is_ready(self) -> bool {
        matches!(self, FromPeer::Ready(_) | FromPeer::Failing)
    }

    /// Says whether nothing more can come.
    pub(super) fn is_over(self) -> bool {
        match self {
            FromPeer::Quiet(_) | FromPeer::Ready(_) | FromPeer::Failing => false,
            FromPeer::Failed | FromPeer::Ending | FromPeer::EndingFailed | FromPeer::Ended => true,
        }
    }

    /// Says whether the protocol is to be told of the end; then it has been.
    pub(super) fn take_end(&mut self) -> bool {
        let told = match *self {
            FromPeer::Ending => FromPeer::Ended,
            FromPeer::EndingFailed => FromPeer::Failed,
            _ => return false,
        };
        *self = told;
        true
    }

    /// A read may bring something again.
    pub(super) fn awakes(&mut self) {
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
            self.awakes();
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

    /// What a read has brought.
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

    /// Since when output waits without progress.
    pub(super) fn waits_since(self) -> Option<Instant> {
        match self {
            ToPeer::Free => None,
            ToPeer::Waits(since) | ToPeer::Full(since) => Some(since),
        }
    }

    /// A write has left so much of what there was before.
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

//! Readiness: what the system reports about a descriptor, and what follows from it.

use mio::Interest;

use crate::addr::Addr;

/// The system's report about a descriptor.
///
/// A direction that is closed counts as ready, and a descriptor in error as both readable and
/// writable. A read or a write finds out more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer has closed its side, or the descriptor is in error.
    pub(crate) closed: bool,
    /// The descriptor is in error, for example because the peer has reset the connection.
    pub(crate) failed: bool,
    /// The peer has marked a byte as urgent. A read stops there, so a short read does not prove
    /// that nothing is left.
    pub(crate) urgent: bool,
}

/// The look in which a poller found a descriptor ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    /// The number of the look; see [`ReactorShared::looks`](crate::reactor::ReactorShared::looks).
    pub(crate) look: u64,
    pub(crate) how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum How {
    /// The poller looked with a time limit of zero, and would not have waited.
    InPassing,
    /// The poller would have waited. It must not be kept from that by readiness that is already
    /// known.
    Waiting,
}

/// Whether a short read proves that nothing is left (N11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    Proof,
    /// A read may stop early: the peer has marked a byte as urgent, its end has been announced, or
    /// the stream is not of TCP.
    Doubt,
}

impl Trust {
    /// Returns the trust in a new stream with this peer. Only a read of TCP is known to take all
    /// there is. A read of a Unix socket stops at bytes that descriptors go along with, even if the
    /// reader does not ask for descriptors.
    pub(crate) fn of(peer: &Addr) -> Trust {
        match peer.ip() {
            Some(_) => Trust::Proof,
            None => Trust::Doubt,
        }
    }

    /// Returns the trust that this edge leaves.
    pub(crate) fn after(edge: Readiness) -> Trust {
        match edge.closed || edge.urgent {
            true => Trust::Doubt,
            false => Trust::Proof,
        }
    }
}

/// Returns the interest that a stream registers with the system.
pub(crate) fn both_directions() -> Interest {
    let both = Interest::READABLE | Interest::WRITABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return both | Interest::PRIORITY;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    both
}

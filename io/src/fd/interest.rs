//! What a registration asks for, and what it is told.

use std::fmt;
use std::ops::BitOr;

use crate::reactor::Readiness;

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const PRIORITY: u8 = 4;
const CLOSED: u8 = 8;
const FAILED: u8 = 16;
const HUNG_UP: u8 = 32;

/// What a callback on a descriptor is called for.
///
/// # Examples
///
/// ```
/// use dapple_io::Interest;
/// let both = Interest::READABLE | Interest::WRITABLE;
/// assert!(both.is_readable() && both.is_writable() && !both.is_edge_triggered());
/// let edges = Interest::READABLE.edge_triggered();
/// assert!(edges.is_edge_triggered());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interest {
    bits: u8,
    trigger: Trigger,
}

/// How often a callback is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Trigger {
    /// As long as the descriptor is ready.
    Level,
    /// When it becomes ready.
    Edge,
}

impl Interest {
    /// There is something to read: bytes, a connection, the end of the stream, or an error.
    #[doc(alias = "EV_READ")]
    pub const READABLE: Interest = Interest::level(READABLE);
    /// There is room to write; or an error, which a write tells.
    #[doc(alias = "EV_WRITE")]
    pub const WRITABLE: Interest = Interest::level(WRITABLE);
    /// There is an exceptional condition, such as an urgent byte of a TCP stream.
    #[doc(alias = "POLLPRI")]
    pub const PRIORITY: Interest = Interest::level(PRIORITY);

    const fn level(bits: u8) -> Interest {
        Interest { bits, trigger: Trigger::Level }
    }

    /// This interest, with a callback that is called when the descriptor becomes ready, and not
    /// again while it stays so: it has to read, or write, until the system says `WouldBlock`, or a
    /// call is missed.
    ///
    /// If a descriptor has other registrations, that are not edge-triggered, it may be called more
    /// often: whenever the system is asked afresh on their behalf.
    #[doc(alias = "EV_ET")]
    pub const fn edge_triggered(self) -> Interest {
        Interest { trigger: Trigger::Edge, ..self }
    }

    /// Says whether it includes [`READABLE`](Self::READABLE).
    pub const fn is_readable(self) -> bool {
        self.bits & READABLE != 0
    }

    /// Says whether it includes [`WRITABLE`](Self::WRITABLE).
    pub const fn is_writable(self) -> bool {
        self.bits & WRITABLE != 0
    }

    /// Says whether it includes [`PRIORITY`](Self::PRIORITY).
    pub const fn is_priority(self) -> bool {
        self.bits & PRIORITY != 0
    }

    /// Says whether it is [edge-triggered](Self::edge_triggered).
    pub const fn is_edge_triggered(self) -> bool {
        matches!(self.trigger, Trigger::Edge)
    }

    pub(super) fn trigger(self) -> Trigger {
        self.trigger
    }

    /// What is asked of the system.
    pub(super) fn wants(self) -> Wants {
        Wants(self.bits)
    }

    /// What of a report is of interest. An error is of any, as the system reports it to all.
    pub(super) fn of(self, ready: Ready) -> Ready {
        let told = ready.0 & (self.bits | FAILED | HUNG_UP);
        match told {
            0 => Ready(0),
            _ => Ready(told | ready.0 & CLOSED),
        }
    }
}

/// The union; it is edge-triggered if both are.
impl BitOr for Interest {
    type Output = Interest;

    fn bitor(self, other: Interest) -> Interest {
        let both = self.is_edge_triggered() && other.is_edge_triggered();
        let trigger = if both { Trigger::Edge } else { Trigger::Level };
        Interest { bits: self.bits | other.bits, trigger }
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Vec::new();
        for (has, name) in [
            (self.is_readable(), "READABLE"),
            (self.is_writable(), "WRITABLE"),
            (self.is_priority(), "PRIORITY"),
        ] {
            names.extend(has.then_some(name));
        }
        f.write_str(&names.join(" | "))?;
        f.write_str(if self.is_edge_triggered() { " (edge)" } else { "" })
    }
}

/// What registrations of one descriptor ask for together; possibly nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Wants(u8);

impl Wants {
    pub(super) fn and(self, other: Wants) -> Wants {
        Wants(self.0 | other.0)
    }

    pub(super) fn is_nothing(self) -> bool {
        self.0 == 0
    }

    pub(super) fn reads(self) -> bool {
        self.0 & READABLE != 0
    }

    pub(super) fn writes(self) -> bool {
        self.0 & WRITABLE != 0
    }

    pub(super) fn is_priority(self) -> bool {
        self.0 & PRIORITY != 0
    }
}

/// What a descriptor is ready for, as a callback of [`Io::on_ready`](crate::Io::on_ready) is told.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Ready(u8);

impl Ready {
    /// There is something to read: bytes, a connection, the end of the stream, or an error.
    pub fn is_readable(self) -> bool {
        self.0 & READABLE != 0
    }

    /// There is room to write; or an error, which a write tells.
    pub fn is_writable(self) -> bool {
        self.0 & WRITABLE != 0
    }

    /// There is an exceptional condition, such as an urgent byte of a TCP stream.
    pub fn is_priority(self) -> bool {
        self.0 & PRIORITY != 0
    }

    /// The peer sends no more: it has closed its side, or the descriptor is in error. What it sent
    /// before may still be there to be read.
    #[doc(alias = "EV_CLOSED")]
    #[doc(alias = "EPOLLRDHUP")]
    pub fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// The descriptor is in error, such as a connection that the peer has reset.
    pub fn is_error(self) -> bool {
        self.0 & FAILED != 0
    }

    /// Says whether there is nothing to tell.
    pub(super) fn is_nothing(self) -> bool {
        self.0 == 0
    }

    pub(super) fn and(self, other: Ready) -> Ready {
        Ready(self.0 | other.0)
    }
}

impl From<Readiness> for Ready {
    fn from(readiness: Readiness) -> Ready {
        let Readiness { readable, writable, closed, failed, urgent } = readiness;
        let hung_up = readable && writable && closed;
        let bits = [
            (readable, READABLE),
            (writable, WRITABLE),
            (urgent, PRIORITY),
            (closed, CLOSED),
            (failed, FAILED),
            (hung_up, HUNG_UP),
        ];
        Ready(bits.into_iter().filter(|(is, _)| *is).fold(0, |all, (_, bit)| all | bit))
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready")
            .field("readable", &self.is_readable())
            .field("writable", &self.is_writable())
            .field("priority", &self.is_priority())
            .field("closed", &self.is_closed())
            .field("error", &self.is_error())
            .finish()
    }
}

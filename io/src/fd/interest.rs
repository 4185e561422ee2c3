//! The readiness that a registration asks for, and the readiness that it is told of.

use std::fmt;
use std::ops::BitOr;

use crate::readiness::Readiness;

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const PRIORITY: u8 = 4;
const CLOSED: u8 = 8;
const FAILED: u8 = 16;
const HUNG_UP: u8 = 32;

/// The readiness for which a callback on a descriptor is called.
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
    /// Again and again, as long as the descriptor is ready.
    Level,
    /// Once, when the descriptor becomes ready.
    Edge,
}

impl Interest {
    /// Readiness for reading: bytes, a connection to accept, the end of the stream, or an error.
    #[doc(alias = "EV_READ")]
    pub const READABLE: Interest = Interest::level(READABLE);
    /// Readiness for writing: room for bytes, or an error that a write reports.
    #[doc(alias = "EV_WRITE")]
    pub const WRITABLE: Interest = Interest::level(WRITABLE);
    /// An exceptional condition, such as an urgent byte of a TCP stream.
    #[doc(alias = "POLLPRI")]
    pub const PRIORITY: Interest = Interest::level(PRIORITY);

    const fn level(bits: u8) -> Interest {
        Interest { bits, trigger: Trigger::Level }
    }

    /// Returns this interest as an edge-triggered one.
    ///
    /// The callback is called when the descriptor becomes ready, and not again while it stays
    /// ready. So it must read or write until the system returns `WouldBlock`. Bytes or room that it
    /// leaves cause no further call.
    ///
    /// If the descriptor has other registrations that are not edge-triggered, the callback may be
    /// called more often, because the system is asked afresh on their behalf.
    ///
    /// # Examples
    ///
    /// A callback that reads all there is:
    ///
    /// ```
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream, sync::{Arc, mpsc}};
    /// use dapple_io::{Interest, Io};
    /// let rt = dapple_io::runtime().build()?;
    /// let (ours, mut peer) = UnixStream::pair()?;
    /// ours.set_nonblocking(true)?;
    /// let ours = Arc::new(ours);
    /// let (tx, rx) = mpsc::channel();
    /// let (reader, color) = (Arc::clone(&ours), rt.handle().new_color());
    /// let edges = Interest::READABLE.edge_triggered();
    /// let registration = Io::of(&rt.handle()).on_ready(ours, edges, &color, move |_, _| {
    ///     let mut bytes = [0; 4];
    ///     // Until the end of the stream, or `WouldBlock`:
    ///     while let Ok(n @ 1..) = (&*reader).read(&mut bytes) {
    ///         tx.send(bytes[..n].to_vec()).unwrap();
    ///     }
    /// })?;
    /// peer.write_all(b"hello world")?;
    /// assert_eq!(rx.iter().flatten().take(11).collect::<Vec<_>>(), b"hello world");
    /// # drop(registration);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "EV_ET")]
    pub const fn edge_triggered(self) -> Interest {
        Interest { trigger: Trigger::Edge, ..self }
    }

    /// Returns `true` if the interest includes [`READABLE`](Self::READABLE).
    pub const fn is_readable(self) -> bool {
        self.bits & READABLE != 0
    }

    /// Returns `true` if the interest includes [`WRITABLE`](Self::WRITABLE).
    pub const fn is_writable(self) -> bool {
        self.bits & WRITABLE != 0
    }

    /// Returns `true` if the interest includes [`PRIORITY`](Self::PRIORITY).
    pub const fn is_priority(self) -> bool {
        self.bits & PRIORITY != 0
    }

    /// Returns `true` if the interest is [edge-triggered](Self::edge_triggered).
    pub const fn is_edge_triggered(self) -> bool {
        matches!(self.trigger, Trigger::Edge)
    }

    pub(super) fn trigger(self) -> Trigger {
        self.trigger
    }

    /// Returns the readiness that the system is asked for.
    pub(super) fn wants(self) -> Wants {
        Wants(self.bits)
    }

    /// Returns the part of a report that this interest covers. The system reports errors and
    /// hang-ups to all, so every interest covers them.
    pub(super) fn of(self, ready: Ready) -> Ready {
        let told = ready.0 & (self.bits | FAILED | HUNG_UP);
        match told {
            0 => Ready(0),
            _ => Ready(told | ready.0 & CLOSED),
        }
    }
}

/// Returns the union of two interests, which is edge-triggered if both are.
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

/// The readiness that the registrations of one descriptor ask for together, possibly none.
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

/// The readiness of a descriptor, as it is passed to a callback of
/// [`Io::on_ready`](crate::Io::on_ready).
///
/// # Examples
///
/// The readiness of a socket whose peer has gone:
///
/// ```
/// use std::{os::unix::net::UnixStream, sync::mpsc};
/// use dapple_io::{Interest, Io};
/// let rt = dapple_io::runtime().build()?;
/// let (ours, peer) = UnixStream::pair()?;
/// drop(peer);
/// let (tx, rx) = mpsc::channel();
/// let (io, color) = (Io::of(&rt.handle()), rt.handle().new_color());
/// let registration = io.on_ready(ours, Interest::READABLE, &color, move |ready, _| {
///     tx.send(ready).unwrap_or(());
/// })?;
/// let ready = rx.recv().unwrap();
/// assert!(ready.is_readable() && ready.is_closed());
/// # drop(registration);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Ready(u8);

impl Ready {
    /// Returns `true` if there is something to read: bytes, a connection to accept, the end of the
    /// stream, or an error.
    pub fn is_readable(self) -> bool {
        self.0 & READABLE != 0
    }

    /// Returns `true` if there is room to write, or an error that a write reports.
    pub fn is_writable(self) -> bool {
        self.0 & WRITABLE != 0
    }

    /// Returns `true` if there is an exceptional condition, such as an urgent byte of a TCP stream.
    pub fn is_priority(self) -> bool {
        self.0 & PRIORITY != 0
    }

    /// Returns `true` if the peer sends no more, because it has closed its side or the descriptor
    /// is in error. Bytes that it sent before may still be there to be read.
    #[doc(alias = "EV_CLOSED")]
    #[doc(alias = "EPOLLRDHUP")]
    pub fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// Returns `true` if the descriptor is in error, for example because the peer has reset the
    /// connection.
    pub fn is_error(self) -> bool {
        self.0 & FAILED != 0
    }

    /// Returns `true` if there is no readiness to report.
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

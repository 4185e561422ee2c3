//! Datagrams that wait to be sent.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use dapple::sync::Arc;
use socket2::{SockAddr, Socket};

use crate::Addr;
use crate::sys::{self, BATCH, ToSend};

/// Room for bytes that is kept, whatever was there.
const KEPT: usize = 256 * 1024;

/// What a datagram counts for the bound beside its bytes: what is kept of it.
const OVERHEAD: usize = 160;

/// Errors of one flush that are told at most.
const MOST_ERRORS: usize = 32;

/// Segments of one call at most; the system's limit (UDP_MAX_SEGMENTS).
const MOST_SEGMENTS: usize = 64;

/// Most bytes of one call with segments; what a datagram of IPv4 can have.
const MOST_BYTES: usize = 65_507;

/// The datagrams that a protocol sends: they leave at the end of the event, many in one call.
///
/// If the socket is full, they wait, as many as
/// [`DatagramOptions::max_queued`](super::DatagramOptions::max_queued) allows; what comes beyond
/// that is dropped and counted, as a datagram may always be. One that is sent to a Unix socket by
/// its address does not wait: if the receiver's queue is full, it is dropped and counted, so that
/// it does not hold up those to others. (What receivers have not read counts for the sender's
/// buffer as well; when that is full, those to others are dropped, too.)
#[derive(Debug)]
pub struct Outbox {
    /// `None`: it is closed.
    pub(super) socket: Option<Arc<Socket>>,
    family: Family,
    /// The socket has refused the first one for now.
    pub(super) is_full: bool,
    /// What the protocol is to be told.
    pub(super) errors: Vec<io::Error>,
    queue: VecDeque<Queued>,
    /// The bytes of all of them; those before `gone` have been sent.
    bytes: Vec<u8>,
    gone: usize,
    most: usize,
    dropped: u64,
    cuts: Cuts,
    pub(super) is_closing: bool,
}

#[derive(Debug)]
struct Queued {
    length: usize,
    to: Option<SockAddr>,
    segment: u16,
    was_tried: bool,
}

/// Whether the system cuts datagrams into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cuts {
    NotAsked,
    Yes,
    No,
}

/// What kind of addresses there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ip,
    Unix,
}

impl Outbox {
    pub(super) fn new(socket: Arc<Socket>, family: Family, most: usize) -> Outbox {
        Outbox {
            socket: Some(socket),
            family,
            is_full: false,
            errors: Vec::new(),
            queue: VecDeque::new(),
            bytes: Vec::new(),
            gone: 0,
            most,
            dropped: 0,
            cuts: Cuts::NotAsked,
            is_closing: false,
        }
    }

    /// Sends a datagram to an address.
    pub fn send_to(&mut self, bytes: &[u8], to: SocketAddr) {
        self.push(bytes, Some(to.into()), 0);
    }

    /// Sends a datagram to an address, of UDP or of a Unix socket. One that is no address, or too
    /// long for one, is dropped and counted.
    pub fn send_to_addr(&mut self, bytes: &[u8], to: &Addr) {
        match to.to_system() {
            Ok(to) => self.push(bytes, Some(to), 0),
            Err(_) => self.dropped += 1,
        }
    }

    /// Sends a datagram to whom the socket is connected.
    pub fn send(&mut self, bytes: &[u8]) {
        self.push(bytes, None, 0);
    }

    /// Sends bytes as datagrams of `segment` bytes each, the last of which may be shorter. Where
    /// the system can, it gets all of them in one call, and cuts them itself (UDP_SEGMENT).
    ///
    /// # Panics
    ///
    /// When `segment` is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dapple_io::{Io, datagram::DatagramSocket};
    /// # let rt = dapple_io::runtime().build()?;
    /// # let io = Io::of(&rt.handle());
    /// # let receiver = std::net::UdpSocket::bind("127.0.0.1:0")?;
    /// # let address = receiver.local_addr()?;
    /// let local = "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap();
    /// let sender = DatagramSocket::bind(&io, local)?;
    /// let sender = sender.on_datagrams(&rt.handle().new_color(), |_, _, _| ());
    /// sender.with(move |_, out, _| out.send_segments(&[7; 2_500], 1_000, address));
    /// let mut buffer = [0; 2_000];
    /// let lengths = [(); 3].map(|()| receiver.recv(&mut buffer).unwrap());
    /// assert_eq!(lengths, [1_000, 1_000, 500]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "GSO")]
    #[doc(alias = "UDP_SEGMENT")]
    pub fn send_segments(&mut self, bytes: &[u8], segment: u16, to: SocketAddr) {
        assert!(segment > 0, "a segment has at least one byte");
        let size = usize::from(segment);
        let most = (MOST_BYTES / size).clamp(1, MOST_SEGMENTS) * size;
        for part in bytes.chunks(most) {
            let cut = if part.len() > size { segment } else { 0 };
            self.push(part, Some(to.into()), cut);
        }
    }

    /// Bytes that wait to be sent.
    pub fn queued(&self) -> usize {
        self.bytes.len() - self.gone
    }

    /// Datagrams that were dropped because too much waited, or because the system refused them.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Closes the socket at the end of the event. What the system does not take at once is dropped
    /// and counted. Nothing more is received.
    pub fn close(&mut self) {
        self.is_closing = true;
    }

    pub(super) fn reply(&mut self, bytes: &[u8], to: &SockAddr) {
        self.push(bytes, Some(to.clone()), 0);
    }

    fn push(&mut self, bytes: &[u8], to: Option<SockAddr>, segment: u16) {
        let has_room = |out: &Outbox| out.cost() + OVERHEAD + bytes.len() <= out.most;
        if !has_room(self) && !self.is_full {
            self.flush();
        }
        if !has_room(self) {
            self.dropped += 1;
            return;
        }
        self.bytes.extend_from_slice(bytes);
        self.queue.push_back(Queued { length: bytes.len(), to, segment, was_tried: false });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What waits, as it counts for the bound.
    fn cost(&self) -> usize {
        self.queued() + self.queue.len() * OVERHEAD
    }

    /// Drops what waits.
    pub(super) fn clear(&mut self) {
        self.dropped += self.queue.len() as u64;
        self.queue.clear();
        self.bytes = Vec::new();
        self.gone = 0;
    }

    /// Sends what waits, until all is sent, or the socket is full.
    pub(super) fn flush(&mut self) {
        let Some(socket) = self.socket.clone() else { return self.clear() };
        self.is_full = false;
        while !self.queue.is_empty() {
            match self.send_some(socket.as_fd()) {
                Ok(sent) => self.take_off(sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let is_addressed = self.queue.front().is_some_and(|one| one.to.is_some());
                    if self.family == Family::Ip || !is_addressed {
                        self.is_full = true;
                        return;
                    }
                    self.drop_first();
                }
                Err(_) if self.gives_up_segments() => {}
                Err(error) => {
                    if !self.tries_again(&error) {
                        self.drop_first();
                    }
                    if self.errors.len() < MOST_ERRORS {
                        self.errors.push(error);
                    }
                }
            }
        }
        self.bytes.clear();
        self.gone = 0;
        if self.bytes.capacity() > KEPT {
            self.bytes.shrink_to(KEPT);
        }
    }

    fn drop_first(&mut self) {
        self.dropped += 1;
        self.take_off(1);
    }

    /// Sends a batch of the first.
    fn send_some(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let has_segments = self.queue.iter().take(BATCH).any(|one| one.segment > 0);
        if has_segments && self.cuts == Cuts::NotAsked {
            self.cuts = if sys::cuts_segments(socket) { Cuts::Yes } else { Cuts::No };
        }
        if has_segments && self.cuts == Cuts::No {
            self.cut_first();
        }
        let (mut at, mut all) = (self.gone, Vec::with_capacity(BATCH.min(self.queue.len())));
        for one in self.queue.iter().take(BATCH) {
            let bytes = &self.bytes[at..at + one.length];
            all.push(ToSend { bytes, to: one.to.as_ref(), segment: one.segment });
            at += one.length;
        }
        sys::send_many(socket, &all)
    }

    /// The system has refused the first one; if it was to cut it, it is cut here from now on.
    fn gives_up_segments(&mut self) -> bool {
        let asked = self.queue.front().is_some_and(|one| one.segment > 0);
        if asked {
            self.cuts = Cuts::No;
        }
        asked
    }

    /// Says whether the error was of a datagram that was sent before, so that this one is worth
    /// another try: a connected socket tells of a refusal when it is next used.
    fn tries_again(&mut self, error: &io::Error) -> bool {
        let first = self.queue.front_mut();
        let tries = error.kind() == io::ErrorKind::ConnectionRefused
            && first.as_ref().is_some_and(|one| one.to.is_none() && !one.was_tried);
        if tries && let Some(first) = first {
            first.was_tried = true;
        }
        tries
    }

    /// Cuts what is to be cut of the first batch.
    fn cut_first(&mut self) {
        let mut cut = VecDeque::new();
        for one in self.queue.drain(..BATCH.min(self.queue.len())) {
            let size = usize::from(one.segment);
            if size == 0 {
                cut.push_back(one);
                continue;
            }
            let mut left = one.length;
            while left > 0 {
                let length = left.min(size);
                cut.push_back(Queued { length, to: one.to.clone(), segment: 0, was_tried: false });
                left -= length;
            }
        }
        cut.append(&mut self.queue);
        self.queue = cut;
    }

    fn take_off(&mut self, count: usize) {
        for one in self.queue.drain(..count) {
            self.gone += one.length;
        }
        // What has been sent of a queue that never empties is not kept.
        if self.gone > KEPT && self.gone > self.bytes.len() / 2 {
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
    }
}

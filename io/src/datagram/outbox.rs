//! Datagrams that wait to be sent.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use dapple::sync::Arc;
use socket2::{SockAddr, Socket};

use crate::Addr;
use crate::sys::{self, BATCH, ToSend};

/// The capacity in bytes up to which the empty buffer is kept for reuse.
const KEPT: usize = 256 * 1024;

/// The bytes that each datagram counts for the bound in addition to its length, for its entry in
/// the queue.
const OVERHEAD: usize = 160;

/// The most errors of one flush that are reported to the protocol.
const MOST_ERRORS: usize = 32;

/// The most segments that one call may send, which is the system's limit (UDP_MAX_SEGMENTS).
const MOST_SEGMENTS: usize = 64;

/// The most bytes that one call may send as segments, which is the longest payload of a UDP
/// datagram over IPv4.
const MOST_BYTES: usize = 65_507;

/// The datagrams that a protocol sends, many in one system call, at the end of each event or batch.
///
/// If the socket is full, datagrams wait, up to
/// [`DatagramOptions::max_queued`](super::DatagramOptions::max_queued). Further ones are dropped
/// and counted, as any datagram may be.
///
/// A datagram that is sent to a Unix socket by its address does not wait. If the receiver's queue
/// is full, the datagram is dropped and counted, so that it does not delay datagrams to others.
/// Datagrams that receivers have not read also count for the sender's buffer. When that buffer is
/// full, datagrams to any address are dropped.
#[derive(Debug)]
pub struct Outbox {
    /// The socket; `None` once it is closed.
    pub(super) socket: Option<Arc<Socket>>,
    family: Family,
    /// The socket is full: it has refused the first datagram of the queue for now.
    pub(super) is_full: bool,
    /// The errors that the protocol has not been told of yet.
    pub(super) errors: Vec<io::Error>,
    queue: VecDeque<Queued>,
    /// The bytes of all queued datagrams, in order. The first `gone` bytes have been sent.
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

/// The family of the socket's addresses.
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

    /// Sends a datagram to an IP address. See [`Datagrams`](super::Datagrams) for an example.
    pub fn send_to(&mut self, bytes: &[u8], to: SocketAddr) {
        self.push(bytes, Some(to.into()), 0);
    }

    /// Sends a datagram to an address, of UDP or of a Unix socket. A datagram to an address that is
    /// unnamed, empty or too long for the system is dropped and counted.
    ///
    /// # Examples
    ///
    /// An answer that comes later than the event which received the datagram:
    ///
    /// ```
    /// use std::{net::UdpSocket, sync::mpsc};
    /// let rt = dapple_io::runtime().build()?;
    /// let io = dapple_io::Io::of(&rt.handle());
    /// let socket = io.bind_udp("127.0.0.1:0".parse().unwrap())?;
    /// let address = socket.local_addr().ip().expect("it is of UDP");
    /// let (tx, rx) = mpsc::channel();
    /// let served = socket.on_datagrams(&rt.handle().new_color(), move |datagram, _, _| {
    ///     tx.send(datagram.from()).unwrap();
    /// });
    /// let client = UdpSocket::bind("127.0.0.1:0")?;
    /// client.send_to(b"hello", address)?;
    /// let from = rx.recv().unwrap();
    /// served.with(move |_, out, _| out.send_to_addr(b"answer", &from));
    /// let mut answer = [0; 10];
    /// assert_eq!(client.recv(&mut answer)?, 6);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send_to_addr(&mut self, bytes: &[u8], to: &Addr) {
        match to.to_system() {
            Ok(to) => self.push(bytes, Some(to), 0),
            Err(_) => self.dropped += 1,
        }
    }

    /// Sends a datagram to the address that the socket is connected to. See
    /// [`DatagramSocket::connect`](super::DatagramSocket::connect) for an example.
    pub fn send(&mut self, bytes: &[u8]) {
        self.push(bytes, None, 0);
    }

    /// Sends `bytes` as datagrams of `segment` bytes each, the last of which may be shorter.
    ///
    /// Where the system can, one call passes all of them, and the system cuts them itself
    /// (UDP_SEGMENT).
    ///
    /// # Panics
    ///
    /// Panics if `segment` is zero.
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
        assert!(segment > 0, "the segment size must not be zero");
        let size = usize::from(segment);
        let most = (MOST_BYTES / size).clamp(1, MOST_SEGMENTS) * size;
        for part in bytes.chunks(most) {
            let cut = if part.len() > size { segment } else { 0 };
            self.push(part, Some(to.into()), cut);
        }
    }

    /// Returns the number of bytes that wait to be sent.
    pub fn queued(&self) -> usize {
        self.bytes.len() - self.gone
    }

    /// Returns the number of datagrams that were dropped, because too many bytes waited or because
    /// the system refused them.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Closes the socket at the end of the event. Datagrams that the system does not take at once
    /// are dropped and counted. Nothing more is received.
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

    /// Returns the bytes of the queue as they count for the bound.
    fn cost(&self) -> usize {
        self.queued() + self.queue.len() * OVERHEAD
    }

    /// Drops and counts what is queued.
    pub(super) fn clear(&mut self) {
        self.dropped += self.queue.len() as u64;
        self.queue.clear();
        self.bytes = Vec::new();
        self.gone = 0;
    }

    /// Sends what is queued, until all of it is sent or the socket is full.
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
                    if !self.should_retry(&error) {
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

    /// Sends a batch from the front of the queue, and returns how many datagrams were sent.
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

    /// Returns `true` if the system was to cut the first datagram, and has refused it. From then
    /// on, the outbox cuts datagrams itself.
    fn gives_up_segments(&mut self) -> bool {
        let asked = self.queue.front().is_some_and(|one| one.segment > 0);
        if asked {
            self.cuts = Cuts::No;
        }
        asked
    }

    /// Returns `true` if `error` belongs to a datagram that was sent before, so that the first one
    /// is worth another try. A connected socket reports a refusal when it is next used.
    fn should_retry(&mut self, error: &io::Error) -> bool {
        let first = self.queue.front_mut();
        let tries = error.kind() == io::ErrorKind::ConnectionRefused
            && first.as_ref().is_some_and(|one| one.to.is_none() && !one.was_tried);
        if tries && let Some(first) = first {
            first.was_tried = true;
        }
        tries
    }

    /// Cuts those datagrams of the first batch that have segments.
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
        // A queue that never becomes empty frees the bytes that were sent as well.
        if self.gone > KEPT && self.gone > self.bytes.len() / 2 {
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
    }
}

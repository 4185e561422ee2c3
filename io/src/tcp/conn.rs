//! What a protocol sees of its connection.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use dapple::clock;
use dapple::sync::Arc;
use mio::net::TcpStream;

use super::buffer::{Input, Output};
use super::{CloseReason, ConnOptions};

/// Files in the out-buffer, each an open descriptor, from which on no more should be added.
const MOST_FILES: usize = 16;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Open,
    /// What is in the out-buffer is still written.
    Closing,
    /// All is written, our side is closed; what still comes is read and thrown away.
    Lingering,
    Closed,
}

/// A connection, as its [`Protocol`](super::Protocol) gets it: the input that it has not consumed,
/// and an out-buffer that is written at the end of the event.
#[derive(Debug)]
pub struct Conn {
    pub(super) stream: Option<Arc<TcpStream>>,
    pub(super) peer: SocketAddr,
    pub(super) options: ConnOptions,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) phase: Phase,
    pub(super) reason: Option<CloseReason>,
    pub(super) clocks: Clocks,
    /// A read may bring something, a write may take something, as far as is known.
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The system has said that the peer's side is closed, or in error.
    pub(super) peer_closed: bool,
    /// We have read the end of the peer's side.
    pub(super) peer_ended: bool,
    /// The peer has reset the connection.
    pub(super) failed: bool,
    /// The peer has marked a byte as urgent, so a short read is no proof that nothing is left.
    pub(super) urgent: bool,
    /// So much output has waited that the protocol may have stopped making more, and it has not
    /// been told of room since.
    pub(super) was_congested: bool,
    /// The protocol is to be called again, though nothing new may have come.
    pub(super) comes_back: bool,
    /// The protocol takes no input until it resumes.
    pub(super) is_paused: bool,
}

/// The input of a connection, taken out by [`Conn::take_input`].
#[derive(Debug)]
pub struct TakenInput(Input);

impl TakenInput {
    /// What was read and not yet consumed.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// Since when what is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// The last time that something was read, written, or completed.
    pub(super) active: Instant,
    /// The first byte of an input that is not complete.
    pub(super) frame: Option<Instant>,
    /// The last progress of output that waits.
    pub(super) write: Option<Instant>,
}

impl Conn {
    pub(super) fn new(stream: Arc<TcpStream>, peer: SocketAddr, options: ConnOptions) -> Self {
        let now = clock::now();
        Conn {
            stream: Some(stream),
            peer,
            options,
            input: Input::default(),
            output: Output::default(),
            phase: Phase::Open,
            reason: None,
            clocks: Clocks { active: now, frame: None, write: None },
            readable: false,
            writable: false,
            peer_closed: false,
            peer_ended: false,
            failed: false,
            urgent: false,
            was_congested: false,
            comes_back: false,
            is_paused: false,
        }
    }

    /// The address of the peer.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// What was read and not yet consumed.
    pub fn input(&self) -> &[u8] {
        self.input.bytes()
    }

    /// Takes `n` bytes off the input: they are understood.
    ///
    /// # Panics
    ///
    /// When there are less.
    pub fn consume(&mut self, n: usize) {
        self.input.consume(n);
        // What follows is a message of its own, with its own time.
        self.clocks.frame = None;
    }

    /// Takes the input out of the connection, so that what is parsed may borrow it while the answer
    /// is written to the connection. It has to be [given back](Self::give_input_back) in the same
    /// call.
    pub fn take_input(&mut self) -> TakenInput {
        TakenInput(std::mem::take(&mut self.input))
    }

    /// Gives the input back, `used` bytes of which are understood.
    ///
    /// # Panics
    ///
    /// When there are less.
    pub fn give_input_back(&mut self, input: TakenInput, used: usize) {
        self.input = input.0;
        if used > 0 {
            self.consume(used);
        }
    }

    /// Appends bytes to the out-buffer.
    pub fn send(&mut self, bytes: &[u8]) {
        self.write(|out| out.extend_from_slice(bytes));
    }

    /// Lets `write` append to the out-buffer in place.
    ///
    /// # Panics
    ///
    /// When it takes away what was there.
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.phase == Phase::Open {
            self.output.append(write);
            self.has_more_output();
        }
    }

    fn has_more_output(&mut self) {
        self.was_congested |= self.is_congested();
    }

    /// Appends bytes that others share, without copying them.
    pub fn send_shared(&mut self, bytes: Arc<[u8]>) {
        if self.phase == Phase::Open && !bytes.is_empty() {
            self.output.shared(bytes);
            self.has_more_output();
        }
    }

    /// Appends `len` bytes of a file from `offset` on; they go from file to socket inside the
    /// kernel. If the file turns out to be shorter, the connection ends with an error.
    pub fn send_file(&mut self, file: Arc<File>, offset: u64, len: u64) {
        if self.phase == Phase::Open && len > 0 {
            match self.output.file(file, offset, len) {
                true => self.has_more_output(),
                false => self.fail(CloseReason::Io(io::ErrorKind::InvalidInput.into())),
            }
        }
    }

    /// Bytes in the out-buffer.
    pub fn pending(&self) -> u64 {
        self.output.len()
    }

    /// Says whether so much output waits, in bytes or in files, that no more should be made. A
    /// protocol that sees this leaves its input and returns; [`on_room`](super::Protocol::on_room)
    /// is called when there is room. While input is left so, no more is read.
    pub fn is_congested(&self) -> bool {
        self.output.len() >= self.options.high_water.max(1) as u64
            || self.output.files() >= MOST_FILES
    }

    /// Has the protocol called again soon, though nothing new may have come: for one that has
    /// answered many messages in one call, and leaves the rest so that others get their turn.
    pub fn come_back(&mut self) {
        self.comes_back = self.phase == Phase::Open;
    }

    /// Takes no input, and reads none from the peer, until [`resume`](Self::resume): for a protocol
    /// that waits for something else than its peer. Neither the idle nor the frame timeout runs
    /// meanwhile. What waits in the out-buffer is written all the same, and
    /// [`on_room`](super::Protocol::on_room) tells of room; a peer that resets the connection ends
    /// it.
    pub fn pause(&mut self) {
        self.is_paused = true;
    }

    /// Says whether it takes no input, because it was [paused](Self::pause).
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Ends a pause: the protocol is called again if it has left input.
    pub fn resume(&mut self) {
        if std::mem::take(&mut self.is_paused) {
            // What waits has not been the peer's doing.
            self.clocks.frame = None;
            self.clocks.active = clock::now();
            self.come_back();
        }
    }

    /// Says whether there is room again, of which the protocol has not been told.
    pub(super) fn has_room(&self) -> bool {
        self.was_congested
            && self.phase == Phase::Open
            && self.output.len() <= self.options.high_water as u64 / 2
            && self.output.files() <= MOST_FILES / 2
    }

    /// Says whether the protocol is to be called again, and takes input.
    pub(super) fn may_come_back(&self) -> bool {
        self.comes_back && !self.is_paused && self.phase == Phase::Open
    }

    /// Says whether it takes what the peer sends. It does not if the protocol is paused, or has
    /// left input because there is no room for its output, or because others are to have their
    /// turn.
    pub(super) fn reads(&self) -> bool {
        let leaves_input = self.was_congested && !self.input.bytes().is_empty();
        self.phase == Phase::Open
            && !(self.is_paused || self.comes_back || leaves_input || self.peer_ended)
    }

    /// Closes the connection when the out-buffer has been written. Input is not read any more.
    pub fn close(&mut self) {
        self.end(CloseReason::Closed);
    }

    /// Closes the connection when the out-buffer has been written, because the peer broke the rules
    /// of the protocol.
    pub fn reject(&mut self, why: &'static str) {
        self.end(CloseReason::Protocol(why));
    }

    /// Closes the connection now, whatever is in the out-buffer.
    pub fn abort(&mut self) {
        self.output.clear();
        self.end(CloseReason::Closed);
        self.phase = Phase::Closed;
    }

    /// Says whether it was closed, by either side.
    pub fn is_closed(&self) -> bool {
        self.phase != Phase::Open
    }

    pub(super) fn end(&mut self, reason: CloseReason) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
            (self.comes_back, self.is_paused) = (false, false);
            self.reason = Some(reason);
        }
    }

    pub(super) fn fail(&mut self, reason: CloseReason) {
        self.output.clear();
        if self.phase < Phase::Closed {
            self.phase = Phase::Closed;
            (self.comes_back, self.is_paused) = (false, false);
            self.reason = Some(reason);
        }
    }
}

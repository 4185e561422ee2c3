//! The input and output buffers of a connection.
//!
//! A connection at rest has no buffer. Input is read into a buffer that the worker keeps, and only
//! the part that a protocol does not consume is copied into a buffer of the connection's own.
//! Output is also written into a buffer that the worker keeps, and only the part that the socket
//! does not take stays with the connection.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use dapple::sync::Arc;

use super::socket::Socket;
use crate::thread;

/// The size of a worker's input buffer, and the largest output buffer that a worker keeps, in
/// bytes.
const SCRATCH: usize = 64 * 1024;

/// The length above which taking over a buffer's memory is cheaper than copying its bytes.
const MUCH: usize = 16 * 1024;

/// The capacity for pieces of output that is kept at the end of an event.
const KEPT: usize = 16;

/// The maximum number of bytes that one call of sendfile sends.
const FILE_CHUNK: u64 = 512 * 1024;

/// The bytes that were read and not yet consumed.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// The memory, all of it initialised. The input is `start..end`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// The outcome of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// Some bytes, and probably more are left.
    Full,
    /// Some bytes, and nothing is left for now, unless the read stopped early (see
    /// [`Trust`](crate::readiness::Trust)).
    Drained,
    /// Nothing for now.
    Nothing,
    /// The peer has closed its side.
    Eof,
}

impl Input {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn consume(&mut self, n: usize) {
        assert!(n <= self.end - self.start, "cannot consume more bytes than the input has");
        self.start += n;
    }

    /// Reads once, into all the room that there is.
    pub(super) fn fill(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Filled> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() < SCRATCH {
                self.bytes = thread::state(|state| state.input.take());
                self.bytes.resize(SCRATCH, 0);
            }
        } else if self.bytes.len() - self.end < SCRATCH / 16 {
            self.bytes.drain(..self.start);
            (self.start, self.end) = (0, self.end - self.start);
            let size = (self.end + SCRATCH / 4).max(self.bytes.len());
            self.bytes.resize(size, 0);
        }
        let room = self.bytes.len() - self.end;
        loop {
            match read(&mut self.bytes[self.end..]) {
                Ok(0) => return Ok(Filled::Eof),
                Ok(n) => {
                    self.end += n;
                    return Ok(if n < room { Filled::Drained } else { Filled::Full });
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Filled::Nothing),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Ends an event: returns the worker's buffer to it, and keeps a copy of the bytes that are
    /// left.
    pub(super) fn settle(&mut self) {
        if self.bytes.len() != SCRATCH {
            let left = self.end - self.start;
            if left == 0 {
                *self = Input::default();
            } else if left < self.bytes.len() / 4 {
                // Most of a large message has been consumed.
                let bytes = self.bytes().to_vec();
                *self = Input { end: bytes.len(), start: 0, bytes };
            }
            return;
        }
        let left = self.bytes().to_vec();
        let scratch = std::mem::take(&mut self.bytes);
        thread::state(|state| state.input.set(scratch));
        (self.start, self.end) = (0, left.len());
        self.bytes = left;
    }

    pub(super) fn clear(&mut self) {
        self.start = self.end;
    }
}

/// A piece of output.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>, usize),
    Shared(Arc<[u8]>, usize),
    File {
        file: Arc<File>,
        offset: u64,
        end: u64,
    },
    /// Bytes, and descriptors that are sent with the first of them.
    WithFds(Vec<u8>, Vec<OwnedFd>),
}

impl Piece {
    /// Returns the number of descriptors that the piece keeps open.
    fn descriptors(&self) -> usize {
        match self {
            Piece::File { .. } => 1,
            Piece::WithFds(_, fds) => fds.len(),
            Piece::Bytes(..) | Piece::Shared(..) => 0,
        }
    }

    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Piece::Bytes(bytes, at) => Some(&bytes[*at..]),
            Piece::Shared(bytes, at) => Some(&bytes[*at..]),
            Piece::File { .. } | Piece::WithFds(..) => None,
        }
    }

    fn len(&self) -> u64 {
        match self {
            Piece::Bytes(bytes, at) => (bytes.len() - at) as u64,
            Piece::Shared(bytes, at) => (bytes.len() - at) as u64,
            Piece::File { offset, end, .. } => end - offset,
            Piece::WithFds(bytes, _) => bytes.len() as u64,
        }
    }
}

/// The output that is to be written.
#[derive(Debug, Default)]
pub(super) struct Output {
    pieces: VecDeque<Piece>,
    /// Bytes that follow the pieces.
    tail: Vec<u8>,
    /// The number of bytes that are not written yet.
    len: u64,
    /// The number of descriptors that are kept open: files, and descriptors to be sent.
    files: usize,
}

/// The outcome of a flush.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// All output is written.
    All,
    /// The socket is full.
    Blocked,
    /// The budget of bytes is spent.
    Budget,
}

impl Output {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Returns the number of descriptors that are kept open: files, and descriptors to be sent.
    pub(super) fn files(&self) -> usize {
        self.files
    }

    /// Appends bytes. `write` gets the buffer, and must not change the bytes that are already in
    /// it.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.tail.capacity() == 0 {
            self.tail = thread::state(|state| state.output.take());
            self.tail.reserve(SCRATCH / 16);
        }
        let before = self.tail.len();
        write(&mut self.tail);
        assert!(self.tail.len() >= before, "the closure removed bytes from the out-buffer");
        self.len += (self.tail.len() - before) as u64;
    }

    /// Appends all bytes of `from`. Takes over its memory if the bytes are more than 16 KiB and the
    /// tail has no memory yet, and copies them otherwise.
    pub(super) fn append_all(&mut self, from: &mut Vec<u8>) {
        if self.tail.capacity() == 0 && from.len() > MUCH {
            self.len += from.len() as u64;
            self.tail = std::mem::take(from);
        } else {
            self.append(|tail| tail.append(from));
        }
    }

    pub(super) fn shared(&mut self, bytes: Arc<[u8]>) {
        self.end_tail();
        self.len += bytes.len() as u64;
        self.pieces.push_back(Piece::Shared(bytes, 0));
    }

    /// Appends a part of a file. Returns `false` if `offset + len`, or the length of all output,
    /// overflows.
    #[must_use]
    pub(super) fn file(&mut self, file: Arc<File>, offset: u64, len: u64) -> bool {
        let (Some(end), Some(all)) = (offset.checked_add(len), self.len.checked_add(len)) else {
            return false;
        };
        self.end_tail();
        (self.len, self.files) = (all, self.files + 1);
        self.pieces.push_back(Piece::File { file, offset, end });
        true
    }

    /// Appends bytes, at least one, and descriptors that are sent with the first of them.
    pub(super) fn with_fds(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) {
        self.end_tail();
        self.len += bytes.len() as u64;
        self.files += fds.len();
        self.pieces.push_back(Piece::WithFds(bytes.to_vec(), fds));
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.pieces.push_back(Piece::Bytes(tail, 0));
        }
    }

    /// Writes until the output is empty, the socket is full, or at least `budget` bytes have been
    /// written.
    pub(super) fn flush(&mut self, stream: &Socket, budget: u64) -> io::Result<Flushed> {
        let mut written = 0;
        // The usual case is one piece of bytes.
        if self.pieces.is_empty() && !self.tail.is_empty() {
            match retry(|| stream.write(&self.tail)) {
                Ok(n) if n == self.tail.len() => {
                    self.len -= n as u64;
                    self.tail.clear();
                    return Ok(Flushed::All);
                }
                Ok(n) => {
                    // The rest is tried below, because a short write does not prove that the socket
                    // is full.
                    self.len -= n as u64;
                    written += n as u64;
                    let tail = std::mem::take(&mut self.tail);
                    self.pieces.push_back(Piece::Bytes(tail, n));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(e) => return Err(e),
            }
        }
        self.end_tail();
        while let Some(first) = self.pieces.front_mut() {
            if written >= budget {
                return Ok(Flushed::Budget);
            }
            let result = match first {
                Piece::File { file, offset, end } => {
                    let count = (*end - *offset).min(FILE_CHUNK) as usize;
                    retry(|| stream.write_file(file, *offset, count))
                }
                Piece::WithFds(bytes, fds) => {
                    let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
                    retry(|| stream.write_with_fds(bytes, &fds))
                }
                Piece::Bytes(..) | Piece::Shared(..) => self.write_bytes(stream),
            };
            match result {
                Ok(0) => {
                    // The file was cut short while it was sent, or the socket takes nothing.
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(n) => {
                    written += n as u64;
                    self.len -= n as u64;
                    self.advance(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(e) => return Err(e),
            }
        }
        Ok(Flushed::All)
    }

    /// Writes up to 16 pieces of bytes at the front in one vectored write. If there is only one and
    /// a file follows it, tells the kernel that more comes.
    fn write_bytes(&self, stream: &Socket) -> io::Result<usize> {
        let front = self.pieces.iter().map_while(Piece::bytes);
        let mut slices = [io::IoSlice::new(&[]); 16];
        let mut used = 0;
        for (slot, bytes) in slices.iter_mut().zip(front) {
            *slot = io::IoSlice::new(bytes);
            used += 1;
        }
        let file_follows = matches!(self.pieces.get(used), Some(Piece::File { .. }));
        match (&slices[..used], file_follows) {
            ([only], true) => retry(|| stream.write_more(only)),
            (all, _) => retry(|| stream.write_slices(all)),
        }
    }

    fn advance(&mut self, mut n: usize) {
        while n > 0 {
            let Some(first) = self.pieces.front_mut() else {
                return;
            };
            let left = first.len();
            if n as u64 >= left {
                n -= left as usize;
                self.files -= first.descriptors();
                self.pieces.pop_front();
                continue;
            }
            match first {
                Piece::Bytes(_, at) | Piece::Shared(_, at) => *at += n,
                Piece::File { offset, .. } => *offset += n as u64,
                // The descriptors have been sent with the first byte.
                Piece::WithFds(bytes, fds) => {
                    self.files -= fds.len();
                    *first = Piece::Bytes(std::mem::take(bytes), n);
                }
            }
            return;
        }
    }

    /// Ends an event: returns the worker's buffer to it, if nothing is left in it.
    pub(super) fn settle(&mut self) {
        if self.pieces.is_empty() && self.pieces.capacity() > KEPT {
            self.pieces.shrink_to(KEPT);
        }
        if self.tail.is_empty() && self.tail.capacity() > 0 {
            let tail = std::mem::take(&mut self.tail);
            if tail.capacity() <= SCRATCH {
                thread::state(|state| state.output.set(tail));
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.tail.clear();
        (self.len, self.files) = (0, 0);
    }
}

fn retry(mut f: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match f() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
#[path = "buffer_tests.rs"]
mod tests;

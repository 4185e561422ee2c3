//! A TLS session without a socket.
//!
//! Bytes from the peer go in, and plain bytes come out. Each call returns what the socket has to do
//! next.
//!
//! rustls is fed in the pieces that it takes. When the caller's room is full, the bytes that were
//! not fed stay here. These are at most the bytes of one read of the socket, and none while the
//! connection is idle.

use std::io::{self, BufRead, Write};

use rustls::Connection;

use super::MOST_SEALED;

/// The most bytes that one read takes from the socket.
pub(super) const READ: usize = 128 * 1024;

/// The fewest bytes that one read asks for, so that the longest record fits into a single read.
const LEAST_READ: usize = 17 * 1024;

/// The most times that rustls is fed in one call of a reader.
const MOST_FED: usize = 32;

/// A TLS session; see the module's documentation.
pub(super) struct Session {
    tls: Connection,
    /// The bytes that were received and, from `fed` on, have not been fed to rustls yet.
    left: Vec<u8>,
    fed: usize,
    failed: Option<Failure>,
    peer: Peer,
    end: End,
}

/// A failure, which is reported after all plain bytes that came before it have been taken.
enum Failure {
    /// The peer violates the TLS protocol. The failure is permanent.
    Tls(rustls::Error),
    /// The socket has failed. The failure is reported once, as the socket itself reports it again.
    Socket(io::Error),
}

/// Whether the peer has closed its side of the socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    Talks,
    Gone,
}

/// Whether the peer has been told that no more bytes will come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Said,
}

/// One call of a reader.
pub(super) struct Reading {
    /// The number of plain bytes that the caller still has room for.
    room: usize,
    /// The number of plain bytes that the caller has taken.
    taken: usize,
    times_fed: usize,
}

/// The next step of a handshake.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    Done,
    /// All sealed bytes have to be sent.
    Send,
    /// The socket has to be read, for at most this number of bytes.
    Read(usize),
}

/// The outcome of a call of a reader.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The call is over, with this number of plain bytes. If the number is 0 although there was
    /// room, the peer has said that no more bytes will come.
    Done(usize),
    /// The call has done enough work, with this number of plain bytes. If that is 0, the reader has
    /// to call again.
    Later(usize),
    /// There is an answer to send now, as much of it as the socket takes. The call goes on after
    /// that.
    Send,
    /// The socket has to be read, for at most this number of bytes. The call has got no plain
    /// bytes.
    Read(usize),
}

/// Whether received bytes have led to an answer where nothing waited to be sent.
///
/// If something did wait, a writer is about to send it, perhaps in another task that has left its
/// waker with the socket. That writer sends the answer too.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Made,
    NotMade,
}

impl Reading {
    /// Begins a call of a reader that has room for `room` plain bytes.
    pub(super) fn of(room: usize) -> Reading {
        Reading { room, taken: 0, times_fed: 0 }
    }
}

impl Session {
    pub(super) fn new(mut tls: Connection) -> Session {
        tls.set_buffer_limit(Some(MOST_SEALED));
        Session { tls, left: Vec::new(), fed: 0, failed: None, peer: Peer::Talks, end: End::Open }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.tls
    }

    /// Returns the next step of the handshake.
    ///
    /// # Errors
    ///
    /// Returns the failure of the session if there is one, and `UnexpectedEof` if the peer has
    /// closed its side.
    pub(super) fn handshake(&mut self) -> io::Result<Handshake> {
        self.check()?;
        Ok(match (self.tls.is_handshaking(), self.peer) {
            _ if self.tls.wants_write() => Handshake::Send,
            (false, _) => Handshake::Done,
            (true, Peer::Talks) => Handshake::Read(LEAST_READ),
            (true, Peer::Gone) => return Err(io::ErrorKind::UnexpectedEof.into()),
        })
    }

    /// Gives the plain bytes that are there to `take`, and returns what is needed to get more.
    ///
    /// # Errors
    ///
    /// Returns the failure of the session, after all plain bytes that came before it have been
    /// taken. Returns `UnexpectedEof` if the peer has closed its side without saying that no more
    /// bytes will come.
    pub(super) fn read(
        &mut self,
        reading: &mut Reading,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<Next> {
        while reading.room > 0 {
            match self.tls.reader().fill_buf() {
                Ok([]) => break,
                Ok(plain) => {
                    let n = plain.len().min(reading.room);
                    take(&plain[..n]);
                    self.tls.reader().consume(n);
                    reading.taken += n;
                    reading.room -= n;
                }
                Err(_) if reading.taken > 0 && self.left.is_empty() => break,
                Err(_) if self.failed.is_some() => break,
                // The bytes that are left are fed until the caller's room is full. The socket is
                // read again only if the caller has got no bytes at all.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    // Records without contents must not occupy the worker for long.
                    reading.times_fed += 1;
                    if reading.times_fed > MOST_FED {
                        return Ok(Next::Later(reading.taken));
                    }
                    if self.left.is_empty() {
                        return Ok(Next::Read(reading.room.clamp(LEAST_READ, READ)));
                    }
                    if self.feed_what_is_left() == Answer::Made {
                        return Ok(Next::Send);
                    }
                }
                Err(_) if reading.taken > 0 => break,
                Err(e) => return Err(e),
            }
        }
        if reading.taken == 0 {
            self.check()?;
        }
        Ok(Next::Done(reading.taken))
    }

    /// Returns the failure of the session, if there is one.
    #[inline]
    fn check(&mut self) -> io::Result<()> {
        match self.failed.take() {
            None => Ok(()),
            Some(Failure::Socket(error)) => Err(error),
            Some(Failure::Tls(error)) => {
                self.failed = Some(Failure::Tls(error.clone()));
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }

    /// Takes bytes that the socket has received. No bytes mean that the peer has closed its side.
    #[inline]
    pub(super) fn receive(&mut self, mut bytes: &[u8]) -> Answer {
        if bytes.is_empty() {
            self.peer = Peer::Gone;
        }
        if !self.left.is_empty() {
            self.left.extend_from_slice(bytes);
            return self.feed_what_is_left();
        }
        let answer = self.feed(&mut bytes);
        self.left.extend_from_slice(bytes);
        answer
    }

    /// Records that the socket has failed.
    pub(super) fn fail(&mut self, error: io::Error) {
        self.failed.get_or_insert(Failure::Socket(error));
    }

    #[inline]
    fn feed_what_is_left(&mut self) -> Answer {
        let left = std::mem::take(&mut self.left);
        let mut rest = &left[self.fed..];
        let answer = self.feed(&mut rest);
        self.fed = left.len() - rest.len();
        match rest.is_empty() {
            // An idle connection keeps no buffer.
            true => self.fed = 0,
            false => self.left = left,
        }
        answer
    }

    /// Feeds rustls until it has taken all bytes, or there are plain bytes that have to be taken
    /// first.
    #[inline]
    fn feed(&mut self, from: &mut &[u8]) -> Answer {
        let had_to_write = self.tls.wants_write();
        if let Err(failure) = self.feed_until_plain(from) {
            // The bytes behind a failure cannot be decoded.
            *from = &[];
            self.failed.get_or_insert(failure);
        }
        match !had_to_write && self.tls.wants_write() {
            true => Answer::Made,
            false => Answer::NotMade,
        }
    }

    #[inline]
    fn feed_until_plain(&mut self, from: &mut &[u8]) -> Result<(), Failure> {
        loop {
            self.tls.read_tls(from).map_err(Failure::Socket)?;
            let state = self.tls.process_new_packets().map_err(Failure::Tls)?;
            // Bytes after the peer's end of the stream are dropped.
            if state.peer_has_closed() {
                *from = &[];
            }
            if from.is_empty() || state.plaintext_bytes_to_read() > 0 {
                return Ok(());
            }
        }
    }

    /// Returns the length in bytes of the buffer that keeps what rustls has not taken.
    #[cfg(any(test, dapple_fuzzing))]
    pub(super) fn held(&self) -> usize {
        self.left.len()
    }

    /// Seals what `seal` writes, and returns the number of bytes. If that is 0, nothing more can be
    /// sealed before some of the sealed bytes are sent.
    ///
    /// # Errors
    ///
    /// Returns the errors of `seal`, which are those of rustls's writer.
    #[inline]
    pub(super) fn seal(
        &mut self,
        seal: &mut dyn FnMut(&mut dyn Write) -> io::Result<usize>,
    ) -> io::Result<usize> {
        seal(&mut self.tls.writer())
    }

    /// Ends the output and tells the peer so. Nothing is sealed after that.
    pub(super) fn end(&mut self) {
        if self.end == End::Open {
            self.tls.send_close_notify();
            self.end = End::Said;
        }
    }

    /// Sends the sealed bytes until all are sent, or until `to` returns an error.
    ///
    /// # Errors
    ///
    /// Returns the errors of `to`, and `WriteZero` if it takes no bytes.
    #[inline]
    pub(super) fn send(&mut self, to: &mut dyn Write) -> io::Result<()> {
        while self.tls.wants_write() {
            if self.tls.write_tls(to)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;

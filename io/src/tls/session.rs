//! A TLS session without its socket: bytes of the peer go in, plain bytes come out, and the answer
//! to what is asked of it says what the socket is to do next.
//!
//! rustls is fed in the pieces that it takes. What is left over when the caller's room is full
//! stays here; that is at most what one reading got, and nothing while a connection is idle.

use std::io::{self, BufRead, Write};

use rustls::Connection;

use super::MOST_SEALED;

/// Bytes that one reading takes from the socket, at most.
pub(super) const READ: usize = 128 * 1024;

/// Bytes that one reading asks for, at least: a record is not to be read in two.
const LEAST_READ: usize = 17 * 1024;

/// Times that rustls is fed in one call of a reader, at most.
const MOST_FED: usize = 32;

/// See the module.
pub(super) struct Session {
    tls: Connection,
    /// What was received and not yet fed to rustls, from `fed` on.
    left: Vec<u8>,
    fed: usize,
    failed: Option<Failure>,
    peer: Peer,
    end: End,
}

/// What went wrong. It is told when all plain bytes that came before it have been taken.
enum Failure {
    /// The peer does not speak TLS as it has to. That is so for good.
    Tls(rustls::Error),
    /// The socket has failed: told once, as the socket says it again.
    Socket(io::Error),
}

/// Whether the peer has closed its side of the socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    Talks,
    Gone,
}

/// Whether the peer has been told that nothing more will come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Said,
}

/// A call of a reader.
pub(super) struct Reading {
    /// Plain bytes that it takes, at most.
    room: usize,
    /// Plain bytes that it has taken.
    taken: usize,
    times_fed: usize,
}

/// What a handshake needs.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    Done,
    /// What is to be sent, all of it.
    Send,
    /// What the socket has, so many bytes at most.
    Read(usize),
}

/// What a call of a reader comes to.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is over, with so many bytes. None, though there was room: the peer has said that no more
    /// will come.
    Done(usize),
    /// There was enough work for one call: it is to be made again, if no bytes were got.
    Later(usize),
    /// There is an answer to be sent: as far as it goes, now.
    Send,
    /// The socket is to be read, for so many bytes at most. No bytes were got.
    Read(usize),
}

/// Whether what was received has made something to be sent where there was nothing. If there was
/// some, the writer is at it, perhaps in another task, which has left its waker: then the answer is
/// theirs to send, too.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Made,
    NotMade,
}

impl Reading {
    /// For so many plain bytes at most.
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

    /// What the handshake needs; nothing, when it is done.
    ///
    /// # Errors
    ///
    /// What went wrong; `UnexpectedEof` if the peer has closed its side.
    pub(super) fn handshake(&mut self) -> io::Result<Handshake> {
        self.check()?;
        Ok(match (self.tls.is_handshaking(), self.peer) {
            _ if self.tls.wants_write() => Handshake::Send,
            (false, _) => Handshake::Done,
            (true, Peer::Talks) => Handshake::Read(LEAST_READ),
            (true, Peer::Gone) => return Err(io::ErrorKind::UnexpectedEof.into()),
        })
    }

    /// Gives plain bytes to `take`, as far as there are some, and says what more of them needs.
    ///
    /// # Errors
    ///
    /// What went wrong, when all that came before it has been taken.
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
                // What is there is fed for a full buffer; the socket is asked again only for an
                // empty one.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    // Records without contents are not to hold the worker.
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

    /// Tells what went wrong.
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

    /// What the socket has given; nothing: the peer has closed its side.
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

    /// The socket has failed.
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
            // An idle connection holds nothing.
            true => self.fed = 0,
            false => self.left = left,
        }
        answer
    }

    /// Feeds rustls until all is taken, or there is plain text, which has to be taken first.
    #[inline]
    fn feed(&mut self, from: &mut &[u8]) -> Answer {
        let had_to_write = self.tls.wants_write();
        if let Err(failure) = self.feed_until_plain(from) {
            // Nothing behind it will be understood.
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
            // What comes after the peer's end is nobody's.
            if state.peer_has_closed() {
                *from = &[];
            }
            if from.is_empty() || state.plaintext_bytes_to_read() > 0 {
                return Ok(());
            }
        }
    }

    /// How many bytes are held that rustls has not taken.
    #[cfg(any(test, dapple_fuzzing))]
    pub(super) fn held(&self) -> usize {
        self.left.len()
    }

    /// Seals what `seal` writes, and says how much that was; 0: nothing more before some of what is
    /// sealed has been sent.
    ///
    /// # Errors
    ///
    /// What rustls's writer returns.
    #[inline]
    pub(super) fn seal(
        &mut self,
        seal: &mut dyn FnMut(&mut dyn Write) -> io::Result<usize>,
    ) -> io::Result<usize> {
        seal(&mut self.tls.writer())
    }

    /// Ends the output: nothing more will be sealed.
    pub(super) fn end(&mut self) {
        if self.end == End::Open {
            self.tls.send_close_notify();
            self.end = End::Said;
        }
    }

    /// Sends what is sealed until `to` takes no more.
    ///
    /// # Errors
    ///
    /// Those of `to`; `WriteZero` if it takes nothing without one.
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

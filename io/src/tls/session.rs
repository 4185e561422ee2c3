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

/// And at least, as far as there is room in the buffer: a record is not to be read in two.
pub(super) const LEAST_READ: usize = 17 * 1024;

/// Times that rustls is fed in one call of a reader, at most.
const MOST_FED: usize = 32;

/// See the module.
pub(super) struct Session {
    tls: Connection,
    /// What was received and not yet fed to rustls, from `fed` on.
    left: Vec<u8>,
    fed: usize,
    /// What went wrong after bytes that have to be delivered first.
    failed: Option<io::Error>,
    end: End,
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

/// What is to be done next.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The call is over, with so many bytes; none: the peer has said that no more will come.
    Done(usize),
    /// There was enough work for one call: it is to be made again, if no bytes were got.
    Later(usize),
    /// There is an answer to be sent: as far as it goes, now.
    Send,
    /// The socket is to be read, for so many bytes at most.
    Read(usize),
}

impl Reading {
    /// For so many plain bytes at most.
    pub(super) fn of(room: usize) -> Reading {
        Reading { room, taken: 0, times_fed: 0 }
    }

    pub(super) fn taken(&self) -> usize {
        self.taken
    }
}

impl Session {
    pub(super) fn new(mut tls: Connection) -> Session {
        tls.set_buffer_limit(Some(MOST_SEALED));
        Session { tls, left: Vec::new(), fed: 0, failed: None, end: End::Open }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.tls
    }

    /// What the handshake needs; nothing, when it is done.
    ///
    /// # Errors
    ///
    /// What went wrong; what is to be sent of that, has been.
    pub(super) fn handshake(&mut self) -> io::Result<Next> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        Ok(match self.tls.is_handshaking() {
            _ if self.tls.wants_write() => Next::Send,
            false => Next::Done(0),
            true => Next::Read(LEAST_READ),
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
            if self.failed.is_some() {
                return self.done(reading);
            }
            match self.tls.reader().fill_buf() {
                Ok([]) => break,
                Ok(plain) => {
                    let n = plain.len().min(reading.room);
                    take(&plain[..n]);
                    self.tls.reader().consume(n);
                    reading.taken += n;
                    reading.room -= n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    // What is there is fed for a full buffer; the socket is asked again only for
                    // an empty one.
                    if reading.taken > 0 && self.left.is_empty() {
                        break;
                    }
                    // Records without contents are not to hold the worker.
                    reading.times_fed += 1;
                    if reading.times_fed > MOST_FED {
                        return Ok(Next::Later(reading.taken));
                    }
                    if self.left.is_empty() {
                        return Ok(Next::Read(reading.room.clamp(LEAST_READ, READ)));
                    }
                    if self.feed_what_is_left() == Answer::New {
                        return Ok(Next::Send);
                    }
                }
                Err(_) if reading.taken > 0 => break,
                Err(e) => return Err(e),
            }
        }
        self.done(reading)
    }

    /// The end of a call: what was got is delivered before what went wrong.
    fn done(&mut self, reading: &Reading) -> io::Result<Next> {
        match self.failed.take_if(|_| reading.taken == 0) {
            Some(error) => Err(error),
            None => Ok(Next::Done(reading.taken)),
        }
    }

    /// What the socket has given; nothing: the peer has closed its side.
    pub(super) fn receive(&mut self, mut bytes: &[u8]) -> Answer {
        debug_assert!(self.left.is_empty(), "what was left over is fed first");
        let answer = self.feed(&mut bytes);
        self.left.extend_from_slice(bytes);
        answer
    }

    /// The socket has failed.
    pub(super) fn fail(&mut self, error: io::Error) {
        self.failed.get_or_insert(error);
    }

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
    fn feed(&mut self, from: &mut &[u8]) -> Answer {
        let had_to_write = self.tls.wants_write();
        let fed = loop {
            let fed = self.tls.read_tls(from).and_then(|_| {
                let fed = self.tls.process_new_packets();
                fed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            });
            match fed {
                Err(error) => break Err(error),
                Ok(state) => {
                    // What comes after the peer's end is nobody's.
                    if state.peer_has_closed() {
                        *from = &[];
                    }
                    if from.is_empty() || state.plaintext_bytes_to_read() > 0 {
                        break Ok(());
                    }
                }
            }
        };
        if let Err(error) = fed {
            // Nothing behind it will be understood.
            *from = &[];
            self.failed = Some(error);
        }
        match !had_to_write && self.tls.wants_write() {
            true => Answer::New,
            false => Answer::None,
        }
    }

    /// Seals what `seal` writes, and says how much that was; 0: nothing more before some of what is
    /// sealed has been sent.
    ///
    /// # Errors
    ///
    /// Those of rustls's writer.
    pub(super) fn seal(
        &mut self,
        seal: &mut dyn FnMut(&mut dyn Write) -> io::Result<usize>,
    ) -> io::Result<usize> {
        seal(&mut self.tls.writer())
    }

    /// Nothing more will be sealed.
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
    pub(super) fn send(&mut self, to: &mut dyn Write) -> io::Result<()> {
        while self.tls.wants_write() {
            if self.tls.write_tls(to)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

/// Whether what was received has made something to be sent where there was nothing. If there was
/// some, whoever writes is at it, perhaps in another task, which has left its waker: then the
/// answer is theirs to send, too.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    New,
    None,
}

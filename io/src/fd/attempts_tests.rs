//! A model of a reader, a socket and a poller, searched in every interleaving. Nothing readable may
//! be left while the reader waits for an edge that does not come.
//!
//! The poller asks the system and reports to the stream in two steps. The model leaves out the
//! direction to the peer, whose short writes are like short reads without doubt. It leaves out
//! resets, which are like an end, and a second urgent mark before the first one has been passed. It
//! also leaves out two tasks that read in turn while one of them waits.

use std::collections::HashSet;

use super::*;

/// The number of bytes that a read asks for.
const WANTED: u8 = 2;

/// The most bytes that the peer sends.
const SENT: u8 = 4;

/// The state of a socket, as the system knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Socket {
    bytes: u8,
    /// The number of bytes before a mark, at which a read stops once.
    mark: Option<u8>,
    has_ended: bool,
    /// Something has happened that the poller has not reported yet.
    has_news: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Found {
    Nothing,
    Bytes(u8),
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reader {
    Runs,
    Attempts(Attempt),
    /// The reader has read, and has not recorded yet what it found.
    Found(Attempt, Found),
    Waits,
    HasEnded,
}

/// The state of the poller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Poller {
    Waits,
    /// The poller has asked the system, and has not reported the answer yet.
    Asked(Trust),
    /// The reactor has ended.
    HasEnded,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    socket: Socket,
    sent: u8,
    attempts: Attempts,
    reader: Reader,
    poller: Poller,
}

/// The way in which a read treats a byte of the peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Byte {
    Plain,
    /// A read stops once before this byte, and does not return it.
    Marked,
}

/// The right model, and models that each lack one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Right,
    /// An attempt that finds nothing ignores the edges that have come meanwhile.
    ForgetsEdges,
    /// An attempt that falls short ignores the edges that have come meanwhile.
    ForgetsEdgesOfShortReads,
    /// Urgent marks raise no doubt.
    TrustsMarks,
    /// Ends raise no doubt.
    TrustsEnds,
    /// An edge does not wake the waiting reader.
    WakesNobody,
    /// The end of the reactor does not wake the waiting reader.
    EndsUnheard,
}

impl Socket {
    fn read(&mut self) -> Found {
        let before_mark = match self.mark {
            Some(0) => {
                self.mark = None;
                self.bytes
            }
            Some(bytes) => bytes,
            None => self.bytes,
        };
        match before_mark.min(WANTED) {
            0 if self.has_ended && self.bytes == 0 => Found::End,
            0 => Found::Nothing,
            bytes => {
                self.bytes -= bytes;
                self.mark = self.mark.map(|mark| mark - bytes);
                Found::Bytes(bytes)
            }
        }
    }

    fn is_readable(&self) -> bool {
        self.bytes > 0 || self.has_ended
    }
}

impl World {
    fn new() -> World {
        let socket = Socket { bytes: 0, mark: None, has_ended: false, has_news: false };
        let (attempts, reader, poller) = (Attempts::new(Trust::Proof), Reader::Runs, Poller::Waits);
        World { socket, sent: 0, attempts, reader, poller }
    }

    /// Returns the worlds that one step leads to.
    fn next(&self, variant: Variant) -> Vec<World> {
        let mut all = Vec::new();
        let mut may = |change: &dyn Fn(&mut World)| {
            let mut world = self.clone();
            change(&mut world);
            all.push(world);
        };
        if self.sent < SENT && !self.socket.has_ended {
            may(&|world| world.arrives(Byte::Plain));
            if self.socket.mark.is_none() {
                may(&|world| world.arrives(Byte::Marked));
            }
        }
        if !self.socket.has_ended {
            may(&|world| (world.socket.has_ended, world.socket.has_news) = (true, true));
        }
        match self.poller {
            Poller::Waits if self.socket.has_news => may(&|world| world.asks(variant)),
            Poller::Asked(trust) => may(&|world| world.edge(trust, variant)),
            Poller::Waits | Poller::HasEnded => {}
        }
        if self.poller == Poller::Waits {
            may(&|world| world.reactor_ends(variant));
        }
        if !matches!(self.reader, Reader::Waits | Reader::HasEnded) {
            may(&|world| world.step(variant));
        }
        all
    }

    fn arrives(&mut self, byte: Byte) {
        self.sent += 1;
        self.socket.has_news = true;
        match byte {
            Byte::Marked => self.socket.mark = Some(self.socket.bytes),
            Byte::Plain => self.socket.bytes += 1,
        }
    }

    fn asks(&mut self, variant: Variant) {
        self.socket.has_news = false;
        let is_doubtful = (self.socket.mark.is_some() && variant != Variant::TrustsMarks)
            || (self.socket.has_ended && variant != Variant::TrustsEnds);
        self.poller = Poller::Asked(if is_doubtful { Trust::Doubt } else { Trust::Proof });
    }

    fn edge(&mut self, trust: Trust, variant: Variant) {
        self.poller = Poller::Waits;
        self.attempts.edge(trust);
        if self.reader == Reader::Waits && variant != Variant::WakesNobody {
            self.reader = Reader::Runs;
        }
    }

    fn reactor_ends(&mut self, variant: Variant) {
        self.poller = Poller::HasEnded;
        self.attempts.end();
        if self.reader == Reader::Waits && variant != Variant::EndsUnheard {
            self.reader = Reader::Runs;
        }
    }

    fn step(&mut self, variant: Variant) {
        self.reader = match self.reader {
            Reader::Runs => self.attempts.begin().map_or(Reader::Waits, Reader::Attempts),
            Reader::Attempts(attempt) => Reader::Found(attempt, self.socket.read()),
            Reader::Found(attempt, found) => self.found(attempt, found, variant),
            other => other,
        };
    }

    fn found(&mut self, mut attempt: Attempt, found: Found, variant: Variant) -> Reader {
        let forgets = match found {
            Found::Nothing => variant == Variant::ForgetsEdges,
            _ => variant == Variant::ForgetsEdgesOfShortReads,
        };
        if forgets {
            attempt.edges = self.attempts.edges;
        }
        match found {
            Found::Nothing => match self.attempts.found_nothing(attempt) {
                Ok(()) => assert_ne!(self.poller, Poller::HasEnded, "there is nothing to wait for"),
                Err(NoMoreEdges) => {
                    assert_eq!(self.poller, Poller::HasEnded, "there are edges to come");
                    return Reader::HasEnded;
                }
            },
            Found::Bytes(WANTED) => {}
            Found::Bytes(_) => self.attempts.fell_short(attempt),
            Found::End => return Reader::HasEnded,
        }
        Reader::Runs
    }

    /// Returns `true` if the reader waits although the socket is readable or the reactor has ended.
    fn is_lost(&self) -> bool {
        self.reader == Reader::Waits
            && match self.poller {
                Poller::Waits => self.socket.is_readable() && !self.socket.has_news,
                Poller::Asked(_) => false,
                Poller::HasEnded => true,
            }
    }
}

/// Searches all worlds, and returns their number, or a world in which something is lost.
fn search(variant: Variant) -> Result<usize, World> {
    let (mut seen, mut open) = (HashSet::new(), vec![World::new()]);
    while let Some(world) = open.pop() {
        if world.is_lost() {
            return Err(world);
        }
        for next in world.next(variant) {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn nothing_is_lost_in_any_interleaving() {
    let worlds = search(Variant::Right).unwrap();
    assert!(worlds > 1_000, "{worlds}");
}

#[test]
fn what_is_wrong_is_found() {
    for variant in [
        Variant::ForgetsEdges,
        Variant::ForgetsEdgesOfShortReads,
        Variant::TrustsMarks,
        Variant::TrustsEnds,
        Variant::WakesNobody,
        Variant::EndsUnheard,
    ] {
        assert!(search(variant).is_err(), "{variant:?}");
    }
}

#[test]
fn after_the_last_edge_every_attempt_tells() {
    let mut attempts = Attempts::new(Trust::Proof);
    let attempt = attempts.begin().unwrap();
    attempts.found_nothing(attempt).unwrap();
    assert_eq!(attempts.begin(), None);
    attempts.end();
    let attempt = attempts.begin().unwrap();
    attempts.fell_short(attempt);
    let attempt = attempts.begin().unwrap();
    assert!(attempts.found_nothing(attempt).is_err());
    attempts.edge(Trust::Proof);
    let attempt = attempts.begin().unwrap();
    assert!(attempts.found_nothing(attempt).is_err());
}

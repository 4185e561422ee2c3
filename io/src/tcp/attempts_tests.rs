//! A reader, a socket and a poller, in every interleaving: nothing that can be read is left while
//! the reader waits for an edge that does not come.

use std::collections::HashSet;

use super::*;

/// Bytes that a read wants.
const WANTED: u8 = 2;

/// Bytes that the peer sends, at most.
const SENT: u8 = 4;

/// What the system knows of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Socket {
    bytes: u8,
    /// Bytes before a mark at which a read stops once.
    mark: Option<u8>,
    has_ended: bool,
    /// Something has happened that the poller has not told.
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
    /// It has read, and has not told what it found.
    Found(Attempt, Found),
    Waits,
    HasEnded,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    socket: Socket,
    sent: u8,
    attempts: Attempts,
    reader: Reader,
}

/// What a rule's absence would look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Right,
    /// Edges that come while an attempt is made do not count for one that finds nothing.
    ForgetsEdges,
    /// Nor for one that falls short.
    ForgetsEdgesOfShortReads,
    /// Marks bring no doubt,
    TrustsMarks,
    /// nor do ends.
    TrustsEnds,
    /// An edge does not wake who waits.
    WakesNobody,
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
        World { socket, sent: 0, attempts: Attempts::new(), reader: Reader::Runs }
    }

    /// Everything that may happen next.
    fn next(&self, variant: Variant) -> Vec<World> {
        let mut all = Vec::new();
        let mut may = |change: &dyn Fn(&mut World)| {
            let mut world = self.clone();
            change(&mut world);
            all.push(world);
        };
        if self.sent < SENT && !self.socket.has_ended {
            may(&|world| world.arrives(false));
            if self.socket.mark.is_none() {
                may(&|world| world.arrives(true));
            }
        }
        if !self.socket.has_ended {
            may(&|world| (world.socket.has_ended, world.socket.has_news) = (true, true));
        }
        if self.socket.has_news {
            may(&|world| world.edge(variant));
        }
        if !matches!(self.reader, Reader::Waits | Reader::HasEnded) {
            may(&|world| world.step(variant));
        }
        all
    }

    /// A byte arrives, perhaps a marked one, which is not read as the others are.
    fn arrives(&mut self, is_marked: bool) {
        self.sent += 1;
        self.socket.has_news = true;
        match is_marked {
            true => self.socket.mark = Some(self.socket.bytes),
            false => self.socket.bytes += 1,
        }
    }

    fn edge(&mut self, variant: Variant) {
        self.socket.has_news = false;
        let is_doubtful = (self.socket.mark.is_some() && variant != Variant::TrustsMarks)
            || (self.socket.has_ended && variant != Variant::TrustsEnds);
        self.attempts.edge(if is_doubtful { Trust::Doubt } else { Trust::Proof });
        if self.reader == Reader::Waits && variant != Variant::WakesNobody {
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
            Found::Nothing => self.attempts.found_nothing(attempt).expect("the reactor runs"),
            Found::Bytes(WANTED) => {}
            Found::Bytes(_) => self.attempts.fell_short(attempt),
            Found::End => return Reader::HasEnded,
        }
        Reader::Runs
    }

    /// What can be read is left, and nobody comes.
    fn is_lost(&self) -> bool {
        self.reader == Reader::Waits && self.socket.is_readable() && !self.socket.has_news
    }
}

/// How many worlds there are, or one in which something is lost.
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
    ] {
        assert!(search(variant).is_err(), "{variant:?}");
    }
}

#[test]
fn after_the_last_edge_every_attempt_tells() {
    let mut attempts = Attempts::new();
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

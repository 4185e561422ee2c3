//! The state and the decisions of a peer, whether its events have colors or contexts.
//!
//! Rounds have no master. The peer whose turn it is makes the data of a round, and sends each peer
//! a part. A peer that gets a part answers with samples of it. When all samples have come, the turn
//! goes to the next peer, and the first peer makes the long summary. If its next turn comes before
//! the summary is ready, its next round begins after the summary.
//!
//! All peers send each other heartbeats. A peer that does not answer within the timeout is declared
//! dead, and its open parts are given to another peer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::draw::Draw;
use super::table::{self, Table};
use super::wire::{Message, Name};

/// The number of peers, and of the parts of a round's data.
pub(super) const PEERS: usize = 3;
/// The number of rows of a part.
const ROWS: u32 = 64;
/// The number of samples of each part.
pub(super) const SAMPLES: usize = 4;

/// The settings that all peers share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// The number of columns of the data.
    pub(super) columns: usize,
    pub(super) rounds: u32,
    /// The time between two heartbeats; a peer that does not answer one within `timeout` is dead.
    pub(super) period: Duration,
    pub(super) timeout: Duration,
}

impl Setting {
    /// Returns the number of cells in the data of a round.
    pub(super) fn elements(&self) -> usize {
        self.columns * ROWS as usize * PEERS
    }
}

/// A record of all peers, from the viewpoint of an observer who knows that all of them live.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<Events>);

#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    /// The longest time from a heartbeat to its answer.
    pub(super) longest: Duration,
    /// Lines about live peers that were declared dead.
    pub(super) wrong: Vec<String>,
    /// The number of parts that were given to another peer for that.
    pub(super) given_away: usize,
    /// The number of messages that could not be parsed or sent.
    pub(super) odd: usize,
    /// The score of each round, as the last peer learned it.
    pub(super) scores: BTreeMap<u32, u64>,
    /// The number of scores that peers have received.
    pub(super) heard: usize,
}

impl Journal {
    pub(super) fn events(&self) -> Events {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the number of scores that peers have received.
    pub(super) fn heard(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).heard
    }

    /// Counts a message that could not be parsed or sent.
    pub(super) fn count_odd(&self) {
        self.note(|events| events.odd += 1);
    }

    fn note(&self, f: impl FnOnce(&mut Events)) {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Messages to send, with their recipients.
pub(super) type Outbox = Vec<(Name, Message)>;

#[derive(Clone)]
pub(super) struct Peer {
    name: Name,
    setting: Setting,
    journal: Arc<Journal>,
    others: [Other; PEERS],
    round: Option<Round>,
    /// The round that begins when the current one is over.
    next: Option<u32>,
}

/// The knowledge of a peer about another peer.
#[derive(Clone, Copy, Default)]
struct Other {
    asked: u32,
    /// The time of the heartbeat that has no answer yet.
    since: Option<Instant>,
    is_dead: bool,
}

/// A round that the peer itself has begun.
#[derive(Clone)]
struct Round {
    number: u32,
    bands: Arc<Vec<Table>>,
    /// For each part, the peer that has it, and its samples if they have come.
    parts: [(Name, Option<Arc<Vec<Table>>>); PEERS],
}

/// The input of a summary.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) round: u32,
    pub(super) bands: Arc<Vec<Table>>,
    pub(super) samples: Vec<Vec<Table>>,
}

impl Job {
    /// Returns the number of columns.
    pub(super) fn columns(&self) -> usize {
        self.bands[0].columns.len()
    }

    /// Makes the summary, which is the score of the round.
    pub(super) fn summarize(&self) -> u64 {
        table::coevolved(&self.bands, &self.samples, 0..self.columns())
    }
}

/// Returns the generator for a part, which depends on the part and not on the peer that samples it.
pub(super) fn draw(round: u32, part: u32) -> Draw {
    Draw(u64::from(round) << 32 | u64::from(part))
}

/// Makes the samples of a part.
pub(super) fn samples(round: u32, part: u32, mut band: Table) -> Vec<Table> {
    let mut draw = draw(round, part);
    let sample = |_| {
        band.next_sample(&mut draw);
        band.clone()
    };
    (0..SAMPLES).map(sample).collect()
}

/// Makes the data of a round, in parts.
fn data(setting: &Setting, round: u32) -> Vec<Table> {
    let mut draw = Draw(u64::from(round) + 1_000);
    (0..PEERS).map(|_| Table::random(ROWS, setting.columns, &mut draw)).collect()
}

/// Computes the scores of all rounds without any peers.
pub(super) fn scores(setting: &Setting) -> BTreeMap<u32, u64> {
    let score = |round: u32| {
        let bands = data(setting, round);
        let parts = (0..).zip(&bands);
        let samples = parts.map(|(part, band)| samples(round, part, band.clone())).collect();
        (round, Job { round, bands: Arc::new(bands), samples }.summarize())
    };
    (0..setting.rounds).map(score).collect()
}

impl Peer {
    pub(super) fn new(name: Name, setting: Setting, journal: &Arc<Journal>) -> Peer {
        Peer {
            name,
            setting,
            journal: Arc::clone(journal),
            others: [Other::default(); PEERS],
            round: None,
            next: None,
        }
    }

    /// Begins a round now, or after the current one.
    pub(super) fn begin(&mut self, number: u32) -> Outbox {
        if number >= self.setting.rounds {
            return Outbox::new();
        }
        if self.round.is_some() {
            self.next = Some(number);
            return Outbox::new();
        }
        let bands = Arc::new(data(&self.setting, number));
        let mut round = Round { number, bands, parts: Default::default() };
        let mut out = Outbox::new();
        for part in 0..PEERS {
            out.push(self.give(&mut round, part, part));
        }
        self.round = Some(round);
        out
    }

    /// Gives a part to the peer `to`, or to the next live peer if `to` is dead.
    fn give(&self, round: &mut Round, part: usize, to: Name) -> (Name, Message) {
        let alive = |name: &Name| !self.others[*name].is_dead;
        let to = (0..PEERS).map(|n| (to + n) % PEERS).find(alive).unwrap_or(self.name);
        round.parts[part].0 = to;
        if to != part {
            self.journal.note(|events| events.given_away += 1);
        }
        let band = round.bands[part].clone();
        (to, Message::Part { round: round.number, part: part as u32, band })
    }

    /// Takes the samples of a part. After the last samples, passes the turn to the next peer and
    /// returns the job of the summary.
    pub(super) fn collect(
        &mut self,
        number: u32,
        part: u32,
        samples: Vec<Table>,
    ) -> (Outbox, Option<Job>) {
        let Some(round) = self.round.as_mut().filter(|round| round.number == number) else {
            return (Outbox::new(), None);
        };
        let Some((_, slot @ None)) = round.parts.get_mut(part as usize) else {
            // The part was given to another peer, whose samples came first.
            return (Outbox::new(), None);
        };
        *slot = Some(Arc::new(samples));
        let all = round.parts.each_ref().map(|(_, samples)| samples.as_deref().cloned());
        let Some(samples) = all.into_iter().collect::<Option<Vec<_>>>() else {
            return (Outbox::new(), None);
        };
        let job = Job { round: number, bands: Arc::clone(&round.bands), samples };
        (vec![((self.name + 1) % PEERS, Message::Begin(number + 1))], Some(job))
    }

    /// Announces the summary to all peers, and begins the next round if one waits.
    pub(super) fn announce(&mut self, round: u32, score: u64) -> Outbox {
        let mut out: Outbox = (0..PEERS).map(|to| (to, Message::Score { round, score })).collect();
        self.round = None;
        if let Some(next) = self.next.take() {
            out.extend(self.begin(next));
        }
        out
    }

    pub(super) fn learn(&self, round: u32, score: u64) {
        self.journal.note(|events| {
            events.scores.insert(round, score);
            events.heard += 1;
        });
    }

    /// Sends heartbeats to the others, and declares those dead that have not answered in time.
    pub(super) fn tick(&mut self, now: Instant) -> Outbox {
        let (mut out, own) = (Outbox::new(), self.name);
        for name in (0..PEERS).filter(|name| *name != own) {
            let timeout = self.setting.timeout;
            let other = &mut self.others[name];
            let Some(since) = other.since else {
                other.asked += 1;
                other.since = Some(now);
                out.push((name, Message::Ping(other.asked)));
                continue;
            };
            let silent = now.saturating_duration_since(since);
            if silent > timeout && !other.is_dead {
                other.is_dead = true;
                out.extend(self.bury(name, silent));
            }
        }
        out
    }

    /// Gives the open parts of a dead peer to other peers.
    fn bury(&mut self, dead: Name, silent: Duration) -> Outbox {
        let mut out = Outbox::new();
        let mut line = format!(
            "peer {} declares peer {dead} dead after {} ms; it lives",
            self.name,
            silent.as_millis()
        );
        if let Some(mut round) = self.round.take() {
            for part in 0..PEERS {
                if round.parts[part].0 == dead && round.parts[part].1.is_none() {
                    let (to, message) = self.give(&mut round, part, dead);
                    line += &format!("; part {part} of round {} goes to {to}", round.number);
                    out.push((to, message));
                }
            }
            self.round = Some(round);
        }
        self.journal.note(|events| events.wrong.push(line));
        out
    }

    /// Takes the answer of a peer to a heartbeat, which came at `at`.
    pub(super) fn take_pong(&mut self, from: Name, nth: u32, at: Instant) {
        let Some(other) = self.others.get_mut(from).filter(|other| other.asked == nth) else {
            return;
        };
        other.is_dead = false;
        if let Some(since) = other.since.take() {
            let took = at.saturating_duration_since(since);
            self.journal.note(|events| events.longest = events.longest.max(took));
        }
    }
}

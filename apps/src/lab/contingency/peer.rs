//! What a peer knows and decides, whether its events have colors or contexts.
//!
//! Rounds have no master. The peer whose turn it is makes the data of a round, and sends each peer
//! a part; a peer that gets a part answers with samples of it. When all samples have come, the turn
//! goes to the next peer, and this one makes the long summary. A peer that has not made its last
//! summary yet begins with its next round after that.
//!
//! All peers ask each other now and then whether they are there. Who does not answer in time is
//! declared dead, and the parts that it has are given to somebody else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::draw::Draw;
use super::table::{self, Table};
use super::wire::{Message, Name};

/// Peers, and parts of each round's data.
pub(super) const PEERS: usize = 3;
/// Rows of a part.
const ROWS: u32 = 64;
/// Samples of each part.
pub(super) const SAMPLES: usize = 4;

/// What is the same for all peers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// Columns of the data.
    pub(super) columns: usize,
    pub(super) rounds: u32,
    /// A peer is asked every `period`, and is dead if it has not answered within `timeout`.
    pub(super) period: Duration,
    pub(super) timeout: Duration,
}

impl Setting {
    /// Cells of the data of a round.
    pub(super) fn elements(&self) -> usize {
        self.columns * ROWS as usize * PEERS
    }
}

/// What has happened to all peers, as somebody sees it who knows that all of them live.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<Events>);

#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    /// The longest time from a question until its answer came.
    pub(super) longest: Duration,
    /// Lines about peers that were declared dead, though they live.
    pub(super) wrong: Vec<String>,
    /// Parts that were given to somebody else for that.
    pub(super) given_away: usize,
    /// Messages that were not understood.
    pub(super) odd: usize,
    /// What each round has come to, as the last peer has heard of it.
    pub(super) scores: BTreeMap<u32, u64>,
    /// How many scores peers have heard of.
    pub(super) heard: usize,
}

impl Journal {
    pub(super) fn events(&self) -> Events {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many scores peers have heard of.
    pub(super) fn heard(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).heard
    }

    /// A message was not understood.
    pub(super) fn has_odd(&self) {
        self.note(|events| events.odd += 1);
    }

    fn note(&self, f: impl FnOnce(&mut Events)) {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Messages that are to be sent.
pub(super) type Outbox = Vec<(Name, Message)>;

#[derive(Clone)]
pub(super) struct Peer {
    name: Name,
    setting: Setting,
    journal: Arc<Journal>,
    others: [Other; PEERS],
    round: Option<Round>,
    /// A round that has its turn when the current one is over.
    next: Option<u32>,
}

/// What is known of another peer.
#[derive(Clone, Copy, Default)]
struct Other {
    asked: u32,
    /// When it was asked what it has not answered yet.
    since: Option<Instant>,
    is_dead: bool,
}

/// A round of the peer's own.
#[derive(Clone)]
struct Round {
    number: u32,
    bands: Arc<Vec<Table>>,
    /// Who has each part, and what samples of it have come.
    parts: [(Name, Option<Arc<Vec<Table>>>); PEERS],
}

/// All that a summary needs.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) round: u32,
    pub(super) bands: Arc<Vec<Table>>,
    pub(super) samples: Vec<Vec<Table>>,
}

impl Job {
    /// Columns to go through.
    pub(super) fn columns(&self) -> usize {
        self.bands[0].columns.len()
    }

    /// The summary.
    pub(super) fn summarize(&self) -> u64 {
        table::coevolved(&self.bands, &self.samples, 0..self.columns())
    }
}

/// What the samples of a part are drawn with: they depend on the part, and not on who makes them.
pub(super) fn draw(round: u32, part: u32) -> Draw {
    Draw(u64::from(round) << 32 | u64::from(part))
}

/// The samples of a part.
pub(super) fn samples(round: u32, part: u32, mut band: Table) -> Vec<Table> {
    let mut draw = draw(round, part);
    let sample = |_| {
        band.next_sample(&mut draw);
        band.clone()
    };
    (0..SAMPLES).map(sample).collect()
}

/// The data of a round, in parts.
fn data(setting: &Setting, round: u32) -> Vec<Table> {
    let mut draw = Draw(u64::from(round) + 1_000);
    (0..PEERS).map(|_| Table::random(ROWS, setting.columns, &mut draw)).collect()
}

/// What all rounds come to, made by one alone.
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

    /// Has a round, now or after the current one.
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

    /// Gives a part to a peer, or to another one if that is dead.
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

    /// Takes samples of a part. If they were the last ones, the turn goes to the next peer, and the
    /// summary can be made.
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
            // Somebody else was faster, to whom the part was given later.
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

    /// The summary is made: tells all, and has the next round if that has waited.
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

    /// Looks after the others: asks them, and declares dead who has not answered in time.
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

    /// Gives away what a dead peer has to do.
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

    /// The answer of a peer has come at this time.
    pub(super) fn has_heard(&mut self, from: Name, nth: u32, at: Instant) {
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

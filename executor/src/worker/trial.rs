//! Try and compare (E3): every steal is on trial. What turns out to be long work is kept. Of the
//! rest, which averages cannot judge, the worker compares the throughput of the runtime with what
//! it was before, and undoes a steal that did not raise it.
//!
//! The throughput before is what the others did in the better of two naps of this worker, one after
//! the other: in the first one they may have been idle for a part of it. The one after is what all
//! did from [`WARM_UP`] after the steal on, or from the first look after that. If it has grown by a
//! twentieth, the worker may steal for [`TRUST`] without asking again. If not, it sends back what
//! it has, and leaves the others alone for a while: first [`LEAST_PAUSE`], twice as long each time
//! that it fails again. If there is nothing to compare with, as the figures had promised long work,
//! it sends back what it has, too, and may try properly.
//!
//! For as long as a trial that compares runs, or the worker is trusted, the others keep no plain
//! work from it (see `Fleet::opens_until`). A thief that has to ask for everything waits for each
//! answer: the web server of `dapple lab colors` gains 1.4 x in that way, and 1.6 x in this.
//!
//! What counts is the number of events, the only measure that fits every program. A program whose
//! events arrive at a fixed rate gains nothing by this measure, rightly: its worker keeps up, and a
//! second one would only move cache lines about. If it does not keep up, what waits behind one long
//! event is taken without a trial (E4).
//!
//! This file has no clock and no queues; it is told the time, and the events of all workers.

/// Nanoseconds of a trial.
pub(super) const TRIAL: u64 = 4_000_000;

/// Of these, until what counts begins. What was stolen, and all that it reads, comes to the other
/// core line by line. Where a second worker gains 1.6 x, three in four trials failed that were over
/// after these two milliseconds.
pub(super) const WARM_UP: u64 = 2_000_000;

/// Nanoseconds in which a worker whose trial went well steals without another one.
const TRUST: u64 = 200_000_000;

/// Nanoseconds in which a worker whose trial went badly does not try again.
const LEAST_PAUSE: u64 = 16_000_000;
const MOST_PAUSE: u64 = 1_000_000_000;

/// A nap shorter than this, in nanoseconds, tells nothing about throughput.
const NAP: u64 = 200_000;

/// What a nap tells is out of date after this, in nanoseconds.
const FRESH: u64 = 5_000_000;

/// The events of all workers at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) now: u64,
    pub(super) events: u64,
}

impl Reading {
    /// Events per millisecond since `before`.
    fn rate_since(self, before: Reading) -> u64 {
        let nanos = self.now.saturating_sub(before.now).max(1);
        self.events.saturating_sub(before.events).saturating_mul(1_000_000) / nanos
    }
}

/// How a trial ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The trial has not ended, or there is none.
    Open,
    /// What was stolen may stay.
    Kept,
    /// What is here goes back to this worker.
    Undone(usize),
}

/// The account of one worker; see the module.
#[derive(Debug, Default)]
pub(super) struct Trials {
    nap: Option<Reading>,
    /// Throughput in the last nap; 0: none.
    last_rate: u64,
    /// Throughput in the better of the last two naps, with nothing run in between, and when the
    /// last one ended.
    before: Option<(u64, u64)>,
    running: Option<Trial>,
    trusted_until: u64,
    paused_until: u64,
    pause: u64,
    doubts_until: u64,
}

/// A trial that runs.
#[derive(Debug)]
struct Trial {
    /// The time of the steal.
    began: u64,
    /// When what was stolen had come over.
    warm: Option<Reading>,
    /// Throughput before it, if that is known.
    before: Option<u64>,
    victim: usize,
    /// What the worker has run since, and the nanoseconds that it took.
    entries: u64,
    nanos: u64,
}

impl Trials {
    /// The worker goes to sleep.
    pub(super) fn naps(&mut self, reading: Reading) {
        // Naps of a worker that was woken for nothing count as one.
        self.nap.get_or_insert(reading);
    }

    /// Is told that the worker has slept.
    pub(super) fn wakes(&mut self, reading: Reading) {
        let long = |nap: &mut Reading| reading.now.saturating_sub(nap.now) >= NAP;
        let Some(nap) = self.nap.take_if(long) else { return };
        let rate = reading.rate_since(nap);
        let both = rate > 0 && self.last_rate > 0;
        self.before = both.then(|| (rate.max(self.last_rate), reading.now));
        self.last_rate = rate;
    }

    /// Is told that the worker has found work, in whatever way.
    pub(super) fn works(&mut self) {
        self.last_rate = 0;
        self.nap = None;
    }

    /// Says whether the figures have promised more than was there, lately.
    pub(super) fn doubts(&self, now: u64) -> bool {
        now < self.doubts_until
    }

    /// Says whether it may take what may or may not be worth its move. `paused_until`: the latest
    /// [`Trials::paused_until`] of any worker. What one has tried in vain the next one need not try
    /// at once.
    pub(super) fn allows(&self, now: u64, paused_until: u64) -> bool {
        now < self.trusted_until
            || self.running.is_some()
            || now >= paused_until && self.before.is_some_and(|(_, at)| now < at + FRESH)
    }

    /// Until when it steals what may be worth it without a trial.
    pub(super) fn trusted_until(&self) -> u64 {
        self.trusted_until
    }

    /// When it may try again.
    pub(super) fn paused_until(&self) -> u64 {
        self.paused_until
    }

    /// It has taken some from `victim`. True: a trial has begun that compares throughput.
    pub(super) fn begins(&mut self, reading: Reading, victim: usize) -> bool {
        if reading.now >= self.trusted_until && self.running.is_none() {
            let before = self.before.take().filter(|(_, at)| reading.now < at + FRESH);
            let before = before.map(|(rate, _)| rate);
            self.running = Some(Trial {
                began: reading.now,
                warm: None,
                before,
                victim,
                entries: 0,
                nanos: 0,
            });
            return before.is_some();
        }
        false
    }

    /// Says whether one is under way.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Says whether what a trial brings begins to count at this time.
    pub(super) fn is_warm(&self, now: u64) -> bool {
        let is_warm = |trial: &Trial| trial.warm.is_none() && now >= trial.began + WARM_UP;
        self.running.as_ref().is_some_and(is_warm)
    }

    /// Notes that the trial counts from now on.
    pub(super) fn counts_from(&mut self, reading: Reading) {
        if let Some(trial) = &mut self.running {
            trial.warm = Some(reading);
        }
    }

    /// Says whether a trial is over at this time: what counts has been counted for long enough,
    /// however late that began.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let warm = self.running.as_ref().and_then(|trial| trial.warm);
        warm.is_some_and(|warm| now >= warm.now + (TRIAL - WARM_UP))
    }

    /// The worker has run so many entries in so many nanoseconds.
    pub(super) fn ran(&mut self, entries: u32, nanos: u64) {
        if let Some(trial) = &mut self.running {
            trial.entries += u64::from(entries);
            trial.nanos += nanos;
        }
    }

    /// Nanoseconds that an entry has taken since the steal, on average. `None`: nothing has run.
    ///
    /// Not the moving average that is published, which counts the long one among short ones for
    /// little: all that was run here, another worker was spared.
    pub(super) fn entry_nanos(&self) -> Option<u32> {
        let trial = self.running.as_ref()?;
        let nanos = trial.nanos.checked_div(trial.entries)?;
        Some(u32::try_from(nanos).unwrap_or(u32::MAX))
    }

    /// `surely`: what was run here since the steal is worth it beyond doubt.
    pub(super) fn judge(&mut self, reading: Reading, surely: bool) -> Judgement {
        let due = self.is_due(reading.now);
        let trial = self.running.take_if(|_| due);
        let Some(Trial { warm: Some(warm), before, victim, .. }) = trial else {
            return Judgement::Open;
        };
        if surely {
            return Judgement::Kept;
        }
        let Some(before) = before else {
            // Nothing has been shown: it is free to try properly.
            self.doubts_until = reading.now + LEAST_PAUSE;
            return Judgement::Undone(victim);
        };
        let rate = reading.rate_since(warm);
        if rate > before + before / 20 {
            self.trusted_until = reading.now + TRUST;
            self.pause = 0;
            return Judgement::Kept;
        }
        self.pause = (2 * self.pause).clamp(LEAST_PAUSE, MOST_PAUSE);
        self.paused_until = reading.now + self.pause;
        Judgement::Undone(victim)
    }
}

#[cfg(test)]
#[path = "trial_tests.rs"]
mod tests;

//! Trials of steals (E3): the worker tries a steal, compares the throughput, and undoes the steal
//! if that did not rise.
//!
//! Every steal is on trial. Work that turns out to be long is kept. The rest cannot be judged by
//! averages. So the worker compares the throughput of the runtime with what it was before the
//! steal, and undoes the steal if the throughput did not rise.
//!
//! The throughput before is that of the other workers in the better of two consecutive naps of this
//! worker: during the first nap they may have been idle for a part of the time. The throughput
//! after is that of all workers, from [`WARM_UP`] after the steal on, or from the first look after
//! that. If it has risen by more than a twentieth, the worker may steal for [`TRUST`] without
//! another trial. If not, it sends back what it has, and does not try again for a pause. The first
//! pause is [`LEAST_PAUSE`]; each further failure doubles it, up to [`MOST_PAUSE`]. If there is
//! nothing to compare with, because the figures had promised long work, it sends back what it has,
//! too, and may then make a proper trial.
//!
//! As long as a trial with a comparison runs, or the worker is trusted, the other workers keep no
//! plain work from it (see `Fleet::opens_until`). A thief that has to ask for everything waits for
//! each answer: with asking, the web server of `dapple lab colors` gains 1.4 x, and in this way 1.6
//! x.
//!
//! The throughput is the number of events per time, the only measure that fits every program. A
//! program whose events arrive at a fixed rate gains nothing by this measure, rightly: its worker
//! keeps up, and a second one would only move cache lines about. If its worker does not keep up,
//! the work that waits behind one long event is taken without a trial (E4).
//!
//! This file has no clock and no queues. It is told the time, and the number of events of all
//! workers.

/// The length of a trial, in nanoseconds.
pub(super) const TRIAL: u64 = 4_000_000;

/// The part of a trial that does not count, in nanoseconds. During this time what was stolen, and
/// all that it reads, comes to the other core line by line. Where a second worker gains 1.6 x,
/// three in four trials failed that were over after these 2 ms.
pub(super) const WARM_UP: u64 = 2_000_000;

/// The time for which a worker steals without another trial after a successful one, in nanoseconds.
const TRUST: u64 = 200_000_000;

/// The shortest and the longest pause after a failed trial, in nanoseconds.
const LEAST_PAUSE: u64 = 16_000_000;
const MOST_PAUSE: u64 = 1_000_000_000;

/// The shortest nap that tells something about throughput, in nanoseconds.
const NAP: u64 = 200_000;

/// The time after which the throughput of a nap is out of date, in nanoseconds.
const FRESH: u64 = 5_000_000;

/// The number of events of all workers at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) now: u64,
    pub(super) events: u64,
}

impl Reading {
    /// Returns the events per millisecond since `before`.
    fn rate_since(self, before: Reading) -> u64 {
        let nanos = self.now.saturating_sub(before.now).max(1);
        self.events.saturating_sub(before.events).saturating_mul(1_000_000) / nanos
    }
}

/// The result of judging a trial.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The trial has not ended, or there is none.
    Open,
    /// The stolen work may stay.
    Kept,
    /// The work that is here goes back to the worker of this number.
    Undone(usize),
}

/// The trials of one worker; see the module.
#[derive(Debug, Default)]
pub(super) struct Trials {
    nap: Option<Reading>,
    /// The throughput in the last nap; 0 if there was none.
    last_rate: u64,
    /// The throughput in the better of the last two naps, with nothing run in between, and the time
    /// at which the last one ended.
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
    /// The reading after [`WARM_UP`], at which the trial starts to count.
    warm: Option<Reading>,
    /// The throughput before the steal, if it is known.
    before: Option<u64>,
    victim: usize,
    /// The number of entries that the worker has run since the steal, and the nanoseconds that they
    /// took.
    entries: u64,
    nanos: u64,
}

impl Trials {
    /// Notes that the worker goes to sleep.
    pub(super) fn naps(&mut self, reading: Reading) {
        // If the worker was woken for nothing, its naps count as one.
        self.nap.get_or_insert(reading);
    }

    /// Notes that the worker has slept.
    pub(super) fn wakes(&mut self, reading: Reading) {
        let long = |nap: &mut Reading| reading.now.saturating_sub(nap.now) >= NAP;
        let Some(nap) = self.nap.take_if(long) else { return };
        let rate = reading.rate_since(nap);
        let both = rate > 0 && self.last_rate > 0;
        self.before = both.then(|| (rate.max(self.last_rate), reading.now));
        self.last_rate = rate;
    }

    /// Notes that the worker has found work, in any way.
    pub(super) fn works(&mut self) {
        self.last_rate = 0;
        self.nap = None;
    }

    /// Returns `true` if the figures have lately promised more than there was.
    pub(super) fn doubts(&self, now: u64) -> bool {
        now < self.doubts_until
    }

    /// Returns `true` if the worker may take work that may or may not be worth its move.
    /// `paused_until` is the latest [`Trials::paused_until`] of any worker: what one worker has
    /// tried in vain, the next one need not try at once.
    pub(super) fn allows(&self, now: u64, paused_until: u64) -> bool {
        now < self.trusted_until
            || self.running.is_some()
            || now >= paused_until && self.before.is_some_and(|(_, at)| now < at + FRESH)
    }

    /// Returns the time until which the worker steals without a trial.
    pub(super) fn trusted_until(&self) -> u64 {
        self.trusted_until
    }

    /// Returns the time at which the pause ends.
    pub(super) fn paused_until(&self) -> u64 {
        self.paused_until
    }

    /// Notes that the worker has stolen from `victim`. Returns `true` if a trial has started that
    /// compares throughput.
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

    /// Returns `true` if a trial is under way.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Returns `true` if a trial is under way that starts to count at this time.
    pub(super) fn is_warm(&self, now: u64) -> bool {
        let is_warm = |trial: &Trial| trial.warm.is_none() && now >= trial.began + WARM_UP;
        self.running.as_ref().is_some_and(is_warm)
    }

    /// Notes that the trial counts from this reading on.
    pub(super) fn counts_from(&mut self, reading: Reading) {
        if let Some(trial) = &mut self.running {
            trial.warm = Some(reading);
        }
    }

    /// Returns `true` if a trial is over at this time: it has counted for long enough, however late
    /// that started.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let warm = self.running.as_ref().and_then(|trial| trial.warm);
        warm.is_some_and(|warm| now >= warm.now + (TRIAL - WARM_UP))
    }

    /// Notes that the worker has run entries, and how many nanoseconds they took.
    pub(super) fn ran(&mut self, entries: u32, nanos: u64) {
        if let Some(trial) = &mut self.running {
            trial.entries += u64::from(entries);
            trial.nanos += nanos;
        }
    }

    /// Returns the average nanoseconds per entry since the steal, or `None` if nothing has run or
    /// no trial is under way.
    ///
    /// This is not the published moving average, which gives a long entry among short ones little
    /// weight. Everything that ran here counts, as another worker was spared it.
    pub(super) fn entry_nanos(&self) -> Option<u32> {
        let trial = self.running.as_ref()?;
        let nanos = trial.nanos.checked_div(trial.entries)?;
        Some(u32::try_from(nanos).unwrap_or(u32::MAX))
    }

    /// Judges the trial if it is due. `surely` says that the work that ran here since the steal is
    /// worth its move beyond doubt.
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
            // The trial has shown nothing, so the worker may make a proper one.
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

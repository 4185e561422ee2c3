//! E3: a steal that lowered throughput is undone and not repeated soon.
use super::*;

const MS: u64 = 1_000_000;

const UNDONE: Judgement = Judgement::Undone(1);

/// A runtime whose count of events grows at a given rate, in events per millisecond.
struct World {
    reading: Reading,
    trials: Trials,
}

impl World {
    fn new() -> Self {
        World { reading: Reading { now: 10 * MS, events: 0 }, trials: Trials::default() }
    }

    /// Lets time pass, with a look around of the worker every millisecond.
    fn passes(&mut self, nanos: u64, per_ms: u64) {
        let mut left = nanos;
        while left > 0 {
            let step = left.min(MS);
            left -= step;
            self.sees_nothing(step, per_ms);
            if self.trials.is_warm(self.reading.now) {
                self.trials.counts_from(self.reading);
            }
        }
    }

    fn sees_nothing(&mut self, nanos: u64, per_ms: u64) {
        self.reading.now += nanos;
        self.reading.events += per_ms * nanos / MS;
    }

    fn naps(&mut self, per_ms: u64) {
        self.trials.naps(self.reading);
        self.passes(MS, per_ms);
        self.trials.wakes(self.reading);
    }

    fn allows(&self) -> bool {
        self.trials.allows(self.reading.now, self.trials.paused_until())
    }

    fn steals(&mut self) {
        self.trials.works();
        self.trials.begins(self.reading, 1);
        // A second steal continues the same trial.
        assert!(!self.trials.begins(self.reading, 2));
    }

    fn judged(&mut self) -> Judgement {
        self.trials.judge(self.reading, false)
    }
}

#[test]
fn e3_nothing_is_tried_before_two_naps() {
    let mut w = World::new();
    assert!(!w.allows(), "what the others do is not known");
    w.naps(0);
    w.naps(0);
    w.naps(300);
    assert!(!w.allows(), "they may have been idle for a part of it");
    w.naps(1_000);
    assert!(w.allows());
    w.passes(FRESH, 1_000);
    assert!(!w.allows(), "that was long ago");
    w.naps(1_000);
    w.naps(0);
    assert!(!w.allows(), "they have stopped");
}

#[test]
fn e3_what_a_trial_brings_counts_when_what_was_stolen_has_come_over() {
    for (first, then, judged) in [(900, 1_100, Judgement::Kept), (1_400, 1_000, UNDONE)] {
        let mut w = World::new();
        w.naps(1_000);
        w.naps(1_000);
        w.steals();
        w.passes(WARM_UP, first);
        assert_eq!(w.judged(), Judgement::Open);
        w.passes(TRIAL - WARM_UP, then);
        assert_eq!(w.judged(), judged);
    }
}

#[test]
fn e3_a_worker_that_looks_late_counts_for_as_long() {
    let mut w = World::new();
    w.naps(1_000);
    w.naps(1_000);
    w.steals();
    // One long event runs, without a look around.
    w.sees_nothing(10 * MS, 5_000);
    assert_eq!(w.judged(), Judgement::Open, "what was before does not count");
    w.passes(MS, 900);
    w.passes(MS, 900);
    assert_eq!(w.judged(), Judgement::Open);
    w.passes(MS, 900);
    assert_eq!(w.judged(), UNDONE);
}

#[test]
fn e3_a_steal_that_pays_is_kept_and_repeated() {
    let mut w = World::new();
    w.naps(1_000);
    w.naps(1_000);
    w.steals();
    w.passes(TRIAL - 1, 1_900);
    assert_eq!(w.judged(), Judgement::Open, "too early");
    assert!(w.allows(), "the trial goes on");
    w.passes(1, 1_900);
    assert_eq!(w.judged(), Judgement::Kept);
    assert_eq!(w.judged(), Judgement::Open, "once");
    w.passes(TRUST - MS, 1_900);
    assert!(w.allows());
    w.passes(MS, 1_900);
    assert!(!w.allows(), "then it has to be shown again");
}

#[test]
fn e3_a_steal_that_lowers_throughput_is_undone_and_not_repeated_soon() {
    let mut w = World::new();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let start = w.reading.now;
        while !w.allows() {
            w.naps(1_000);
        }
        pauses.push((w.reading.now - start) / MS);
        w.steals();
        w.passes(TRIAL, 900);
        assert_eq!(w.judged(), UNDONE);
        assert!(!w.allows());
    }
    assert!(pauses.is_sorted() && pauses[1] >= 16 && pauses[8] >= 900, "{pauses:?}");
}

#[test]
fn e3_a_steal_that_gains_nothing_is_undone_too() {
    let mut w = World::new();
    w.naps(1_000);
    w.naps(1_000);
    w.steals();
    w.passes(TRIAL, 1_020);
    assert_eq!(w.judged(), UNDONE);
}

#[test]
fn e3_long_work_is_kept_without_comparison_and_the_rest_is_not() {
    let mut w = World::new();
    for surely in [true, false] {
        w.steals();
        w.passes(TRIAL, 10);
        let judged = w.trials.judge(w.reading, surely);
        assert_eq!(judged, if surely { Judgement::Kept } else { UNDONE });
        assert_eq!(w.trials.doubts(w.reading.now), !surely, "the figures were wrong");
    }
}

#[test]
fn e3_short_naps_and_naps_between_work_tell_nothing() {
    let mut w = World::new();
    w.trials.naps(w.reading);
    w.passes(NAP - 1, 1_000);
    w.trials.wakes(w.reading);
    assert!(!w.allows());
    for _ in 0..10 {
        w.naps(1_000);
        w.trials.works();
    }
    assert!(!w.allows());
}

#[test]
fn e3_naps_that_end_for_nothing_add_up() {
    let mut w = World::new();
    for _ in 0..10 {
        w.trials.naps(w.reading);
        w.passes(NAP / 4, 10_000);
        w.trials.wakes(w.reading);
    }
    assert!(w.allows());
}

#[test]
fn e3_what_a_trial_has_run_is_an_average_of_its_own_time() {
    let mut w = World::new();
    w.trials.ran(10, 10 * MS);
    assert_eq!(w.trials.entry_nanos(), None, "no trial is under way");
    w.steals();
    assert_eq!(w.trials.entry_nanos(), None, "nothing has run");
    // Nine short entries and one long one.
    w.trials.ran(9, 9_000);
    w.trials.ran(1, MS);
    assert_eq!(w.trials.entry_nanos(), Some(100_900));
    w.passes(TRIAL, 1_000);
    assert_eq!(w.trials.judge(w.reading, true), Judgement::Kept);
    assert_eq!(w.trials.entry_nanos(), None);
}

//! What a runtime tells about itself (E10): histograms per worker, merged when they are read, and
//! counters with one writer each.
//!
//! Measuring must cost less than what it measures. An event is stamped when it is posted if it is
//! sampled, one in 64 on average, with random distances so that no pattern hides in it; only
//! stamped events have the clock read around them. Samples gather in a plain buffer of the worker,
//! and go to the histograms, which have a lock, a few dozen at a time.

#[cfg(any(test, dapple_fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod labels;
mod own;
mod sampling;
mod sites;
mod snapshot;
mod stalls;
mod table;
mod text;
mod workers;

use hdrhistogram::Histogram;

use sites::Sites;

pub(crate) use own::{OwnHistogram, OwnHistograms};
pub(crate) use sampling::{Ran, Sample, Sampler, Samples};
pub use sites::SiteFigures;
pub use snapshot::{Distribution, Metrics};
pub(crate) use stalls::LatestStalls;
pub use stalls::Stall;
pub use workers::WorkerFigures;

/// How much is measured; see [`Builder::histograms`](crate::Builder::histograms).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Histogramming {
    /// Counters only.
    Off,
    /// Measures one event in 64, on average.
    #[default]
    Sampled,
    /// Every event: two or three readings of the clock for each.
    Exact,
}

/// What is measured. All are durations in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Measure {
    /// From an event's post, or its timer's firing, to its start. Of an event of a domain the wait
    /// for its context is no part of it: its time begins anew when the domain lets it go on.
    QueueDelay,
    /// From an event's start to its end.
    RunTime,
    /// The part of an event's queue delay in which a worker was idle that is so still when the
    /// event begins. What is long of it is the wait for a color that is busy, which another worker
    /// does not shorten, and a finer color would. In a runtime that has little to do, most of it is
    /// the time to wake a worker.
    IdleDelay,
    /// Length of a worker's visit to a color.
    TurnLength,
    /// From a timer's deadline to its firing.
    TimerLateness,
    /// Of a look at the descriptors while there is other work.
    PollTime,
    /// From the last step of a domain's event to its commit.
    CommitWait,
}

impl Measure {
    /// All measures.
    pub const ALL: [Measure; 7] = [
        Measure::QueueDelay,
        Measure::RunTime,
        Measure::IdleDelay,
        Measure::TurnLength,
        Measure::TimerLateness,
        Measure::PollTime,
        Measure::CommitWait,
    ];

    /// Its name in text formats, without unit.
    pub fn name(self) -> &'static str {
        match self {
            Measure::QueueDelay => "queue_delay",
            Measure::RunTime => "run_time",
            Measure::IdleDelay => "idle_delay",
            Measure::TurnLength => "turn_length",
            Measure::TimerLateness => "timer_lateness",
            Measure::PollTime => "poll_time",
            Measure::CommitWait => "commit_wait",
        }
    }

    /// Says whether it is kept by the color's label, too.
    fn is_by_label(self) -> bool {
        (self as usize) < BY_LABEL
    }
}

/// How many measures are kept by label; these come first.
const BY_LABEL: usize = 3;
const _: () = assert!(Measure::IdleDelay as usize + 1 == BY_LABEL);

/// Longest duration that a histogram tells apart: an hour.
const HIGHEST: u64 = 3_600_000_000_000;

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HIGHEST, 2).expect("the bounds are valid")
}

/// The histograms of one worker: one per measure, and one per measure and label, made when first
/// used; and the sums by site.
#[derive(Default)]
pub(crate) struct Histograms {
    all: [Option<Box<Histogram<u64>>>; Measure::ALL.len()],
    by_label: Vec<[Option<Box<Histogram<u64>>>; BY_LABEL]>,
    sites: Sites,
}

impl Histograms {
    fn record_event(&mut self, ran: Ran) {
        self.record(Sample::new(Measure::QueueDelay, ran.label, ran.delay));
        self.record(Sample::new(Measure::RunTime, ran.label, ran.run));
        if ran.idle_delay > 0 {
            self.record(Sample::new(Measure::IdleDelay, ran.label, ran.idle_delay));
        }
        self.sites.record(ran);
    }

    fn record(&mut self, sample: Sample) {
        let slot = &mut self.all[sample.measure as usize];
        let histogram = slot.get_or_insert_with(|| Box::new(new_histogram()));
        histogram.saturating_record(sample.nanos.max(1));
        if sample.label != 0 && sample.measure.is_by_label() {
            let label = sample.label as usize;
            if self.by_label.len() <= label {
                self.by_label.resize_with(label + 1, Default::default);
            }
            let slot = &mut self.by_label[label][sample.measure as usize];
            let histogram = slot.get_or_insert_with(|| Box::new(new_histogram()));
            histogram.saturating_record(sample.nanos.max(1));
        }
    }

    fn get(&self, measure: Measure, label: u32) -> Option<&Histogram<u64>> {
        match label {
            0 => self.all[measure as usize].as_deref(),
            l => self.by_label.get(l as usize)?.get(measure as usize)?.as_deref(),
        }
    }
}

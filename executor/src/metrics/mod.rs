//! The metrics of a runtime (E10): histograms per worker, merged when they are read, and counters
//! with one writer each.
//!
//! Measuring must cost less than what it measures. So only sampled events are stamped when they are
//! posted: one in 64 on average, at random distances so that no pattern of the program hides in
//! them. The clock is read only around stamped events. Samples gather in a plain buffer of the
//! worker and move in batches to the histograms, which have a lock.

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

/// How much a runtime measures; see [`Builder::histograms`](crate::Builder::histograms).
///
/// # Examples
///
/// ```
/// use dapple::{Histogramming, Measure, Runtime};
/// let sampled = |histograms| {
///     let rt = Runtime::builder().histograms(histograms).build()?;
///     (0..1_000).for_each(|_| rt.handle().post_default(|_| ()));
///     rt.wait_idle();
///     Ok::<_, std::io::Error>(rt.metrics().histogram(Measure::RunTime).map_or(0, |h| h.len()))
/// };
/// assert_eq!(sampled(Histogramming::Off)?, 0);
/// assert_eq!(sampled(Histogramming::Exact)?, 1_000);
/// println!("{} of 1,000", sampled(Histogramming::Sampled)?);      // about 15
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Histogramming {
    /// Only the counters are kept.
    Off,
    /// One event in 64, on average, is measured.
    #[default]
    Sampled,
    /// Every event is measured, which takes two or three readings of the clock per event.
    Exact,
}

/// The durations that a runtime measures, in nanoseconds.
///
/// # Examples
///
/// ```
/// use dapple::{Histogramming, Measure, Runtime};
/// let rt = Runtime::builder().histograms(Histogramming::Exact).build()?;
/// (0..100).for_each(|_| rt.handle().post_default(|_| ()));
/// rt.wait_idle();
/// let metrics = rt.metrics();
/// for measure in Measure::ALL {
///     if let Some(values) = metrics.histogram(measure) {
///         println!("{}: at most {} ns", measure.name(), values.max());
///     }
/// }
/// assert_eq!(metrics.histogram(Measure::RunTime).map(|values| values.len()), Some(100));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Measure {
    /// The time from an event's post, or its timer's firing, to its start. An event of a domain
    /// does not count its wait for a context: its delay starts anew when the domain lets it go on.
    QueueDelay,
    /// The time from an event's start to its end.
    RunTime,
    /// The part of an event's queue delay during which a worker was idle that is still idle when
    /// the event starts. Of several such workers, the one that has been idle for longest counts.
    ///
    /// A long idle delay means that events wait for a color that is busy. Another worker does not
    /// shorten that wait, but a finer color would. In a runtime that has little to do, most of the
    /// idle delay is the time to wake a worker.
    IdleDelay,
    /// The length of a turn: a worker's visit to a color.
    TurnLength,
    /// The time from a timer's deadline to its firing.
    TimerLateness,
    /// The length of a look at the descriptors while the worker has other work.
    PollTime,
    /// The time from the last step of a domain's event to its commit.
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

    /// Returns the name of the measure in text formats, without its unit.
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

    /// Returns `true` if the measure is also kept by the color's label.
    fn is_by_label(self) -> bool {
        (self as usize) < BY_LABEL
    }
}

/// The number of measures that are kept by label. They are the first ones of the enum.
const BY_LABEL: usize = 3;
const _: () = assert!(Measure::IdleDelay as usize + 1 == BY_LABEL);

/// The longest duration that a histogram tells apart, in nanoseconds: one hour.
const HIGHEST: u64 = 3_600_000_000_000;

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HIGHEST, 2).expect("the bounds are valid")
}

/// The histograms of one worker, and its sums by site. There is one histogram per measure, and one
/// per label for the measures that are kept by label. Each is made when it is first used.
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

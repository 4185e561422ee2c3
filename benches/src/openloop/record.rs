//! What was measured.

use super::Setup;
use super::percentiles::Percentiles;
use super::schedule::{Distribution, Keys};
use crate::measure::median;

/// The name of the computed reference, beside those of the systems.
pub const REFERENCE: &str = "M/G/k";

/// What the systems were compared on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Workers and generator.
    pub setup: Setup,
    /// Of the service times.
    pub distribution: Distribution,
    /// How the requests are spread over them.
    pub keys: Keys,
    /// Mean service time, in microseconds.
    pub mean_us: u32,
    /// Arrivals times mean service time, in percent of what the workers could do.
    pub load: u32,
}

/// What a run cost, beside the latency.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// By how much a request was posted later than intended, in nanoseconds, in the 99th
    /// percentile.
    pub generator_late_p99: u64,
    /// CPU time of the generator, by wall time.
    pub generator_cpu_share: f64,
    /// CPU time of everything but the generator, in nanoseconds, the service included.
    pub system_cpu_per_request: f64,
    /// CPU time of other programs, by wall time: more than a few percent disturb the run. In units
    /// of 10 ms, so coarse for short runs. None if the system does not tell.
    pub others_cpu_share: Option<f64>,
    /// How many times faster the machine was after the run than before, when the service was
    /// calibrated.
    pub speed_drift: f64,
    /// How fast it was before.
    pub steps_per_nano: f64,
}

impl Cost {
    /// Did other programs take more than a tenth of a core, or has the machine become faster or
    /// slower by more than a twentieth?
    pub fn is_disturbed(&self) -> bool {
        self.others_cpu_share.is_some_and(|share| share > 0.1)
            || (self.speed_drift - 1.0).abs() > 0.05
    }
}

/// Of one run.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// In nanoseconds.
    pub latency: Percentiles,
    /// None if it was computed, not run.
    pub cost: Option<Cost>,
}

/// A system at a point.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where.
    pub point: Point,
    /// Which one.
    pub system: &'static str,
    /// How many requests a run has.
    pub requests: usize,
    /// One for each round.
    pub runs: Vec<Figures>,
}

impl Record {
    /// The median of a figure over the runs.
    pub fn median(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        median(&self.runs.iter().map(figure).collect::<Vec<_>>())
    }

    /// The same for a figure that only a real run has.
    pub fn median_cost(&self, figure: impl Fn(&Cost) -> f64) -> Option<f64> {
        let figures: Vec<f64> =
            self.runs.iter().filter_map(|r| r.cost.as_ref()).map(figure).collect();
        (!figures.is_empty()).then(|| median(&figures))
    }
}

/// The values of `of` in these records, each once, in the order in which they first occur.
pub(crate) fn distinct<'a, T: PartialEq>(
    records: impl IntoIterator<Item = &'a Record>,
    of: impl Fn(&Record) -> T,
) -> Vec<T> {
    let mut found = Vec::new();
    for value in records.into_iter().map(of) {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

//! The measurements of the systems.

use super::Setup;
use super::percentiles::Percentiles;
use super::schedule::{Distribution, Keys};
use crate::measure::median;

/// The name of the computed reference among the names of the systems.
pub const REFERENCE: &str = "M/G/k";

/// A point at which the systems are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The setup of workers and generator.
    pub setup: Setup,
    /// The distribution of the service times.
    pub distribution: Distribution,
    /// The distribution of the requests over the keys.
    pub keys: Keys,
    /// The mean service time, in microseconds.
    pub mean_us: u32,
    /// The arrival rate times the mean service time, in percent of what the workers can serve.
    pub load: u32,
}

/// The cost of a run, and how much it was disturbed.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The delay of a post after its intended time, in nanoseconds, as the 99th percentile.
    pub generator_late_p99: u64,
    /// The CPU time of the generator, divided by the wall time.
    pub generator_cpu_share: f64,
    /// The CPU time per request of everything but the generator, in nanoseconds, including the
    /// service.
    pub system_cpu_per_request: f64,
    /// The CPU time of other programs, divided by the wall time.
    ///
    /// More than a few percent disturb the run. The clock has a unit of 10 ms, so the figure is
    /// coarse for short runs. `None` if the system does not report it.
    pub others_cpu_share: Option<f64>,
    /// The speed of the machine after the run, divided by its speed before the run, when the
    /// service was calibrated.
    pub speed_drift: f64,
    /// The speed of the machine before the run, in steps per nanosecond.
    pub steps_per_nano: f64,
}

impl Cost {
    /// Returns `true` if the run was disturbed.
    ///
    /// That is the case if other programs took more than 10 % of a core, or if the machine became
    /// faster or slower by more than 5 %.
    pub fn is_disturbed(&self) -> bool {
        self.others_cpu_share.is_some_and(|share| share > 0.1)
            || (self.speed_drift - 1.0).abs() > 0.05
    }
}

/// The figures of one run.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// The percentiles of the latency, in nanoseconds.
    pub latency: Percentiles,
    /// The cost of the run, or `None` if the run was computed.
    pub cost: Option<Cost>,
}

/// The runs of a system at a point.
#[derive(Clone, Debug)]
pub struct Record {
    /// The point.
    pub point: Point,
    /// The name of the system.
    pub system: &'static str,
    /// The number of requests of a run.
    pub requests: usize,
    /// The figures of each round's run.
    pub runs: Vec<Figures>,
}

impl Record {
    /// Returns the median of a figure over the runs.
    ///
    /// # Panics
    ///
    /// Panics if there is no run.
    pub fn median(&self, figure: impl Fn(&Figures) -> f64) -> f64 {
        median(&self.runs.iter().map(figure).collect::<Vec<_>>())
    }

    /// Returns the median of a figure that only real runs have, or `None` if there is no such run.
    pub fn median_cost(&self, figure: impl Fn(&Cost) -> f64) -> Option<f64> {
        let figures: Vec<f64> =
            self.runs.iter().filter_map(|r| r.cost.as_ref()).map(figure).collect();
        (!figures.is_empty()).then(|| median(&figures))
    }
}

/// Returns the values of `of` in these records, each once, in the order of their first occurrence.
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

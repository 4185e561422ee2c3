//! What a simulation runs, and what counts as a failure.

use std::ops::Range;
use std::time::Duration;

use super::timed::Costs;

/// What [`check`](super::check) runs.
///
/// # Examples
///
/// ```
/// use dapple::sim;
/// let config = sim::Config::new().seeds(0..100);
/// sim::check(&config, |sim| assert!(sim.seed() < 100));
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(super) seeds: Range<u64>,
    pub(super) most_steps: u64,
    pub(super) allows_panics: bool,
    pub(super) runs_twice: bool,
    pub(super) has_to_reach: Vec<String>,
    pub(super) patience: Duration,
    pub(super) costs: Option<Costs>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            seeds: 0..1_000,
            most_steps: 10_000_000,
            allows_panics: false,
            runs_twice: false,
            has_to_reach: Vec::new(),
            patience: Duration::from_secs(20),
            costs: None,
        }
    }
}

impl Config {
    /// A thousand seeds, of ten million steps at most; a panic of an event is a failure.
    pub fn new() -> Self {
        Config::default()
    }

    /// The seeds that are run, in their order, until one fails.
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = seeds;
        self
    }

    /// Steps of one run at most, each of which is a change of fibers or an event; a run that takes
    /// more has failed. In the last three quarters of them nothing is paused any more, so that such
    /// a run does not wait for a pause.
    pub fn most_steps(mut self, steps: u64) -> Self {
        self.most_steps = steps;
        self
    }

    /// Lets events panic: by default that is a failure.
    pub fn allow_panics(mut self) -> Self {
        self.allows_panics = true;
        self
    }

    /// Runs each seed twice, and fails if the second run differs from the first: if the program
    /// iterates over a `HashMap`, reads a clock past the handle, or depends on addresses. The
    /// message names the first event that differs.
    pub fn run_twice(mut self) -> Self {
        self.runs_twice = true;
        self
    }

    /// Fails if no seed has come by [`sim_reached!`](crate::sim_reached) with this label.
    pub fn has_to_reach(mut self, label: &str) -> Self {
        self.has_to_reach.push(label.to_owned());
        self
    }

    /// How long nothing may go on in real time, before the process is ended with a message that
    /// names the event which blocks the thread: by default 20 s. It is looked every 200 ms.
    pub fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Runs in *timed mode*: what has the earliest time of its own goes next, nothing is paused,
    /// and all costs what the table says. See [`Costs`].
    pub fn timed(mut self, costs: Costs) -> Self {
        self.costs = Some(costs);
        self
    }
}

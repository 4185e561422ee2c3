//! The settings of a simulation: which seeds it runs, and what counts as a failure.

use std::ops::Range;
use std::time::Duration;

use super::timed::Costs;

/// The settings of [`check`](super::check) and the other functions that run a simulation.
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
    /// Makes the default settings: the seeds 0 to 999, with at most ten million steps each. A panic
    /// of an event is a failure.
    pub fn new() -> Self {
        Config::default()
    }

    /// Sets the seeds, which are run in order until one fails. The default is 0 to 999.
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = seeds;
        self
    }

    /// Sets the greatest number of steps in one run; the default is ten million.
    ///
    /// A step is a switch of fibers or an event. A run that takes more steps has failed. In the
    /// last three quarters of the steps nothing is paused, so such a run does not wait for a pause.
    ///
    /// # Examples
    ///
    /// A program that does not end:
    ///
    /// ```
    /// use dapple::{Cx, Runtime, sim};
    ///
    /// fn again(cx: &mut Cx) {
    ///     cx.post_here(again);
    /// }
    ///
    /// let report = sim::run(&sim::Config::new().most_steps(10_000), 0, |_| {
    ///     let rt = Runtime::builder().workers(2).build().unwrap();
    ///     rt.handle().post_default(again);
    ///     rt.wait_idle();
    /// });
    /// assert!(report.failure.is_some());
    /// ```
    pub fn most_steps(mut self, steps: u64) -> Self {
        self.most_steps = steps;
        self
    }

    /// Allows events to panic. By default a panic of an event is a failure.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Runtime, sim};
    ///
    /// sim::check(&sim::Config::new().seeds(0..20).allow_panics(), |_| {
    ///     let rt = Runtime::builder().workers(2).build().unwrap();
    ///     rt.handle().post_default(|_| panic!("ends its event only"));
    ///     rt.handle().post_default(|_| ());
    ///     rt.wait_idle();
    ///     assert_eq!((rt.metrics().events(), rt.metrics().panics()), (2, 1));
    /// });
    /// ```
    pub fn allow_panics(mut self) -> Self {
        self.allows_panics = true;
        self
    }

    /// Runs each seed twice, and fails if the second run differs from the first.
    ///
    /// Runs differ if the program iterates over a `HashMap`, reads a clock other than the handle's,
    /// or depends on addresses. The message names the first event that differs.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::HashSet;
    /// use dapple::{Runtime, sim};
    ///
    /// let failure = sim::find(&sim::Config::new().run_twice(), |_| {
    ///     let rt = Runtime::builder().workers(2).build().unwrap();
    ///     for name in HashSet::from(["ann", "ben", "cy", "dee"]) {            // in any order
    ///         rt.handle().color_builder().label(name).build().post(|_| ());
    ///     }
    ///     rt.wait_idle();
    /// });
    /// println!("{}", failure.expect("some run differs").message);
    /// ```
    pub fn run_twice(mut self) -> Self {
        self.runs_twice = true;
        self
    }

    /// Requires that at least one seed reaches [`sim_reached!`](crate::sim_reached) with this
    /// label.
    ///
    /// See [`sim_reached!`](crate::sim_reached) for an example.
    pub fn has_to_reach(mut self, label: &str) -> Self {
        self.has_to_reach.push(label.to_owned());
        self
    }

    /// Sets the real time for which a run may make no progress; the default is 20 s.
    ///
    /// After that time the process is aborted, with a message that names the event that blocks the
    /// thread. Progress is checked every 200 ms.
    pub fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Runs the seeds in *timed mode*, with these costs.
    ///
    /// The fiber whose own time is the earliest goes on, nothing is paused, and each operation
    /// takes the time in the table. See [`Costs`].
    ///
    /// See [`Costs`] for an example.
    pub fn timed(mut self, costs: Costs) -> Self {
        self.costs = Some(costs);
        self
    }
}

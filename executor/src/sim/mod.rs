//! Simulations of programs that use this crate: a seed chooses a schedule, and a schedule that
//! fails can be repeated.
//!
//! [`check`] runs the body of a test once for each seed. The workers of the runtimes that the body
//! builds, the threads of the blocking pool, and the body itself are *fibers* of the calling
//! thread, in virtual time. The workers run their usual code; only where a worker would wait for
//! another thread, another fiber goes on instead. At the start and the end of an event, where an
//! event posts, and at marked points inside of the protocols, a seed may *pause* a fiber while the
//! others go on. A failure is reported with the fewest pauses and faults that lead to it, and comes
//! back in every run.
//!
//! * Simulated are events of all kinds, domains, tasks, timers, blocking work, shutdown, and the
//!   clocks that [`Handle::now`](crate::Handle::now) and
//!   [`Handle::wall_clock`](crate::Handle::wall_clock) show. Not simulated are descriptors and
//!   sockets, the program's own threads and locks, and weak memory: runs are sequentially
//!   consistent.
//! * A callback must not wait for another thread by itself, and must hold no lock while it posts.
//!   The fiber that would release the lock runs on the same thread, and could not go on.
//! * The iteration order of a `HashMap` of the standard library, addresses, and clocks other than
//!   the handle's differ from run to run. So does everything that depends on them.
//!
//! # Examples
//!
//! Two events that check and then act, on different colors:
//!
//! ```should_panic
//! use std::sync::{Arc, atomic::{AtomicI64, Ordering}};
//! use dapple::{Runtime, sim};
//!
//! sim::check(&sim::Config::new(), |_| {
//!     let rt = Runtime::builder().workers(2).build().unwrap();
//!     let balance = Arc::new(AtomicI64::new(100));
//!     for _ in 0..2 {
//!         let balance = Arc::clone(&balance);
//!         rt.handle().post(&rt.handle().new_color(), move |cx| {
//!             if balance.load(Ordering::SeqCst) >= 100 {
//!                 let take = move |_: &mut dapple::Cx| {
//!                     balance.fetch_sub(100, Ordering::SeqCst);
//!                 };
//!                 cx.post_here(take);      // another withdrawal may run in between
//!             }
//!         });
//!     }
//!     rt.wait_idle();
//!     assert_eq!(balance.load(Ordering::SeqCst), 0);
//! });
//! ```

mod choice;
mod config;
mod fibers;
mod history;
mod log;
mod names;
mod runner;
mod saved;
mod schedule;
mod seam;
mod story;
mod timed;
mod watchdog;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::config::Config;
use self::fibers::{World, world};
pub use self::history::{Broken, Event, History, Moment, Rule, Value};
pub use self::log::Use;
use self::log::What;
use self::runner::{Quiet, Runner, Tells};
pub use self::saved::{NotSaved, Saved};
pub use self::timed::Costs;
use crate::sync;
pub use crate::sync::{Reached, Sort};

/// The handle to a run that its body gets.
#[derive(Debug)]
pub struct Sim {
    seed: u64,
}

impl Sim {
    /// Returns the seed of the run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Waits until no other fiber can go on unless time passes. What is left are timers, and waits
    /// for what never comes.
    pub fn settled(&self) {
        world(World::settle);
    }

    /// Lets virtual time pass. Everything that is due in that time runs.
    pub fn advance(&self, time: Duration) {
        sync::sleep(time);
    }

    /// Begins to record what happens, so that rules can be checked.
    ///
    /// The history should begin before the runtime is built. [Rules](Rule) about workers, colors
    /// and domains that were made earlier are not checked for those.
    pub fn history(&self) -> History<'_> {
        History::begin(self)
    }

    /// Returns a digest of what has run so far. It is equal in two runs if the same events began on
    /// the same workers, in the same order.
    pub fn digest(&self) -> u64 {
        world(|world| world.log.digest()).unwrap_or(0)
    }
}

/// Adds a note to the story of a run that fails.
///
/// The arguments are those of `format!`. Outside of a run the macro does nothing.
///
/// # Examples
///
/// ```
/// let balance = 3;
/// dapple::sim_note!("the balance is {balance}");
/// ```
#[macro_export]
macro_rules! sim_note {
    ($($text:tt)*) => {
        $crate::sim::note(|| ::std::format!($($text)*))
    };
}

/// Counts that a run has reached this line, under a label.
///
/// [`Explored::reached`](crate::sim::Explored::reached) has the counts, and
/// [`Config::has_to_reach`](crate::sim::Config::has_to_reach) requires that some seed reaches the
/// label. So a test knows whether its seeds do what it is for. Outside of a run the macro does
/// nothing.
///
/// # Examples
///
/// ```
/// use dapple::sim;
/// let body = |sim: &sim::Sim| {
///     if sim.seed() % 10 == 7 {
///         dapple::sim_reached!("a seven");
///     }
/// };
/// sim::check(&sim::Config::new().has_to_reach("a seven"), body);
/// assert_eq!(sim::explore(&sim::Config::new(), body).reached["a seven"], 100);
/// ```
#[macro_export]
macro_rules! sim_reached {
    ($label:expr) => {
        $crate::sim::reached($label)
    };
}

#[doc(hidden)]
pub fn reached(label: &str) {
    world(|world| world.reaches(label));
}

/// Reports that the running event has read a value, so that a [`History`] can check whether it was
/// the right one.
///
/// `label` names what was read. Outside of a run the function does nothing.
pub fn read(label: &str, value: &(impl std::fmt::Debug + ?Sized)) {
    world(|world| world.uses(Use::Read, label, || format!("{value:?}")));
}

/// Reports that the running event has written a value, which later reads are checked against.
///
/// `label` names what was written, as for [`read`]. Outside of a run the function does nothing.
pub fn wrote(label: &str, value: &(impl std::fmt::Debug + ?Sized)) {
    world(|world| world.uses(Use::Written, label, || format!("{value:?}")));
}

/// Lets virtual time pass, as a callback does that computes for this time.
///
/// Nothing else runs on this worker in that time. Outside of a run the function does nothing.
pub fn work(time: Duration) {
    world(|world| world.works(time));
}

#[doc(hidden)]
pub fn note(text: impl FnOnce() -> String) {
    // The text is made in every run, whether it is recorded or not, because making it may read the
    // clock, which takes time.
    if sync::is_simulated() {
        let text = text();
        world(|world| world.record(|| What::Notes { who: world.current().place.who(), text }));
    }
}

/// The result of one run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The digest of the run: see [`Sim::digest`].
    pub digest: u64,
    /// The number of events that have begun.
    pub events: u64,
    /// The number of steps: switches of fibers, and events.
    pub steps: u64,
    /// The virtual time that the run took.
    pub time: Duration,
    /// Why the run failed; `None` if it did not.
    pub failure: Option<String>,
}

/// A seed that fails, and what leads to the failure.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The seed; `None` if no seed has reached a label that the configuration asks for.
    pub seed: Option<u64>,
    /// The message of the panic of the body or of an event, or of another failure.
    pub message: String,
    /// A story of the run: the deviations that lead to the failure, and what went on during each.
    pub story: String,
    /// The number of deviations in the story: pauses and faults.
    pub deviations: usize,
    /// The number of deviations in the run in which the failure was found.
    pub found: usize,
    /// The run, which can be [replayed](replay).
    ///
    /// `None` if one run does not show the failure, because it takes two runs of a seed, or all
    /// seeds.
    pub saved: Option<Saved>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Failure { seed, message, story, deviations, found, saved } = self;
        match seed {
            Some(seed) => writeln!(f, "seed {seed}: {message}")?,
            None => writeln!(f, "{message}")?,
        }
        if saved.is_none() {
            return Ok(());
        }
        writeln!(f, "{deviations} of {found} deviations are enough:")?;
        f.write_str(story)
    }
}

/// The result of running several seeds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explored {
    /// The number of seeds that were run.
    pub seeds: u64,
    /// The number of events that have begun in these runs.
    pub events: u64,
    /// The number of times that each label of [`sim_reached!`](crate::sim_reached) was reached.
    ///
    /// The runtime has labels of its own, for what it does rarely: the names of [`Reached`].
    pub reached: BTreeMap<String, u64>,
    /// The first seed that has failed.
    pub failure: Option<Failure>,
}

/// Runs a body once for each seed, and panics if one fails.
///
/// If the environment variable `DAPPLE_SIM` names a file in which an earlier failure of the same
/// test was saved, only that run is repeated.
///
/// # Panics
///
/// Panics with the first seed that fails. A seed fails if the body, the runtime itself, or, unless
/// the configuration allows it, an event panics, if the body waits for something that never comes,
/// or if the run takes too many steps. The message has the story of a run with the fewest
/// deviations that still fails, and the name of the file in which that run was saved.
///
/// Panics as well if no seed reaches a label that the [configuration](Config) asks for, if a run
/// differs when it is repeated, if `DAPPLE_SIM` names a file that cannot be read, or if it is
/// called in a simulation.
#[track_caller]
pub fn check(config: &Config, body: impl Fn(&Sim) + 'static) {
    let runner = Runner::new(config, body);
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    if let Some(file) = std::env::var_os("DAPPLE_SIM") {
        let text = std::fs::read_to_string(&file);
        let saved = text.map_err(|error| error.to_string());
        let saved = saved.and_then(|text| text.parse().map_err(|e: NotSaved| e.to_string()));
        let saved: Saved = saved.unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        if saved.is_of(&test) {
            let run = runner.run(saved.seed, runner.choices_of(&saved), Tells::Yes);
            if let Some(failure) = &run.report.failure {
                panic!("{}: {failure}\n{}", file.display(), run.story());
            }
            return;
        }
    }
    if let Some(failure) = runner.find().0 {
        let Some(saved) = &failure.saved else { panic!("{failure}") };
        let name = test.replace("::", "-");
        let file = format!("dapple-sim-{name}-{}.txt", saved.seed);
        let file = std::env::temp_dir().join(file);
        let told = failure.to_string().trim_end().replace('\n', "\n# ");
        match std::fs::write(&file, format!("# {told}\n{}", saved.clone().of_test(&test))) {
            Ok(()) => panic!("{failure}again: DAPPLE_SIM={}", file.display()),
            Err(error) => panic!("{failure}it was not saved: {}: {error}", file.display()),
        }
    }
}

/// Runs a body once for each seed until one fails, and returns that failure.
///
/// # Panics
///
/// Panics if it is called in a simulation.
pub fn find(config: &Config, body: impl Fn(&Sim) + 'static) -> Option<Failure> {
    Runner::new(config, body).find().0
}

/// Runs a body once for each seed until one fails, and returns what was run and reached.
///
/// # Panics
///
/// Panics if it is called in a simulation.
pub fn explore(config: &Config, body: impl Fn(&Sim) + 'static) -> Explored {
    let runner = Runner::new(config, body);
    let (failure, seeds, events) = runner.find();
    Explored { seeds, events, reached: runner.reached(), failure }
}

/// Runs a body with one seed, and returns the result.
///
/// # Panics
///
/// Panics if it is called in a simulation.
pub fn run(config: &Config, seed: u64, body: impl Fn(&Sim) + 'static) -> Report {
    let _quiet = Quiet::begin();
    let runner = Runner::new(config, body);
    runner.run(seed, runner.choices(seed), Tells::No).report
}

/// Runs a body with the deviations of a saved run, and returns the result.
///
/// A deviation is skipped if the run does not pass its place. In [timed mode](Config::timed) there
/// are no deviations.
///
/// # Panics
///
/// Panics if it is called in a simulation.
pub fn replay(config: &Config, saved: &Saved, body: impl Fn(&Sim) + 'static) -> Report {
    let _quiet = Quiet::begin();
    let runner = Runner::new(config, body);
    let choices = runner.choices_of(saved);
    runner.run(saved.seed, choices, Tells::No).report
}

/// Returns a number made from others, to which each of their bits contributes.
fn mix(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0x9e37_79b9_7f4a_7c15, |hash, number| {
        let mut hash = (hash ^ number).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ hash >> 29
    })
}

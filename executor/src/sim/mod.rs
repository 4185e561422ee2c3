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
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Runtime, sim};
    /// use std::time::Duration;
    ///
    /// sim::check(&sim::Config::new().seeds(0..20), |sim| {
    ///     let rt = Runtime::builder().workers(2).build().unwrap();
    ///     let h = rt.handle();
    ///     let sleeps = h.sleep(Duration::from_secs(3_600));
    ///     let task = h.new_color().spawn(sleeps);
    ///     sim.settled();
    ///     assert!(!task.is_finished());           // it waits for its timer
    ///     task.abort();
    ///     sim.settled();
    ///     assert!(task.is_finished());
    /// });
    /// ```
    pub fn settled(&self) {
        world(World::settle);
    }

    /// Lets virtual time pass. Everything that is due in that time runs.
    ///
    /// # Examples
    ///
    /// ```
    /// use dapple::{Runtime, sim};
    /// use std::time::Duration;
    ///
    /// sim::check(&sim::Config::new().seeds(0..20), |sim| {
    ///     let rt = Runtime::builder().workers(2).build().unwrap();
    ///     let h = rt.handle();
    ///     let hour = Duration::from_secs(3_600);
    ///     let timer = h.post_after(hour, &h.new_color(), |_| ());
    ///     sim.advance(hour / 2);
    ///     assert!(timer.is_armed());
    ///     sim.advance(hour);                      // takes no real time
    ///     assert!(!timer.is_armed());
    /// });
    /// ```
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
///
/// # Examples
///
/// ```
/// use dapple::{Domain, Runtime, sim};
///
/// let failure = sim::find(&sim::Config::new(), |sim| {
///     let history = sim.history();
///     let rt = Runtime::builder().workers(2).build().unwrap();
///     let sum = Domain::snapshot(&rt.handle(), 0);
///     sum.global(|cx| {
///         *cx.state_mut() += 7;
///         sim::wrote("sum", cx.state());
///     });
///     let cached = 0;                         // nobody brings it up to date
///     sum.anon(move |cx| {
///         assert!(*cx.state() >= cached);
///         sim::read("sum", &cached);
///     });
///     rt.wait_idle();
///     history.check();
/// });
/// assert!(failure.unwrap().message.starts_with("I5 is broken"));
/// ```
pub fn read(label: &str, value: &(impl std::fmt::Debug + ?Sized)) {
    world(|world| world.uses(Use::Read, label, || format!("{value:?}")));
}

/// Reports that the running event has written a value, which later reads are checked against.
///
/// `label` names what was written, as for [`read`]. Outside of a run the function does nothing.
///
/// See [`read`] for an example.
pub fn wrote(label: &str, value: &(impl std::fmt::Debug + ?Sized)) {
    world(|world| world.uses(Use::Written, label, || format!("{value:?}")));
}

/// Lets virtual time pass, as a callback does that computes for this time.
///
/// Nothing else runs on this worker in that time. Outside of a run the function does nothing.
///
/// See [`Costs`] for an example.
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
    /// The runtime has labels of its own, for what it does rarely: the names of [`Reached`], and
    /// two of the simulation: `a wait that ends early` and `timers that are late`.
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
///
/// # Examples
///
/// ```
/// use dapple::{Colored, Runtime, sim};
///
/// sim::check(&sim::Config::new().seeds(0..50), |_| {
///     let rt = Runtime::builder().workers(2).build().unwrap();
///     let sum = Colored::new(&rt.handle().new_color(), 0);
///     for n in 1..=10 {
///         let sum = sum.clone();
///         rt.handle().post_uncolored(move |_| sum.post(move |sum, _| *sum += n));
///     }
///     rt.wait_idle();
///     assert_eq!(sum.call(|sum, _| *sum).join(), Ok(55));
/// });
/// ```
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
            Ok(()) => panic!("{failure}to repeat this run: DAPPLE_SIM={}", file.display()),
            Err(error) => {
                panic!("{failure}the run could not be saved: {}: {error}", file.display())
            }
        }
    }
}

/// Runs a body once for each seed until one fails, and returns that failure.
///
/// # Panics
///
/// Panics if it is called in a simulation.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use dapple::{Runtime, sim};
///
/// let failure = sim::find(&sim::Config::new(), |_| {
///     let rt = Runtime::builder().workers(2).build().unwrap();
///     let (tx, rx) = mpsc::channel();
///     for n in 1..=2 {
///         let tx = tx.clone();
///         rt.handle().new_color().post(move |_| tx.send(n).unwrap());
///     }
///     rt.wait_idle();
///     assert_eq!(rx.recv(), Ok(1));           // wrong: two colors have no order
/// });
/// let failure = failure.expect("some seed fails");
/// assert!(failure.message.contains("left: Ok(2)"));
/// println!("{failure}");                      // with the pauses that lead to it
/// ```
pub fn find(config: &Config, body: impl Fn(&Sim) + 'static) -> Option<Failure> {
    Runner::new(config, body).find().0
}

/// Runs a body once for each seed until one fails, and returns what was run and reached.
///
/// # Panics
///
/// Panics if it is called in a simulation.
///
/// # Examples
///
/// ```
/// use dapple::{Runtime, sim};
///
/// let explored = sim::explore(&sim::Config::new().seeds(0..50), |_| {
///     let rt = Runtime::builder().workers(2).build().unwrap();
///     (0..100).for_each(|_| rt.handle().new_color().post(|_| ()));
///     rt.wait_idle();
///     if rt.metrics().steals() > 0 {
///         dapple::sim_reached!("a steal");
///     }
/// });
/// assert!(explored.failure.is_none() && explored.seeds == 50);
/// println!("{:?} of 50 seeds steal", explored.reached.get("a steal"));
/// ```
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
///
/// # Examples
///
/// ```
/// use dapple::{Runtime, sim};
///
/// let run = |seed| sim::run(&sim::Config::new(), seed, |_| {
///     let rt = Runtime::builder().workers(2).build().unwrap();
///     (0..10).for_each(|_| rt.handle().new_color().post(|_| ()));
///     rt.wait_idle();
/// });
/// let report = run(7);
/// assert!(report.failure.is_none());
/// assert_eq!(run(7).digest, report.digest);           // a seed is always the same run
/// ```
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
///
/// # Examples
///
/// ```
/// use std::sync::mpsc;
/// use dapple::{Runtime, sim};
///
/// fn body(_: &sim::Sim) {
///     let rt = Runtime::builder().workers(2).build().unwrap();
///     let (tx, rx) = mpsc::channel();
///     for n in 1..=2 {
///         let tx = tx.clone();
///         rt.handle().new_color().post(move |_| tx.send(n).unwrap());
///     }
///     rt.wait_idle();
///     assert_eq!(rx.recv(), Ok(1));           // wrong: two colors have no order
/// }
///
/// let config = sim::Config::new();
/// let saved = sim::find(&config, body).expect("some seed fails").saved.expect("it is one run");
/// let text = saved.to_string();               // for a file, or a regression test
/// let saved: sim::Saved = text.parse()?;
/// assert!(sim::replay(&config, &saved, body).failure.is_some());
/// # Ok::<(), sim::NotSaved>(())
/// ```
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

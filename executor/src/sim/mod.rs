//! Programs of this crate under a seed: a schedule that fails comes back.
//!
//! [`check`] runs the body of a test once for each seed. The workers of the runtimes that it
//! builds, the threads for blocking work, and the body itself are *fibers* of the calling thread,
//! in virtual time. The code of the workers is that of every program; only what would wait for
//! another thread has another fiber go on. At an event's start and end, where an event posts, and
//! at marked points inside of the protocols a seed may *pause* a fiber while the others go on. A
//! failure is reported with the fewest pauses and faults that lead to it, and comes back in every
//! run.
//!
//! * What is simulated: events of all kinds, domains, tasks, timers, blocking work, shutdown, and
//!   the clocks that [`Handle::now`](crate::Handle::now) and
//!   [`Handle::wall_clock`](crate::Handle::wall_clock) show. What is not: descriptors and sockets,
//!   threads and locks of the program's own, and weak memory; runs are sequentially consistent.
//! * A callback must not wait for another thread by itself, and must hold no lock while it posts:
//!   the fiber that would give it up stands on the same thread.
//! * The order in which a `HashMap` of the standard library is iterated, addresses, and clocks that
//!   are read past the handle differ from run to run, and with them what is done by them.
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
//!                 cx.post_here(take);      // another withdrawal may come between
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

/// A run, as its body sees it.
#[derive(Debug)]
pub struct Sim {
    seed: u64,
}

impl Sim {
    /// The seed of the run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Waits until nothing can go on without time passing by: what is left are timers, and waits
    /// for what never comes.
    pub fn settled(&self) {
        world(World::settle);
    }

    /// Lets virtual time pass by, and what is due meanwhile run.
    pub fn advance(&self, time: Duration) {
        sync::sleep(time);
    }

    /// Records from now on what happens, for rules to be checked by. It should begin before the
    /// runtime is built: of workers, colors and domains that were made before, [rules](Rule) that
    /// speak of them are not checked.
    pub fn history(&self) -> History<'_> {
        History::begin(self)
    }

    /// A number for what has run so far: equal in two runs if the same events began on the same
    /// workers, in the same order.
    pub fn digest(&self) -> u64 {
        world(|world| world.log.digest()).unwrap_or(0)
    }
}

/// Says something in the story of a run that fails; outside of a run it does nothing. It takes what
/// `format!` takes.
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

/// Says that a run has come by here. By [`Explored::reached`](crate::sim::Explored::reached) and
/// [`Config::has_to_reach`](crate::sim::Config::has_to_reach) a test knows whether its seeds do
/// what it is there for. Outside of a run it does nothing.
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

/// Says that the event which runs has read a value: by a [`History`] it is known whether it was the
/// right one. `label` names what was read. Outside of a run it does nothing.
pub fn read(label: &str, value: &(impl std::fmt::Debug + ?Sized)) {
    world(|world| world.uses(Use::Read, label, || format!("{value:?}")));
}

/// Says that the event which runs has written a value; see [`read`].
pub fn wrote(label: &str, value: &(impl std::fmt::Debug + ?Sized)) {
    world(|world| world.uses(Use::Written, label, || format!("{value:?}")));
}

/// Lets virtual time pass by, as a callback that computes for so long; nobody else goes on in it,
/// on this worker. Outside of a run it does nothing.
pub fn work(time: Duration) {
    world(|world| world.works(time));
}

#[doc(hidden)]
pub fn note(text: impl FnOnce() -> String) {
    // Said in every run, whether it is told or not: what it looks at may be the clock.
    if sync::is_simulated() {
        let text = text();
        world(|world| world.record(|| What::Notes { who: world.current().place.who(), text }));
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// See [`Sim::digest`].
    pub digest: u64,
    /// Events that have begun.
    pub events: u64,
    /// Changes of fibers, and events.
    pub steps: u64,
    /// Virtual time.
    pub time: Duration,
    /// Why it failed; `None`: it did not.
    pub failure: Option<String>,
}

/// A seed that fails.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The seed; `None`: none of them has reached what was asked for.
    pub seed: Option<u64>,
    /// What the body, or an event, panicked with; or what else is wrong.
    pub message: String,
    /// Which deviations lead to it, and what went on meanwhile.
    pub story: String,
    /// How many deviations the story has: pauses, and faults.
    pub deviations: usize,
    /// How many there were in the run that was found.
    pub found: usize,
    /// The run, to be [replayed](replay). `None`: one run does not show it, as it takes two of a
    /// seed, or all seeds.
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

/// What came of some seeds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explored {
    /// How many seeds were run.
    pub seeds: u64,
    /// Events that have begun in them.
    pub events: u64,
    /// How often each label of [`sim_reached!`](crate::sim_reached) was reached. The runtime has
    /// labels of its own: what it does seldom.
    pub reached: BTreeMap<String, u64>,
    /// The first seed that has failed.
    pub failure: Option<Failure>,
}

/// Runs a body once for each seed, or, if the environment variable `DAPPLE_SIM` names a file that
/// an earlier failure of the same test was saved in, that run.
///
/// # Panics
///
/// With the first seed that fails: if the body, an event, or the runtime itself panics; if the body
/// waits for what never comes; if it takes too many steps. The message has the story of the run
/// with the fewest deviations that still fails, and the file that it was saved in. Also if no seed
/// reaches what the [configuration](Config) asks for, or a run is not the same when it is run
/// again; and if `DAPPLE_SIM` names a file that cannot be read.
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

/// Runs a body once for each seed until one fails, and answers that.
pub fn find(config: &Config, body: impl Fn(&Sim) + 'static) -> Option<Failure> {
    Runner::new(config, body).find().0
}

/// Runs a body once for each seed until one fails, and says what was run and reached.
pub fn explore(config: &Config, body: impl Fn(&Sim) + 'static) -> Explored {
    let runner = Runner::new(config, body);
    let (failure, seeds, events) = runner.find();
    Explored { seeds, events, reached: runner.reached(), failure }
}

/// Runs a body with one seed, and says what came of it.
pub fn run(config: &Config, seed: u64, body: impl Fn(&Sim) + 'static) -> Report {
    let _quiet = Quiet::begin();
    let runner = Runner::new(config, body);
    runner.run(seed, runner.choices(seed), Tells::No).report
}

/// Runs a body with the deviations of a run that has failed, as far as it comes by where they
/// were. In [timed mode](Config::timed) there are none.
pub fn replay(config: &Config, saved: &Saved, body: impl Fn(&Sim) + 'static) -> Report {
    let _quiet = Quiet::begin();
    let runner = Runner::new(config, body);
    let choices = runner.choices_of(saved);
    runner.run(saved.seed, choices, Tells::No).report
}

/// A number made of others, in which each of their bits counts.
fn mix(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0x9e37_79b9_7f4a_7c15, |hash, number| {
        let mut hash = (hash ^ number).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ hash >> 29
    })
}

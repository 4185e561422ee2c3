//! Programs of this crate under a seed: a schedule that fails comes back.
//!
//! [`check`] runs the body of a test once for each seed. The workers of the runtimes that it
//! builds, the threads for blocking work, and the body itself are *fibers* of the calling thread,
//! in virtual time. The code of the workers is that of every program; only what would wait for
//! another thread has another fiber go on. At an event's begin and end, where an event posts, and
//! at marked points inside of the protocols a seed may *pause* a fiber while the others go on. A
//! failure is reported with the fewest pauses that lead to it, and comes back in every run.
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
mod fibers;
mod names;
mod saved;
mod story;
mod watchdog;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use corosensei::stack::DefaultStack;

use self::choice::{Choices, Length, Mark, Pause, fewest};
use self::fibers::{End, World, world};
pub use self::saved::{NotSaved, Saved};
use self::watchdog::Watchdog;
use crate::sync::{self, Arc};

/// Steps of the runs that look for fewer pauses, as far as the failing run is not longer than a
/// twentieth of that.
const MOST_SHRINKING_STEPS: u64 = 4_000_000;

/// What [`check`] runs.
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
    seeds: Range<u64>,
    most_steps: u64,
    allows_panics: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { seeds: 0..1_000, most_steps: 10_000_000, allows_panics: false }
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
    /// more has failed.
    pub fn most_steps(mut self, steps: u64) -> Self {
        self.most_steps = steps;
        self
    }

    /// Lets events panic: by default that is a failure.
    pub fn allow_panics(mut self) -> Self {
        self.allows_panics = true;
        self
    }
}

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

#[doc(hidden)]
pub fn note(text: impl FnOnce() -> String) {
    world(|world| world.log.noted(&world.current(), text(), world.nanos()));
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
    /// The seed.
    pub seed: u64,
    /// What the body, or an event, panicked with; or what else is wrong.
    pub message: String,
    /// Which pauses lead to it, and what went on meanwhile.
    pub story: String,
    /// How many pauses the story has.
    pub pauses: usize,
    /// How many there were in the run that was found.
    pub found: usize,
    /// The run, to be [replayed](replay).
    pub saved: Saved,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Failure { seed, message, story, pauses, found, .. } = self;
        writeln!(f, "seed {seed}: {message}")?;
        writeln!(f, "{pauses} of {found} pauses are enough:")?;
        f.write_str(story)
    }
}

/// Runs a body once for each seed, or, if the environment variable `DAPPLE_SIM` names a file that
/// an earlier failure was saved in, that run.
///
/// # Panics
///
/// With the first seed that fails: if the body, or an event, panics; if the body waits for what
/// never comes; if it takes too many steps. The message has the story of the run with the fewest
/// pauses that still fails, and the file that it was saved in.
#[track_caller]
pub fn check(config: &Config, body: impl Fn(&Sim) + 'static) {
    let runner = Runner::new(config, body);
    if let Some(file) = std::env::var_os("DAPPLE_SIM") {
        let text = std::fs::read_to_string(&file);
        let saved = text.map_err(|error| error.to_string());
        let saved = saved.and_then(|text| text.parse().map_err(|e: NotSaved| e.to_string()));
        let saved: Saved = saved.unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        let run = runner.run(saved.seed, Choices::these(&saved.pauses), Tells::Yes);
        if let Some(failure) = run.report.failure {
            panic!("{}: {failure}\n{}", file.display(), run.story);
        }
        return;
    }
    if let Some(failure) = runner.find() {
        let name = std::thread::current().name().unwrap_or("test").replace("::", "-");
        let file = std::env::temp_dir().join(format!("dapple-sim-{name}-{}.txt", failure.seed));
        let text = format!("# {}\n", failure.to_string().replace('\n', "\n# "));
        match std::fs::write(&file, text + &failure.saved.to_string()) {
            Ok(()) => panic!("{failure}again: DAPPLE_SIM={}", file.display()),
            Err(error) => panic!("{failure}it was not saved: {}: {error}", file.display()),
        }
    }
}

/// Runs a body once for each seed until one fails, and answers that.
pub fn find(config: &Config, body: impl Fn(&Sim) + 'static) -> Option<Failure> {
    Runner::new(config, body).find()
}

/// Runs a body with one seed, and says what came of it.
pub fn run(config: &Config, seed: u64, body: impl Fn(&Sim) + 'static) -> Report {
    let _quiet = Quiet::begin();
    Runner::new(config, body).run(seed, Choices::of_seed(seed), Tells::No).report
}

/// Runs a body with the pauses of a run that has failed, as far as it comes by where they were.
pub fn replay(config: &Config, saved: &Saved, body: impl Fn(&Sim) + 'static) -> Report {
    let _quiet = Quiet::begin();
    let choices = Choices::these(&saved.pauses);
    Runner::new(config, body).run(saved.seed, choices, Tells::No).report
}

const STUCK: &str = "the test waits for what never comes";
const ENDLESS: &str = "it does not come to an end";

/// Whether the story of a run is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tells {
    Yes,
    No,
}

/// What a failure is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Test,
    Event,
    Runtime,
    Stuck,
    Endless,
}

struct Run {
    report: Report,
    /// `None`: it has not failed.
    kind: Option<Kind>,
    pauses: Vec<Pause>,
    story: String,
    /// For each pause the last event that has ended meanwhile.
    ended_meanwhile: BTreeMap<Mark, u64>,
}

struct Runner {
    config: Config,
    body: Rc<dyn Fn(&Sim)>,
    stacks: RefCell<Vec<DefaultStack>>,
    watchdog: Watchdog,
}

impl Runner {
    fn new(config: &Config, body: impl Fn(&Sim) + 'static) -> Self {
        assert!(!sync::is_simulated(), "a simulation inside of a simulation");
        let (body, watchdog) = (Rc::new(body), Watchdog::start());
        Runner { config: config.clone(), body, stacks: RefCell::default(), watchdog }
    }

    fn run(&self, seed: u64, choices: Choices, tells: Tells) -> Run {
        let world = World::new(
            choices,
            self.config.most_steps,
            self.stacks.take(),
            Arc::clone(&self.watchdog.0),
        );
        if tells == Tells::Yes {
            world.log.tell();
        }
        let failure = Rc::new(RefCell::new(None));
        let (body, told) = (Rc::clone(&self.body), Rc::clone(&failure));
        let main = move || {
            let caught = catch_unwind(AssertUnwindSafe(|| body(&Sim { seed })));
            if let Err(payload) = caught {
                *told.borrow_mut() = Some(message(&*payload));
            }
        };
        world.start("the test".to_owned(), Box::new(main));
        let end = world.run();
        let panic = world.log.panic();
        let failure = match (failure.take(), panic, end) {
            (_, Some(panic), _) if world.log.is_broken() => Some((Kind::Runtime, panic)),
            (Some(message), ..) => Some((Kind::Test, message)),
            (None, Some(panic), _) if !self.config.allows_panics => Some((Kind::Event, panic)),
            (.., End::Over) => None,
            (.., End::Stuck) => Some((Kind::Stuck, STUCK.to_owned())),
            (.., End::Endless) => Some((Kind::Endless, ENDLESS.to_owned())),
        };
        let (kind, failure) = failure.unzip();
        *self.stacks.borrow_mut() = world.take_stacks();
        let report = Report {
            digest: world.log.digest(),
            events: world.log.events(),
            steps: world.steps(),
            time: Duration::from_nanos(world.nanos()),
            failure,
        };
        let (pauses, story) = (world.choices.take_made(), world.log.story());
        let ended_meanwhile = world.log.ended_meanwhile();
        Run { report, kind, pauses, story, ended_meanwhile }
    }

    /// The first seed that fails.
    fn find(&self) -> Option<Failure> {
        let _quiet = Quiet::begin();
        let failed = self.config.seeds.clone().find_map(|seed| {
            let run = self.run(seed, Choices::of_seed(seed), Tells::No);
            run.kind.map(|kind| (seed, kind, run))
        });
        let (seed, kind, run) = failed?;
        let found = run.pauses.len();
        let failure = |run: Run, pauses: Vec<Pause>| Failure {
            seed,
            message: run.report.failure.unwrap_or_else(|| "it fails now and then".to_owned()),
            story: run.story,
            pauses: pauses.len(),
            found,
            saved: Saved { seed, pauses },
        };
        if sync::panicking() {
            // Its panic waits for what never comes: no further run could be told from it.
            let pauses = run.pauses.clone();
            return Some(failure(run, pauses));
        }
        let (pauses, steps) = (run.pauses, run.report.steps);
        let left = Cell::new(MOST_SHRINKING_STEPS.max(20 * steps));
        let fails = |pauses: &[Pause]| {
            let run = self.run(seed, Choices::these(pauses), Tells::No);
            left.set(left.get().saturating_sub(run.report.steps));
            run.kind == Some(kind)
        };
        let mut pauses = fewest(pauses, || left.get() > 0, fails);
        // The end of an event stays where it is when a program is changed; a time does not.
        let ends = self.run(seed, Choices::these(&pauses), Tells::Yes).ended_meanwhile;
        for index in 0..pauses.len() {
            let (mark, before) = pauses[index];
            if let Some(name) = ends.get(&mark).filter(|_| left.get() > 0) {
                pauses[index].1 = Length::Until(*name);
                if !fails(&pauses) {
                    pauses[index].1 = before;
                }
            }
        }
        let run = self.run(seed, Choices::these(&pauses), Tells::Yes);
        Some(failure(run, pauses))
    }
}

thread_local! {
    /// Panics on this thread are expected, and nobody is to read of them.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// While this is there, panics on this thread print nothing.
struct Quiet;

impl Quiet {
    fn begin() -> Quiet {
        static HOOK: std::sync::Once = std::sync::Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if !IS_QUIET.get() {
                    before(info);
                }
            }));
        });
        IS_QUIET.set(true);
        Quiet
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        IS_QUIET.set(false);
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&'static str>().map(ToString::to_string);
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic".to_owned())
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

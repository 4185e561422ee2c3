//! The runs of a test: one for each seed, and those that reduce the deviations of a run that fails.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use corosensei::stack::DefaultStack;

use super::choice::{Choices, Deviation, Length, fewest};
use super::config::Config;
use super::fibers::{End, World};
use super::log::Keeps;
use super::saved::Saved;
use super::story::{ended_meanwhile, first_difference, story};
use super::watchdog::Watchdog;
use super::{Failure, Report, Sim};
use crate::sync::{self, Arc};

/// The number of steps that the search for fewer deviations may take. If twenty times the steps of
/// the failing run are more, that is the limit.
const MOST_SHRINKING_STEPS: u64 = 4_000_000;

const STUCK: &str = "the test waits for something that never happens";
const ENDLESS: &str = "the run does not end";

/// Whether the story of a run is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tells {
    Yes,
    No,
}

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Test,
    Event,
    Runtime,
    Stuck,
    Endless,
    /// The run differs when it is repeated.
    Differs,
}

/// A run that is over.
pub(super) struct Run {
    pub(super) report: Report,
    /// `None` if the run has not failed.
    kind: Option<Kind>,
    deviations: Vec<Deviation>,
    world: Rc<World>,
}

impl Run {
    pub(super) fn story(&self) -> String {
        story(&self.world.log)
    }
}

/// The runner of one test: see the [module](self).
pub(super) struct Runner {
    config: Config,
    body: Rc<dyn Fn(&Sim)>,
    stacks: RefCell<Vec<DefaultStack>>,
    watchdog: Watchdog,
    /// The number of times that each label has been reached, in the first run of each seed.
    reached: RefCell<BTreeMap<String, u64>>,
}

impl Runner {
    pub(super) fn new(config: &Config, body: impl Fn(&Sim) + 'static) -> Self {
        assert!(!sync::is_simulated(), "a simulation cannot run inside of a simulation");
        let watchdog = Watchdog::start(config.patience);
        Runner {
            config: config.clone(),
            body: Rc::new(body),
            stacks: RefCell::default(),
            watchdog,
            reached: RefCell::default(),
        }
    }

    /// Returns the choices of a seed.
    pub(super) fn choices(&self, seed: u64) -> Choices {
        match self.config.costs {
            None => Choices::of_seed(seed, self.config.most_steps),
            Some(_) => Choices::these(&[]),
        }
    }

    /// Returns the choices of a saved run.
    pub(super) fn choices_of(&self, saved: &Saved) -> Choices {
        let is_timed = self.config.costs.is_some();
        Choices::these(if is_timed { &[] } else { &saved.deviations })
    }

    /// Returns the number of times that each label has been reached.
    pub(super) fn reached(&self) -> BTreeMap<String, u64> {
        self.reached.borrow().clone()
    }

    pub(super) fn run(&self, seed: u64, choices: Choices, tells: Tells) -> Run {
        let world = World::new(
            choices,
            self.config.most_steps,
            self.stacks.take(),
            Arc::clone(&self.watchdog.0),
            self.config.costs,
        );
        if tells == Tells::Yes {
            world.log.keep(Keeps::Story);
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
        Run { report, kind, deviations: world.choices.take_made(), world }
    }

    /// Runs a seed, twice if that is wanted.
    fn run_seed(&self, seed: u64) -> Run {
        if !self.config.runs_twice {
            return self.run(seed, self.choices(seed), Tells::No);
        }
        let [mut run, again] = [(); 2].map(|()| self.run(seed, self.choices(seed), Tells::Yes));
        if run.kind.is_none() && run.report.digest != again.report.digest {
            let what = first_difference(&run.world.log, &again.world.log);
            let what =
                what.unwrap_or_else(|| "the run is too long to find where it differs".to_owned());
            run.report.failure = Some(format!("the run differs when it is repeated: {what}"));
            run.kind = Some(Kind::Differs);
        }
        run
    }

    /// Returns the failure of the first seed that fails, and the numbers of seeds and events that
    /// were run.
    pub(super) fn find(&self) -> (Option<Failure>, u64, u64) {
        let _quiet = Quiet::begin();
        let (mut seeds, mut events) = (0, 0);
        for seed in self.config.seeds.clone() {
            let run = self.run_seed(seed);
            (seeds, events) = (seeds + 1, events + run.report.events);
            for (label, times) in run.world.reached.take() {
                *self.reached.borrow_mut().entry(label).or_default() += times;
            }
            if run.kind.is_some() {
                return (Some(self.shrink(seed, run)), seeds, events);
            }
        }
        let reached = self.reached.borrow();
        let missing = self.config.has_to_reach.iter().filter(|label| !reached.contains_key(*label));
        let missing: Vec<&str> = missing.map(String::as_str).collect();
        let failure = (!missing.is_empty()).then(|| Failure {
            seed: None,
            message: format!("no seed has reached: {}", missing.join(", ")),
            story: String::new(),
            deviations: 0,
            found: 0,
            saved: None,
        });
        (failure, seeds, events)
    }

    /// Returns the failure of a run, with as few deviations as lead to it.
    fn shrink(&self, seed: u64, run: Run) -> Failure {
        let found = run.deviations.len();
        let failure = |run: Run, deviations: Vec<Deviation>| Failure {
            seed: Some(seed),
            story: run.story(),
            message: run
                .report
                .failure
                .unwrap_or_else(|| "the failure does not come back in every run".to_owned()),
            deviations: deviations.len(),
            found,
            saved: Some(Saved::new(seed, deviations)),
        };
        let Some(kind) = run.kind.filter(|kind| *kind != Kind::Differs) else {
            return Failure { saved: None, ..failure(run, Vec::new()) };
        };
        if sync::panicking() {
            // A fiber of this run waits forever while it unwinds, so this thread counts as
            // panicking. The panic of a further run could not be told from that one.
            let deviations = run.deviations.clone();
            return failure(run, deviations);
        }
        let (deviations, steps) = (run.deviations, run.report.steps);
        let left = Cell::new(MOST_SHRINKING_STEPS.max(20 * steps));
        let fails = |deviations: &[Deviation]| {
            let run = self.run(seed, Choices::these(deviations), Tells::No);
            left.set(left.get().saturating_sub(run.report.steps));
            run.kind == Some(kind)
        };
        let mut deviations = fewest(deviations, || left.get() > 0, fails);
        // The end of an event stays at its place when a program is edited; a time does not.
        let run = self.run(seed, Choices::these(&deviations), Tells::Yes);
        let ends = ended_meanwhile(&run.world.log);
        for index in 0..deviations.len() {
            let (mark, before) = deviations[index];
            if let Some(name) = ends.get(&mark).filter(|_| left.get() > 0) {
                deviations[index].1 = Length::Until(*name);
                if !fails(&deviations) {
                    deviations[index].1 = before;
                }
            }
        }
        let run = self.run(seed, Choices::these(&deviations), Tells::Yes);
        failure(run, deviations)
    }
}

thread_local! {
    /// Whether panics on this thread are expected, so that nothing is printed about them.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// A guard: while it exists, panics on this thread print nothing.
pub(super) struct Quiet;

impl Quiet {
    pub(super) fn begin() -> Quiet {
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

/// Returns the message of a panic.
pub(super) fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&'static str>().map(ToString::to_string);
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic".to_owned())
}

//! `dapple lab storm`: runs random programs under seeds, and checks the rules.

mod programs;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use dapple::sim::{self, Config, Reached};

use self::programs::Program;

/// The number of seeds that run between two checks of the time limit.
const PART: u64 = 20;

/// The most steps that one program may take.
const MOST_STEPS: u64 = 4_000_000;

pub(super) fn command() -> Command {
    let names = Program::ALL.map(Program::name);
    Command::new("storm")
        .about("Runs random programs under seeds in the simulated runtime, and checks the rules")
        .after_help(
            "Each program is drawn from its seed, and runs under the schedule of that seed. The \
             first one that breaks a rule ends the storm, with a story of how.",
        )
        .arg(
            Arg::new("seeds")
                .long("seeds")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help("The number of seeds [default: 1000, or no limit with --seconds]"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("S")
                .value_parser(value_parser!(u64).range(1..))
                .help("Stop after about this number of seconds [default: no limit]"),
        )
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("SEED")
                .value_parser(value_parser!(u64))
                .default_value("0")
                .help("The first seed"),
        )
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("PROGRAM")
                .value_parser(names.to_vec())
                .action(ArgAction::Append)
                .help("Only programs of this kind. May be repeated"),
        )
        .arg(
            Arg::new("all")
                .long("reach-all")
                .action(ArgAction::SetTrue)
                .help("Fail if an item of the list was not reached"),
        )
}

pub(super) fn main(args: &ArgMatches) -> Result<(), String> {
    let seconds = args.get_one::<u64>("seconds").copied();
    let default = if seconds.is_some() { u64::MAX } else { 1_000 };
    let most = args.get_one::<u64>("seeds").copied().unwrap_or(default);
    let first = args.get_one::<u64>("from").copied().unwrap_or(0);
    let only: Vec<&String> = args.get_many("only").into_iter().flatten().collect();
    let programs = Program::ALL.into_iter();
    let programs =
        programs.filter(|p| only.is_empty() || only.iter().any(|name| *name == p.name()));
    let programs: Vec<Program> = programs.collect();
    let mut storm = Storm::begin(seconds.map(Duration::from_secs), most);
    let mut seed = first;
    let last = first.saturating_add(most);
    if first == last {
        return Err(format!("there is no seed after {first}"));
    }
    while seed < last && !storm.is_over() {
        let part = seed..last.min(seed.saturating_add(PART));
        seed = part.end;
        let run = programs.clone();
        // The programs count their panics themselves.
        let config = Config::new().seeds(part).most_steps(MOST_STEPS).allow_panics();
        // The runtime's warnings are expected here.
        let quiet = tracing::subscriber::NoSubscriber::default();
        let explored = tracing::subscriber::with_default(quiet, || {
            sim::explore(&config, move |sim| {
                programs::run(run[sim.seed() as usize % run.len()], sim);
            })
        });
        storm.add(&explored);
        if let Some((from, failure)) = explored.failure.and_then(|f| Some((f.seed?, f))) {
            storm.ends();
            let program = programs[from as usize % programs.len()].name();
            println!("program \"{program}\", {failure}");
            let only: Vec<String> = only.iter().map(|name| format!(" --only {name}")).collect();
            println!("again: dapple lab storm --from {from} --seeds 1{}", only.concat());
            return Err(format!("seed {from} fails"));
        }
    }
    storm.ends();
    let missing = storm.report();
    match args.get_flag("all") && !missing.is_empty() {
        true => Err(format!("not reached: {}", missing.join(", "))),
        false => Ok(()),
    }
}

/// The results until now.
struct Storm {
    began: Instant,
    limit: Option<Duration>,
    most: u64,
    shown: Option<Instant>,
    seeds: u64,
    events: u64,
    reached: BTreeMap<String, u64>,
}

impl Storm {
    fn begin(limit: Option<Duration>, most: u64) -> Storm {
        Storm {
            began: Instant::now(),
            limit,
            most,
            shown: None,
            seeds: 0,
            events: 0,
            reached: BTreeMap::new(),
        }
    }

    fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.began.elapsed() >= limit)
    }

    fn add(&mut self, explored: &sim::Explored) {
        self.seeds += explored.seeds;
        self.events += explored.events;
        for (label, times) in &explored.reached {
            *self.reached.entry(label.clone()).or_default() += times;
        }
        let is_due = self.shown.is_none_or(|shown| shown.elapsed() > Duration::from_millis(200));
        if is_due && std::io::stderr().is_terminal() {
            self.shown = Some(Instant::now());
            self.show();
        }
    }

    /// Draws the progress on one line, which is written again and again.
    fn show(&self) {
        const WIDTH: usize = 30;
        let by_seeds = self.seeds as f64 / self.most as f64;
        let passed = self.began.elapsed().as_secs_f64();
        let by_time = self.limit.map_or(0.0, |limit| passed / limit.as_secs_f64());
        let done = by_seeds.max(by_time).min(1.0);
        let full = (done * WIDTH as f64) as usize;
        let bar = "#".repeat(full) + &".".repeat(WIDTH - full);
        let rate = self.seeds as f64 / passed.max(1e-9);
        let (seeds, missing) = (self.seeds, self.missing().len());
        let left = format!("{missing} of {} not reached", Reached::ALL.len());
        let line = format!("\r[{bar}] {seeds} seeds, {rate:.0} a second, {left} ");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    /// Ends the line of the progress.
    fn ends(&self) {
        if self.shown.is_some() {
            self.show();
            eprintln!();
        }
    }

    fn missing(&self) -> Vec<&'static str> {
        let all = Reached::ALL.iter().map(|what| what.name());
        all.filter(|name| !self.reached.contains_key(*name)).collect()
    }

    /// Prints what was run and reached, and returns the names of what was not reached.
    fn report(&self) -> Vec<&'static str> {
        let seconds = self.began.elapsed().as_secs_f64().max(1e-9);
        let (seeds, events) = (self.seeds, self.events);
        let (rate, speed) = (seeds as f64 / seconds, events as f64 / seconds / 1e6);
        println!("{seeds} seeds in {seconds:.1} s ({rate:.0} a second), none has failed");
        println!("{events} events ({speed:.2} M a second); reached:");
        for what in Reached::ALL {
            let times = self.reached.get(what.name()).copied().unwrap_or(0);
            println!("  {times:>12}  {}", what.name());
        }
        self.missing()
    }
}

//! Latency of dapple and its peers under an open loop, compared with the computed M/G/k queue.
//!
//! `cargo run --release -p dapple-benches --bin openloop -- --help`

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use dapple_benches::openloop::generator::{Bench, Naps, Slots};
use dapple_benches::openloop::grid::Grid;
use dapple_benches::openloop::record::{Point, Record};
use dapple_benches::openloop::schedule::{Distribution, Keys};
use dapple_benches::openloop::systems::{self, Start};
use dapple_benches::openloop::{Setup, curves, report, two_cores};

const ABOUT: &str = "Latency of dapple and its peers when requests arrive by a schedule";

const LONG_ABOUT: &str = "\
Latency of dapple and its peers when requests arrive by a schedule

Requests arrive at random times (Poisson) that are fixed before the run, each with a service time \
and a key; requests of one key are not served at once. A generator posts each request when it is due \
and never waits for the system. The latency of a request is the time from its intended arrival to \
the end of its service, so nothing is left out because something else was late. M/G/k is what a \
queue with as many servers and no overhead makes of the same requests.

All systems get the same schedules and pinned workers, and run in turn, in another order in each \
round. Figures are medians over the rounds. Close other programs: everything that takes a core for a \
while is in the tail.";

fn command() -> Command {
    let setups = Setup::ALL.map(Setup::name);
    let systems = systems::ALL.map(|(name, _)| name).into_iter().chain(["dapple"]);
    Command::new("openloop")
        .about(ABOUT)
        .long_about(LONG_ABOUT)
        .arg(many("setup", "SETUP").value_parser(setups).help(
            "one: a worker, and the generator on a core of its own; two: two workers, and a generator \
             that sleeps and shares their cores [default: both]",
        ))
        .arg(
            many("dist", "DISTRIBUTION")
                .value_parser(Distribution::ALL.map(Distribution::name))
                .help("Of service times; bimodal: 0.5 % take 100 times as long [default: all]"),
        )
        .arg(
            many("keys", "KEYS").value_parser(Keys::ALL.map(Keys::name)).help(
                "How requests are spread over 1,000 keys; zipf: exponent 0.99 [default: uniform]",
            ),
        )
        .arg(
            many("mean", "US")
                .value_parser(value_parser!(u32).range(1..=100_000))
                .help("Mean service time in microseconds [default: 10, 25, 100]"),
        )
        .arg(
            many("load", "PERCENT")
                .value_parser(value_parser!(u32).range(1..=1_000))
                .help("Of what the workers could serve [default: 10, 30, 50, 70, 90, 110]"),
        )
        .arg(
            many("system", "SYSTEM")
                .value_parser(systems.collect::<Vec<_>>())
                .help("dapple: all its policies [default: all]"),
        )
        .arg(
            one("rounds", "N")
                .value_parser(value_parser!(u32).range(1..=1_000))
                .default_value("3")
                .help("Runs of each system at each point, each round with a schedule of its own"),
        )
        .arg(
            one("retries", "N")
                .value_parser(value_parser!(u32).range(0..=100))
                .help(
                    "How often a run is repeated that other programs or a change of the machine's \
                     speed disturbed, at most [default: 2; 0 if quick]",
                ),
        )
        .arg(
            one("scale", "FACTOR")
                .value_parser(scale)
                .help("Makes the runs longer: at 1 they take 0.3 to 0.8 s [default: 1; 0.5 if quick]"),
        )
        .arg(
            one("nap", "US")
                .value_parser(value_parser!(u32).range(0..=100_000))
                .default_value("0")
                .help("How long the generator of setup two sleeps at least, if nothing is due"),
        )
        .arg(Arg::new("realtime").long("realtime").action(ArgAction::SetTrue).help(
            "The generator of setup two runs before everything else (SCHED_FIFO; needs \
             permission)",
        ))
        .arg(one("json", "FILE").help("Also write all figures as JSON"))
        .arg(one("svg", "DIR").help("Also draw the curves, a file per setup and distribution"))
        .arg(Arg::new("quick").long("quick").action(ArgAction::SetTrue).help(
            "A small grid, unless other options say otherwise: exponential and bimodal, 10 us, at \
             30, 70 and 90 %; ends within a minute",
        ))
}

fn one(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value)
}

/// Returns an option that may be repeated.
fn many(name: &'static str, value: &'static str) -> Arg {
    one(name, value).action(ArgAction::Append)
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if (0.01..=1_000.0).contains(&factor) => Ok(factor),
        _ => Err("not a number from 0.01 to 1000".to_owned()),
    }
}

/// Returns the members of `all` that the command line names, or the default.
fn named<T: Copy>(
    args: &ArgMatches,
    id: &str,
    all: &[T],
    name: fn(T) -> &'static str,
    default: &[T],
) -> Vec<T> {
    match args.get_many::<String>(id) {
        None => default.to_vec(),
        Some(names) => {
            let names: Vec<&String> = names.collect();
            all.iter().copied().filter(|t| names.iter().any(|n| *n == name(*t))).collect()
        }
    }
}

/// Returns the numbers on the command line in ascending order, or the default.
fn numbers(args: &ArgMatches, id: &str, default: &[u32]) -> Vec<u32> {
    let mut told: Vec<u32> =
        args.get_many(id).map_or(default.to_vec(), |told| told.copied().collect());
    told.sort_unstable();
    told.dedup();
    told
}

fn grid(args: &ArgMatches) -> Grid {
    let quick = args.get_flag("quick");
    let (distributions, means, loads): (&[Distribution], &[u32], &[u32]) = match quick {
        true => (&[Distribution::Exponential, Distribution::Bimodal], &[10], &[30, 70, 90]),
        false => (&Distribution::ALL, &[10, 25, 100], &[10, 30, 50, 70, 90, 110]),
    };
    Grid {
        setups: named(args, "setup", &Setup::ALL, Setup::name, &Setup::ALL),
        distributions: named(args, "dist", &Distribution::ALL, Distribution::name, distributions),
        keys: named(args, "keys", &Keys::ALL, Keys::name, &[Keys::Uniform]),
        means_us: numbers(args, "mean", means),
        loads: numbers(args, "load", loads),
        scale: args.get_one("scale").copied().unwrap_or(if quick { 0.5 } else { 1.0 }),
    }
}

fn chosen_systems(args: &ArgMatches) -> Vec<(&'static str, Start)> {
    let told: Vec<&String> = args.get_many("system").unwrap_or_default().collect();
    let is_told = |name: &str| {
        told.iter().any(|t| *t == name || (*t == "dapple" && name.starts_with("dapple-")))
    };
    systems::ALL.into_iter().filter(|(name, _)| told.is_empty() || is_told(name)).collect()
}

/// Measures the whole grid, and returns all records.
fn measure(args: &ArgMatches, grid: &Grid, bench: &Bench) -> Result<Vec<Record>, String> {
    let rounds = args.get_one("rounds").copied().expect("it has a default");
    let default_retries = if args.get_flag("quick") { 0 } else { 2 };
    let retries = args.get_one("retries").copied().unwrap_or(default_retries);
    let systems = chosen_systems(args);
    let points = grid.points();
    let mut records = Vec::new();
    for (i, &point) in points.iter().enumerate() {
        let Point { setup, distribution, keys, mean_us, load } = point;
        let (setup, service, keys) = (setup.name(), distribution.name(), keys.name());
        let place = format!("{setup}, {service} {mean_us} us, {keys} keys, {load} %");
        eprint!("\rpoint {} of {}: {place}          ", i + 1, points.len());
        let measured = grid.measure(bench, point, &systems, rounds, retries);
        let failed = |(name, error)| format!("{name}, {place}: {error}");
        records.extend(measured.map_err(failed)?);
    }
    eprintln!();
    Ok(records)
}

/// Draws a file for each setup, distribution and spread of keys.
fn draw(records: &[Record], directory: &str) -> Result<(), String> {
    let mut rest: Vec<&Record> = records.iter().collect();
    while let Some(first) = rest.first().map(|r| r.point) {
        let same = |r: &&Record| {
            let p = r.point;
            (p.setup, p.distribution, p.keys) == (first.setup, first.distribution, first.keys)
        };
        let (drawn, others): (Vec<&Record>, Vec<&Record>) = rest.into_iter().partition(same);
        rest = others;
        let workers = match first.setup {
            Setup::One => "one worker, generator on its own core",
            Setup::Two => "two workers, generator on their cores",
        };
        let (service, keys) = (first.distribution.name(), first.keys.name());
        let title = format!("Latency: {workers}; {service} service, {keys} keys");
        let file = format!("{}-{service}-{keys}.svg", first.setup.name());
        let file = Path::new(directory).join(file);
        fs::write(&file, curves::svg(&title, &drawn))
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    Ok(())
}

/// Checks before the measurement that its figures can be written. An existing file is left as it
/// is.
fn check_outputs(args: &ArgMatches) -> Result<(), String> {
    if let Some(file) = args.get_one::<String>("json") {
        let opened = OpenOptions::new().create(true).append(true).open(file);
        opened.map_err(|error| format!("cannot write {file}: {error}"))?;
    }
    if let Some(directory) = args.get_one::<String>("svg") {
        fs::create_dir_all(directory)
            .map_err(|error| format!("cannot make the directory {directory}: {error}"))?;
    }
    Ok(())
}

fn run(args: &ArgMatches) -> Result<(), String> {
    let cores = two_cores().ok_or("this benchmark needs two cores")?;
    check_outputs(args)?;
    let grid = grid(args);
    let slots = Slots::new(grid.most_requests());
    let nap = args.get_one("nap").copied().map(u32::into).expect("it has a default");
    let naps = Naps { least: Duration::from_micros(nap), realtime: args.get_flag("realtime") };
    let bench = Bench { slots, cores, naps };
    let records = measure(args, &grid, &bench)?;
    let mut out = io::stdout().lock();
    let printed = report::table(&records, &mut out).and_then(|()| out.flush());
    if let Some(file) = args.get_one::<String>("json") {
        let text = report::json(&records, grid.scale, &bench);
        fs::write(file, text).map_err(|error| format!("cannot write {file}: {error}"))?;
    }
    if let Some(directory) = args.get_one::<String>("svg") {
        draw(&records, directory)?;
    }
    printed.map_err(|error| format!("cannot print: {error}"))
}

fn main() -> ExitCode {
    match run(&command().get_matches()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("openloop: {error}");
            ExitCode::from(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn what_is_told_replaces_what_quick_chooses() {
        let args = command().get_matches_from(["openloop", "--quick", "--load", "50"]);
        let grid = grid(&args);
        assert_eq!((grid.loads, grid.means_us, grid.setups.len()), (vec![50], vec![10], 2));
    }

    #[test]
    fn dapple_means_all_its_policies() {
        let args = ["openloop", "--system", "dapple", "--system", "tokio"];
        let systems = chosen_systems(&command().get_matches_from(args));
        let names: Vec<&str> = systems.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["dapple-cost-aware", "dapple-eager", "dapple-off", "tokio"]);
    }
}

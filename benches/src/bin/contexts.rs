//! The cost of a domain's event compared with other ways to share a state, and the gain of
//! downgrading.
//!
//! `cargo run --release -p dapple-benches --bin contexts`

use std::process::ExitCode;
use std::sync::mpsc;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use dapple::{Domain, Runtime};
use dapple_benches::measure::{Took, median, resident};
use dapple_benches::openloop::service::Speed;
use dapple_benches::shared_state::{Load, System, downgrade, run};

/// Writes per 100 events.
const WRITES: [u64; 4] = [0, 1, 10, 50];
/// The work of an event, in microseconds.
const WORK_US: [u64; 3] = [0, 1, 10];
const WORKERS: [usize; 2] = [1, 2];

/// One line of a table: a system with a number of workers.
struct Line {
    system: System,
    workers: usize,
    runs: Vec<Took>,
}

impl Line {
    fn wall(&self) -> f64 {
        median(&self.runs.iter().map(|t| t.wall).collect::<Vec<_>>())
    }

    fn cpu(&self) -> f64 {
        median(&self.runs.iter().map(|t| t.cpu).collect::<Vec<_>>())
    }
}

/// Runs all systems in turn, `rounds` times after a round for warming up.
fn interleaved(
    rounds: u32,
    systems: &[System],
    run: impl Fn(System, usize) -> Option<Took>,
) -> Vec<Line> {
    let each = systems.iter().flat_map(|s| WORKERS.map(|w| (*s, w)));
    let mut lines: Vec<Line> =
        each.map(|(system, workers)| Line { system, workers, runs: Vec::new() }).collect();
    for round in 0..=rounds {
        for line in &mut lines {
            if let Some(took) = run(line.system, line.workers)
                // The first round is for warming up.
                && round > 0
            {
                line.runs.push(took);
            }
        }
    }
    lines.retain(|line| !line.runs.is_empty());
    lines
}

fn print(title: &str, lines: &[Line]) {
    println!("\n{title}");
    println!(
        "  {:<13} {:>2} {:>11} {:>11} {:>8} {:>10}",
        "system", "w", "ns/event", "cpu ns", "x post", "1w : this"
    );
    for line in lines {
        let of = |system: System, workers: usize| {
            lines.iter().find(|l| l.system == system && l.workers == workers).map(Line::wall)
        };
        let ratio = |r: Option<f64>| r.map_or_else(|| "-".to_owned(), |r| format!("{r:.2}"));
        let alone = of(line.system, 1).filter(|_| line.workers > 1);
        println!(
            "  {:<13} {:>2} {:>11.1} {:>11.1} {:>8} {:>10}",
            line.system.name(),
            line.workers,
            line.wall(),
            line.cpu(),
            ratio(of(System::Post, line.workers).map(|post| line.wall() / post)),
            ratio(alone.map(|alone| alone / line.wall())),
        );
    }
}

/// Prints the memory of a waiting event, measured with 1,000,000 events that wait behind another
/// one.
fn memory() {
    const EVENTS: u64 = 1_000_000;
    let rt = Runtime::builder().workers(1).build().expect("a runtime");
    let d = Domain::snapshot(&rt.handle(), 0u64);
    let (go, wait) = mpsc::channel::<()>();
    d.global(move |_| wait.recv().expect("somebody says go"));
    let before = resident();
    for i in 0..EVENTS {
        d.global(move |g| *g.state_mut() += i);
    }
    let each = (resident() - before) as f64 / EVENTS as f64;
    go.send(()).expect("the event waits");
    rt.wait_idle();
    let left = resident().saturating_sub(before) / 1_024;
    println!("\na waiting event takes {each:.0} bytes; {left} KiB are kept when all have run");
}

/// Returns an option that restricts the run to the named values of its kind.
fn only(name: &'static str, value: &'static str) -> Arg {
    let help = format!("Only this {name}; may be repeated [default: all]");
    Arg::new(name).long(name).value_name(value).action(ArgAction::Append).help(help)
}

/// Returns the values that the command line selects, or all of them if it names none.
fn chosen<const N: usize>(args: &ArgMatches, name: &str, all: [u64; N]) -> Vec<u64> {
    let told = args.get_many::<u64>(name).map(|values| values.copied().collect::<Vec<u64>>());
    all.into_iter().filter(|n| told.as_ref().is_none_or(|told| told.contains(n))).collect()
}

fn main() -> ExitCode {
    let args = Command::new("contexts")
        .about("The cost of a domain's event compared with other ways to share a state")
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .value_name("N")
                .default_value("15")
                .value_parser(value_parser!(u32).range(1..=1_000))
                .help("Runs of each system, interleaved; medians are printed"),
        )
        .arg(
            Arg::new("downgrade-only")
                .long("downgrade-only")
                .action(ArgAction::SetTrue)
                .help("Only events that downgrade and then work 100 us"),
        )
        .arg(only("system", "NAME").value_parser(System::ALL.map(System::name)))
        .arg(only("writes", "PERCENT").value_parser(value_parser!(u64)))
        .arg(only("work", "MICROSECONDS").value_parser(value_parser!(u64)))
        .get_matches();
    let rounds = *args.get_one::<u32>("rounds").expect("it has a default");
    let speed = Speed::measure();
    if !args.get_flag("downgrade-only") {
        for work in chosen(&args, "work", WORK_US) {
            for writes in chosen(&args, "writes", WRITES) {
                let events = 200_000 / (1 + 10 * work);
                let load = Load::new(events, writes, 1_000 * work, speed);
                let systems: Vec<System> =
                    System::ALL.into_iter().filter(|s| writes == 0 || s.has_state()).collect();
                let mut systems = match writes {
                    0 => systems,
                    _ => [&[System::Post][..], &systems].concat(),
                };
                if let Some(told) = args.get_many::<String>("system") {
                    systems.retain(|s| told.clone().any(|name| name == s.name()));
                }
                let lines = interleaved(rounds, &systems, |s, w| run(s, load, w));
                print(&format!("{writes} % writes, work of {work} us"), &lines);
            }
        }
        if ["system", "writes", "work"].iter().any(|name| args.contains_id(name)) {
            return ExitCode::SUCCESS;
        }
    }
    let steps = (speed.steps(100), speed.steps(100_000));
    let systems = [System::PlainLoop, System::Snapshot, System::ReadWrite];
    let lines = interleaved(rounds, &systems, |s, w| downgrade(s, 1_000, steps, w));
    memory();
    print("global, then downgrade and 100 us in anon (plain-loop: bare pinned threads)", &lines);
    ExitCode::SUCCESS
}

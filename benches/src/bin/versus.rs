//! dapple and its peers on the same workloads, interleaved in one run.
//!
//! `cargo run --release -p dapple-benches --bin versus -- --help`

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, Command, value_parser};
use dapple::StealPolicy;
use dapple_benches::measure::{Took, median};
use dapple_benches::random::shuffled;
use dapple_benches::report::{self, Record};
use dapple_benches::workloads::{self, Run, Workload};

const PEERS: [(&str, Run); 6] = [
    ("tokio-actor", workloads::tokio_actor::run),
    ("tokio-spawn", workloads::tokio_spawn::run),
    ("rayon-mutex", workloads::rayon::run),
    ("async-executor", workloads::async_executor::run),
    ("plain-loop", workloads::plain::run),
    ("stakker", workloads::stakker::run),
];

const POLICIES: [(&str, StealPolicy); 3] = [
    ("cost-aware", StealPolicy::CostAware),
    ("eager", StealPolicy::Eager),
    ("off", StealPolicy::Off),
];

/// One row of the table, and its runs so far.
struct Row {
    system: &'static str,
    policy: Option<&'static str>,
    workers: usize,
    run: Box<dyn Fn(Workload, u64) -> Option<Took>>,
    took: Vec<Took>,
    /// The row takes so long that it runs only a part of the events.
    is_slow: bool,
}

/// A row whose run takes longer than this runs an eighth of the events from then on.
const SLOW_RUN: Duration = Duration::from_millis(1_500);

fn rows(workers: &[usize]) -> Vec<Row> {
    let mut rows = Vec::new();
    for &workers in workers {
        for (name, policy) in POLICIES {
            let run = move |w, n| Some(workloads::dapple::run(w, n, workers, policy));
            let (run, took) = (Box::new(run), Vec::new());
            rows.push(Row {
                system: "dapple",
                policy: Some(name),
                workers,
                run,
                took,
                is_slow: false,
            });
        }
        for (system, peer) in PEERS {
            let (run, took) = (Box::new(move |w, n| peer(w, n, workers)), Vec::new());
            rows.push(Row { system, policy: None, workers, run, took, is_slow: false });
        }
    }
    rows
}

fn command() -> Command {
    Command::new("versus")
        .about(
            "Runs the same workloads on dapple and on its peers, interleaved, and prints medians",
        )
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("Fewer and shorter runs: ends within a minute, tells orders of magnitude"),
        )
        .arg(
            Arg::new("json").long("json").value_name("FILE").help("Also write the medians as JSON"),
        )
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..=1000))
                .help("Runs per row [default: 15; 9 with --quick]"),
        )
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("WORKLOAD")
                .action(ArgAction::Append)
                .value_parser(Workload::ALL.map(Workload::name))
                .help(
                    "Only this workload; may be repeated. Those that compute (bank-100ns ..) \
                     are run by name only",
                ),
        )
        .arg(
            Arg::new("workers")
                .long("workers")
                .value_name("N")
                .action(ArgAction::Append)
                .value_parser(|n: &str| match n.parse::<usize>() {
                    Ok(n @ 1..=64) => Ok(n),
                    _ => Err("a number from 1 to 64"),
                })
                .help("The number of workers. May be repeated [default: 1 and 2]"),
        )
        .arg(
            Arg::new("system")
                .long("system")
                .value_name("SYSTEM")
                .action(ArgAction::Append)
                .value_parser([
                    "dapple",
                    "tokio-actor",
                    "tokio-spawn",
                    "rayon-mutex",
                    "async-executor",
                    "plain-loop",
                    "stakker",
                ])
                .help("Only this system; may be repeated"),
        )
}

fn main() -> ExitCode {
    let args = command().get_matches();
    let quick = args.get_flag("quick");
    let rounds = args.get_one::<u32>("rounds").copied().unwrap_or(if quick { 9 } else { 15 });
    let only: Vec<&String> = args.get_many("only").unwrap_or_default().collect();
    let systems: Vec<&String> = args.get_many("system").unwrap_or_default().collect();
    let workers = args.get_many("workers").map_or(vec![1, 2], |w| w.copied().collect());
    let mut records = Vec::new();
    for workload in Workload::ALL {
        let is_named = only.iter().any(|o| *o == workload.name());
        if !is_named && (!only.is_empty() || workload.is_extra()) {
            continue;
        }
        let mut rows = rows(&workers);
        rows.retain(|r| systems.is_empty() || systems.iter().any(|s| *s == r.system));
        let events = workload.events(quick);
        for round in 0..rounds {
            eprint!("\r{}: round {} of {rounds}   ", workload.name(), round + 1);
            // Each round has another order, because what a run leaves behind in the allocator helps
            // or burdens the next one.
            for index in shuffled(rows.len(), u64::from(round)) {
                let row = &mut rows[index];
                let events = if row.is_slow { events / 8 } else { events };
                let start = Instant::now();
                row.took.extend((row.run)(workload, events));
                row.is_slow |= start.elapsed() > SLOW_RUN;
            }
        }
        eprintln!();
        for row in rows.into_iter().filter(|r| !r.took.is_empty()) {
            let wall: Vec<f64> = row.took.iter().map(|t| t.wall).collect();
            let cpu: Vec<f64> = row.took.iter().map(|t| t.cpu).collect();
            records.push(Record {
                workload,
                system: row.system,
                policy: row.policy,
                workers: row.workers,
                ns_per_event: median(&wall),
                cpu_ns_per_event: median(&cpu),
            });
        }
    }
    let mut out = io::stdout().lock();
    let printed = report::table(&records, &mut out).and_then(|()| out.flush());
    if let Err(error) = printed {
        eprintln!("versus: cannot print: {error}");
        return ExitCode::from(1);
    }
    if let Some(file) = args.get_one::<String>("json")
        && let Err(error) = std::fs::write(file, report::json(&records))
    {
        eprintln!("versus: cannot write {file}: {error}");
        return ExitCode::from(1);
    }
    ExitCode::SUCCESS
}

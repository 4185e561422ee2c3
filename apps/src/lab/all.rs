//! `dapple lab all`: every experiment, and a page of what they have come to.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::progress::{Progress, told};
use super::report::{Outcome, Report};
use super::{colors, contingency, machine, page, stream};

pub(super) fn command() -> Command {
    Command::new("all")
        .about("All of these but storm, and a page of what came (a quarter of an hour)")
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("A folder for the page, index.html, and for charts as SVG"),
        )
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("Little of everything, in half a minute: to see that it works"),
        )
}

/// What is to be run.
struct Plans {
    contingency: contingency::Plan,
    stream: stream::Plan,
    colors: colors::Setting,
}

impl Plans {
    fn of(args: &ArgMatches) -> Plans {
        match args.get_flag("quick") {
            true => Plans {
                contingency: contingency::Plan::quick(),
                stream: stream::Plan::quick(),
                colors: colors::Setting::quick(),
            },
            false => Plans {
                contingency: contingency::Plan::full(),
                stream: stream::Plan::full(),
                colors: colors::Setting::full(),
            },
        }
    }

    fn seconds(&self) -> f64 {
        self.contingency.seconds() + self.stream.seconds() + self.colors.seconds()
    }
}

type Run<'a> = &'a dyn Fn(&mut Progress) -> Result<Report, String>;

pub(super) fn main(args: &ArgMatches) -> Result<(), String> {
    let folder = args.get_one::<PathBuf>("out").ok_or("clap knows that there is a folder")?;
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let plans = Plans::of(args);
    let (machine, began) = (machine::describe(), Instant::now());
    println!("{machine}");
    let mut progress = Progress::begin(plans.seconds())?;
    println!("this takes about {}; Ctrl-C keeps what is done", told(progress.left()));
    let runs: [Run<'_>; 3] = [
        &|progress| contingency::experiment(&plans.contingency, progress),
        &|progress| stream::experiment(&plans.stream, progress),
        &|progress| colors::experiment(&plans.colors, progress),
    ];
    let mut reports = Vec::new();
    let mut outcome = Ok(());
    for run in runs {
        match run(&mut progress) {
            Ok(report) => {
                summarize(&report);
                let is_over = report.is_partial;
                reports.push(report);
                // After each: whatever happens later, this is kept.
                publish(folder, &reports, &machine, began)?;
                if is_over {
                    outcome = Err("stopped before the end".to_owned());
                    break;
                }
            }
            Err(message) => {
                // The others may not.
                eprintln!("dapple: {message}");
                outcome = Err("an experiment has failed".to_owned());
            }
        }
    }
    println!("wrote {}", folder.join("index.html").display());
    outcome
}

/// One line of an experiment that is over.
fn summarize(report: &Report) {
    let holds = |v: &&super::report::Verdict| v.outcome == Outcome::Holds;
    let (name, all) = (&report.name, report.verdicts.len());
    match report.is_partial {
        true => println!("{name}: stopped"),
        false => {
            let holding = report.verdicts.iter().filter(holds).count();
            println!("{name}: {holding} of {all} expectations hold");
        }
    }
}

fn publish(folder: &Path, reports: &[Report], machine: &str, began: Instant) -> Result<(), String> {
    for report in reports {
        report.write_charts(folder)?;
    }
    let page = page::html(reports, machine, &told(began.elapsed()));
    let file = folder.join("index.html");
    fs::write(&file, page).map_err(|e| format!("{}: {e}", file.display()))
}

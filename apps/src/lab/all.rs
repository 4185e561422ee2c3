//! `dapple lab all`: runs every experiment, and writes a page of their results.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use dapple::clock;

use super::page::{self, About};
use super::progress::{Progress, told};
use super::report::{End, Outcome, Report, prepare, replace, say};
use super::{colors, contingency, machine, stream};

pub(super) fn command() -> Command {
    Command::new("all")
        .about("Runs all of these except storm, and writes a page of results (15 minutes)")
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The folder for the page (index.html) and for charts (SVG)"),
        )
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("A short run of everything, in less than a minute, to see that it works"),
        )
}

/// The experiments to run.
struct Plans {
    contingency: contingency::Plan,
    stream: stream::Plan,
    colors: colors::Setting,
}

impl Plans {
    fn full() -> Plans {
        Plans {
            contingency: contingency::Plan::full(),
            stream: stream::Plan::full(),
            colors: colors::Setting::full(),
        }
    }

    fn quick() -> Plans {
        Plans {
            contingency: contingency::Plan::quick(),
            stream: stream::Plan::quick(),
            colors: colors::Setting::quick(),
        }
    }

    fn seconds(&self) -> f64 {
        self.contingency.seconds() + self.stream.seconds() + self.colors.seconds()
    }
}

type Run<'a> = &'a dyn Fn(&mut Progress) -> Report;

pub(super) fn main(args: &ArgMatches) -> Result<(), String> {
    let folder = args.get_one::<PathBuf>("out").expect("clap requires it");
    // Fail now if the folder is not writable, and not after minutes of measurement.
    prepare(folder)?;
    let (plans, quick) = match args.get_flag("quick") {
        true => (Plans::quick(), "--quick "),
        false => (Plans::full(), ""),
    };
    let about = About {
        command: format!("dapple lab all {quick}--out {}", folder.display()),
        is_quick: args.get_flag("quick"),
        machine: machine::describe(),
        circumstances: machine::circumstances(),
        began: clock::now(),
    };
    let mut progress = Progress::begin(plans.seconds())?;
    let time = told(progress.left());
    say(&format!("{}\nthis takes about {time}; Ctrl-C keeps what is done\n", about.machine));
    let runs: [Run<'_>; 3] = [
        &|progress| contingency::experiment(&plans.contingency, progress),
        &|progress| stream::experiment(&plans.stream, progress),
        &|progress| colors::experiment(&plans.colors, progress),
    ];
    let mut reports = Vec::new();
    for run in runs {
        reports.push(run(&mut progress));
        // Publish after each experiment, so that a later failure loses nothing.
        let published = publish(folder, &reports, &about);
        let report = reports.last().expect("it was put there");
        if published.is_err() {
            say(&format!("{report}"));
        }
        published?;
        say(&summary(report));
        if report.end == End::Stopped {
            break;
        }
    }
    say(&format!("wrote {}\n", folder.join("index.html").display()));
    reports.iter().find_map(|report| report.end().err()).map_or(Ok(()), Err)
}

/// Returns one line about a finished experiment.
fn summary(report: &Report) -> String {
    let holds = report.verdicts.iter().filter(|v| v.outcome == Outcome::Holds).count();
    let (name, all) = (&report.name, report.verdicts.len());
    match report.end() {
        Ok(()) => format!("{name}: {holds} of {all} expectations hold\n"),
        Err(message) => format!("{name}: {message}\n"),
    }
}

fn publish(folder: &Path, reports: &[Report], about: &About) -> Result<(), String> {
    for report in reports {
        report.write_charts(folder)?;
    }
    replace(&folder.join("index.html"), &page::html(reports, about))
}

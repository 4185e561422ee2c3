//! `dapple lab contingency`: rounds without a master, heartbeats and long summaries, as in section
//! 7.1 of the paper on InContext.
//!
//! Peers exchange parts of a binary table, and sample random tables with the same margins. A
//! summary counts the pairs of columns that have more in common than in any sample. Meanwhile the
//! peers monitor each other with heartbeats. The application is written in three ways: with one
//! color for all callbacks of a peer, with long callbacks split by hand, and in contexts.
//!
//! * [`table`]: tables, the sampler and the summary; [`wire`]: messages as bytes;
//! * [`peer`]: the state and the decisions of a peer, which all variants share;
//! * [`baseline`], [`split`], [`incontext`]: the three variants, whose [`lines`] are compared;
//!   [`deferred`]: contexts, with all messages deferred; [`slices`]: the sliced work of `split`;
//! * [`run`]: all peers, and their rounds; [`results`]: tables, charts and verdicts.

mod baseline;
mod deferred;
mod incontext;
mod lines;
mod peer;
mod results;
mod run;
mod slices;
mod split;
mod table;
mod wire;

use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};

use self::peer::{PEERS, Setting};
use self::results::Row;
use self::run::{Variant, WORKERS};
use super::progress::{Ended, Progress};
use super::report::Report;

/// The numbers of columns. From one to the next, the time of the summary about doubles.
const SIZES: [usize; 7] = [1_000, 1_400, 2_000, 2_800, 4_000, 5_600, 8_000];

pub(super) fn command() -> Command {
    Command::new("contingency")
        .about("Rounds without a master, heartbeats, and long summaries (three minutes)")
        .arg(
            Arg::new("runs")
                .long("runs")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..=100))
                .default_value("3")
                .help("Runs of each variant with each size, interleaved"),
        )
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("MS")
                .value_parser(value_parser!(u64).range(10..=10_000))
                .default_value("500")
                .help("Milliseconds of silence after which a peer is declared dead"),
        )
}

/// The measurements to make.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    sizes: Vec<usize>,
    /// The runs of each variant with each size; `rounds` is the number of rounds of a run.
    runs: u32,
    rounds: u32,
    timeout: Duration,
}

impl Plan {
    pub(super) fn full() -> Plan {
        let timeout = Duration::from_millis(500);
        Plan { sizes: SIZES.to_vec(), runs: 3, rounds: 6, timeout }
    }

    pub(super) fn quick() -> Plan {
        Plan { sizes: vec![1_000, 8_000], runs: 1, rounds: 2, ..Plan::full() }
    }

    fn of(args: &ArgMatches) -> Plan {
        if args.get_flag("quick") {
            return Plan::quick();
        }
        let full = Plan::full();
        let timeout = args.get_one::<u64>("timeout").map(|ms| Duration::from_millis(*ms));
        let (runs, timeout) = (args.get_one("runs").copied(), timeout.unwrap_or(full.timeout));
        Plan { runs: runs.unwrap_or(full.runs), timeout, ..full }
    }

    fn setting(&self, columns: usize) -> Setting {
        let (rounds, timeout) = (self.rounds, self.timeout);
        Setting { columns, rounds, period: timeout / 10, timeout }
    }

    /// Returns the expected duration, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        let all = self.sizes.iter().map(|columns| self.size(*columns));
        f64::from(self.runs) * Variant::ALL.len() as f64 * all.sum::<f64>()
    }

    /// Returns the expected seconds of one run of one variant, from a measured cost of 16 ns for
    /// each pair of columns.
    fn size(&self, columns: usize) -> f64 {
        f64::from(self.rounds) * (columns as f64).powi(2) * 16e-9 + 0.2
    }
}

pub(super) fn run(args: &ArgMatches) -> Result<Report, String> {
    let plan = Plan::of(args);
    let mut progress = Progress::begin(plan.seconds())?;
    Ok(experiment(&plan, &mut progress))
}

pub(super) fn experiment(plan: &Plan, progress: &mut Progress) -> Report {
    let Plan { runs, rounds, timeout, .. } = plan;
    let timeout = timeout.as_millis();
    let report = Report {
        name: "contingency".to_owned(),
        setting: format!(
            "{PEERS} peers of {WORKERS} workers, {rounds} rounds a run, {runs} runs, dead after \
             {timeout} ms"
        ),
        ..Report::default()
    };
    let mut rows: Vec<Row> = Vec::new();
    report.complete(progress, |report, progress| {
        let ended = measure(plan, progress, &mut rows);
        rows.retain(Row::has_run);
        if !rows.is_empty() {
            results::tell(report, plan, &rows, ended.is_ok());
        }
        ended
    })
}

fn measure(plan: &Plan, progress: &mut Progress, rows: &mut Vec<Row>) -> Result<(), Ended> {
    for &columns in &plan.sizes {
        let setting = plan.setting(columns);
        let elements = setting.elements();
        let what = format!("contingency: {elements} elements");
        let first = rows.len();
        rows.extend(Variant::ALL.map(|variant| Row::new(variant, elements)));
        let scores = peer::scores(&setting);
        for run in 0..plan.runs as usize {
            // Each run begins with another variant.
            for nth in (0..Variant::ALL.len()).map(|nth| (nth + run) % Variant::ALL.len()) {
                progress.step(&what, plan.size(columns))?;
                let row = &mut rows[first + nth];
                let outcome = run::run(row.variant, setting)?;
                if outcome.events.scores != scores {
                    let name = row.variant.name();
                    return Err(format!("{name}, {elements} elements: a wrong score").into());
                }
                row.add(outcome);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_comes_to_the_same_scores() {
        let plan = Plan { sizes: vec![40], rounds: 7, ..Plan::quick() };
        let setting = plan.setting(40);
        let scores = peer::scores(&setting);
        assert!(scores.len() == 7 && scores.values().any(|score| *score > 0), "{scores:?}");
        for variant in Variant::ALL {
            let outcome = run::run(variant, setting).unwrap();
            assert_eq!(outcome.events.scores, scores, "{variant:?}");
            assert_eq!(outcome.events.heard, 21);
        }
    }
}

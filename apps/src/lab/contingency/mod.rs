//! `dapple lab contingency`: rounds without a master, heartbeats, and long summaries, as in section
//! 7.1 of the paper on InContext.
//!
//! Peers exchange parts of a binary table, sample tables with the same margins, and summarize: which
//! sites have more in common than in the samples. Meanwhile they watch over each other. The
//! application is written in three ways: with one color for all callbacks of a peer, with long
//! callbacks split by hand, and in contexts.
//!
//! * [`table`]: tables, the sampler and the summary; [`wire`]: messages as bytes;
//! * [`peer`]: what a peer knows and decides, however it is written;
//! * [`baseline`], [`split`], [`incontext`]: the three ways, whose [`lines`] are compared;
//!   [`deferred`]: contexts, with all messages deferred;
//! * [`run`]: all peers, and their rounds.

mod baseline;
mod deferred;
mod incontext;
mod lines;
mod peer;
mod run;
mod split;
mod table;
mod wire;

use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};

use self::peer::{PEERS, Setting};
use self::run::{Outcome, Variant, WORKERS};
use super::chart::{Chart, Lines, Plot, Scale, Series};
use super::machine;
use super::progress::{Ended, Progress};
use super::report::{Report, Table, Verdict, median};

/// Columns of the data; with each the summary takes about twice as long as with the one before.
const SIZES: [usize; 7] = [700, 1_000, 1_400, 2_000, 2_800, 4_000, 5_600];

pub(super) fn command() -> Command {
    Command::new("contingency")
        .about("Rounds without a master, heartbeats, and long summaries (five minutes)")
        .arg(
            Arg::new("rounds")
                .long("rounds")
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
                .default_value("400")
                .help("Milliseconds of silence after which a peer is declared dead"),
        )
}

/// What is measured.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    sizes: Vec<usize>,
    /// Runs of each variant with each size, and rounds of a run.
    runs: u32,
    rounds: u32,
    timeout: Duration,
}

impl Plan {
    pub(super) fn full() -> Plan {
        let timeout = Duration::from_millis(400);
        Plan { sizes: SIZES.to_vec(), runs: 3, rounds: 6, timeout }
    }

    pub(super) fn quick() -> Plan {
        Plan { sizes: vec![700, 5_600], runs: 1, rounds: 2, ..Plan::full() }
    }

    fn of(args: &ArgMatches) -> Plan {
        if args.get_flag("quick") {
            return Plan::quick();
        }
        let full = Plan::full();
        let timeout = args.get_one::<u64>("timeout").map(|ms| Duration::from_millis(*ms));
        let (runs, timeout) = (args.get_one("rounds").copied(), timeout.unwrap_or(full.timeout));
        Plan { runs: runs.unwrap_or(full.runs), timeout, ..full }
    }

    fn setting(&self, columns: usize) -> Setting {
        let (rounds, timeout) = (self.rounds, self.timeout);
        Setting { columns, rounds, period: timeout / 10, timeout }
    }

    /// Seconds that it is expected to take.
    pub(super) fn seconds(&self) -> f64 {
        let all = self.sizes.iter().map(|columns| self.size(*columns));
        f64::from(self.runs) * all.sum::<f64>()
    }

    /// One run of each variant.
    fn size(&self, columns: usize) -> f64 {
        let summary = (columns as f64).powi(2) * 35e-9;
        f64::from(self.rounds) * summary * Variant::ALL.len() as f64 + 0.1
    }
}

pub(super) fn run(args: &ArgMatches) -> Result<Report, String> {
    let plan = Plan::of(args);
    let mut progress = Progress::begin(plan.seconds())?;
    experiment(&plan, &mut progress)
}

/// All runs of one variant with one size.
struct Row {
    variant: Variant,
    elements: usize,
    took: Vec<f64>,
    cpu: Vec<f64>,
    /// The longest time that a peer waited for the answer of another one.
    longest: Duration,
    /// Live peers that were declared dead, and one line about that.
    wrong: usize,
    line: Option<String>,
}

impl Row {
    fn new(variant: Variant, elements: usize) -> Row {
        let (took, cpu, longest) = (Vec::new(), Vec::new(), Duration::ZERO);
        Row { variant, elements, took, cpu, longest, wrong: 0, line: None }
    }

    fn add(&mut self, outcome: Outcome) {
        self.took.push(outcome.took.as_secs_f64());
        self.cpu.push(outcome.cpu.as_secs_f64());
        self.longest = self.longest.max(outcome.events.longest);
        self.wrong += outcome.events.wrong.len();
        self.line = self.line.take().or(outcome.events.wrong.into_iter().next());
    }
}

pub(super) fn experiment(plan: &Plan, progress: &mut Progress) -> Result<Report, String> {
    let Plan { runs, rounds, timeout, .. } = plan;
    let report = Report {
        name: "contingency".to_owned(),
        title: format!(
            "dapple lab contingency: {PEERS} peers of {WORKERS} workers, {rounds} rounds a run, \
             {runs} runs, dead after {} ms\n{}",
            timeout.as_millis(),
            machine::describe()
        ),
        ..Report::default()
    };
    let mut rows: Vec<Row> = Vec::new();
    report.complete(progress, |report, progress| {
        let ended = measure(plan, progress, &mut rows);
        if !rows.is_empty() {
            report.tables.extend(tables(&rows));
            report.charts = charts(plan, &rows);
        }
        ended?;
        report.verdicts = verdicts(plan, &rows);
        report.remarks = remarks(&rows);
        Ok(())
    })
}

fn measure(plan: &Plan, progress: &mut Progress, rows: &mut Vec<Row>) -> Result<(), Ended> {
    for &columns in &plan.sizes {
        let setting = plan.setting(columns);
        let elements = setting.elements();
        let what = format!("contingency: {elements} elements");
        let mut size = Variant::ALL.map(|variant| Row::new(variant, elements));
        let scores = peer::scores(&setting);
        for _ in 0..plan.runs {
            progress.step(&what, plan.size(columns))?;
            for row in &mut size {
                let outcome = run::run(row.variant, setting)?;
                if outcome.events.scores != scores {
                    let name = row.variant.name();
                    return Err(format!("{name}, {elements} elements: a wrong score").into());
                }
                row.add(outcome);
            }
        }
        rows.extend(size);
    }
    Ok(())
}

/// The rows of a variant, from the smallest size to the largest.
fn of(rows: &[Row], variant: Variant) -> impl Iterator<Item = &Row> {
    rows.iter().filter(move |row| row.variant == variant)
}

fn tables(rows: &[Row]) -> [Table; 4] {
    let sizes = of(rows, Variant::Baseline).map(|row| row.elements.to_string());
    let head: Vec<String> = std::iter::once("elements".to_owned()).chain(sizes).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let table = |caption: &str, cell: fn(&Row) -> String| {
        let mut table = Table::new(caption, &head);
        for variant in Variant::ALL {
            let cells = of(rows, variant).map(cell);
            table.add(std::iter::once(variant.name().to_owned()).chain(cells));
        }
        table
    };
    let head = ["", "lines", "added to the baseline", "removed from it"];
    let mut lines = Table::new("Lines of code, without what the variants share", &head);
    for variant in Variant::ALL {
        let changes = lines::changes(Variant::Baseline.source(), variant.source());
        let counts = [changes.lines, changes.added, changes.removed];
        let cells = counts.map(|count| count.to_string());
        lines.add(std::iter::once(variant.name().to_owned()).chain(cells));
    }
    [
        table("Seconds that the rounds took: medians", |row| {
            format!("{:.3}", median(row.took.clone()))
        }),
        table("Longest time until a peer answered whether it is there, in ms", |row| {
            format!("{:.0}", row.longest.as_secs_f64() * 1e3)
        }),
        table("Live peers that were declared dead, in all runs", |row| row.wrong.to_string()),
        lines,
    ]
}

fn charts(plan: &Plan, rows: &[Row]) -> Vec<Chart> {
    let chart = |name: &str, title: &str, unit: &str, value: fn(&Row) -> f64| {
        let point = |row: &Row| (row.elements as f64, value(row));
        let series = |variant: Variant| Series {
            name: variant.name().to_owned(),
            points: of(rows, variant).map(point).collect(),
        };
        let (scale_x, scale_y) = (Scale::Log, Scale::Log);
        let across = "elements of the data".to_owned();
        let series = Variant::ALL.map(series).into();
        let (name, title, unit) = (name.to_owned(), title.to_owned(), unit.to_owned());
        (name, title, unit, Lines { across, scale_x, scale_y, series })
    };
    let time = chart("time", "How long the rounds take", "seconds", |row| median(row.took.clone()));
    let mut heartbeat =
        chart("heartbeat", "Longest time until a peer answered", "milliseconds", |row| {
            row.longest.as_secs_f64() * 1e3
        });
    let timeout = plan.timeout.as_secs_f64() * 1e3;
    let points = of(rows, Variant::Baseline).map(|row| (row.elements as f64, timeout)).collect();
    heartbeat.3.series.push(Series { name: "declared dead".to_owned(), points });
    let charts = [time, heartbeat].into_iter();
    charts
        .map(|(name, title, unit, lines)| Chart { name, title, unit, plot: Plot::Lines(lines) })
        .collect()
}

fn verdicts(plan: &Plan, rows: &[Row]) -> Vec<Verdict> {
    let wrong = |variant| of(rows, variant).map(|row| row.wrong).sum::<usize>();
    let times = |variant| of(rows, variant).map(|row| &row.took);
    // How many times as fast contexts are, size by size; the sides of a ratio are of one round.
    let gains = |variant| -> Vec<f64> {
        let pairs = times(variant).zip(times(Variant::InContext));
        let ratios = |(other, own): (&Vec<f64>, &Vec<f64>)| {
            median(other.iter().zip(own).map(|(other, own)| other / own).collect())
        };
        pairs.map(ratios).collect()
    };
    let range = |gains: &[f64]| {
        let (least, most) = (gains.iter().copied().fold(f64::MAX, f64::min), gains.iter().copied());
        format!("{least:.2} to {:.2} x as fast", most.fold(0.0, f64::max))
    };
    let fails: Vec<bool> = of(rows, Variant::Baseline).map(|row| row.wrong > 0).collect();
    let first = fails.iter().position(|fails| *fails);
    let from = of(rows, Variant::Baseline).nth(first.unwrap_or(0)).map_or(0, |row| row.elements);
    let line = rows.iter().find_map(|row| row.line.clone()).unwrap_or_default();
    let (over_baseline, over_split) = (gains(Variant::Baseline), gains(Variant::Split));
    let never = |variant: Variant| {
        let expected = format!("{} never declares a live peer dead", variant.name());
        let count = wrong(variant);
        Verdict::of(&expected, format!("{count} times"), || count == 0)
    };
    let timeout = plan.timeout.as_millis();
    vec![
        Verdict::of(
            &format!("above a size the baseline declares live peers dead, after {timeout} ms"),
            match first {
                Some(_) => format!("from {from} elements on; \"{line}\""),
                None => "with no size".to_owned(),
            },
            || first.is_some_and(|first| first > 0 && fails[first..].iter().all(|fails| *fails)),
        ),
        never(Variant::Split),
        never(Variant::InContext),
        Verdict::of(
            "InContext is not slower than the baseline (0.95 x)",
            range(&over_baseline),
            || over_baseline.iter().all(|gain| *gain >= 0.95),
        ),
        Verdict::of(
            "InContext is faster than the program split by hand (1.02 x)",
            range(&over_split),
            || over_split.iter().all(|gain| *gain >= 1.02),
        ),
        Verdict::of(
            "with all messages deferred, answers wait for the commit of the summary, and live \
             peers are declared dead in contexts, too",
            format!("{} times", wrong(Variant::Deferred)),
            || wrong(Variant::Deferred) > 0,
        ),
    ]
}

fn remarks(rows: &[Row]) -> Vec<String> {
    let cpu = |variant| {
        let rows: Vec<&Row> = of(rows, variant).collect();
        rows.last().map_or(0.0, |row| median(row.cpu.clone()))
    };
    let [baseline, split, contexts, _] = Variant::ALL.map(cpu);
    vec![
        format!(
            "CPU time of a run with the largest size: baseline {baseline:.2} s, split by hand \
             {split:.2} s, InContext {contexts:.2} s"
        ),
        "in the paper a run of the baseline ends with the wrong conclusion; here the job of the \
         peer that seems dead is given away, done twice, and the run goes on"
            .to_owned(),
        "an InContext peer answers at once, and not by a deferred action, whether it is there: \
         deferred, the answer would wait for the commit of every earlier event, and so for the \
         summary; the last row shows that. The paper does not say how its heartbeats got around it"
            .to_owned(),
        "sampling is a Markov chain of swaps".to_owned(),
    ]
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

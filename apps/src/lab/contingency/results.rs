//! The results of all runs: tables, charts and verdicts.

use std::time::Duration;

use super::super::report::{Report, Table, Verdict};
use super::super::statistics::{median, ratio};
use super::Plan;
use super::lines::{self, Changes};
use super::run::{Outcome, Variant};
use super::table::STEPS;
use crate::common::chart::{Chart, Lines, Plot, Series};

/// All runs of one variant with one size.
pub(super) struct Row {
    pub(super) variant: Variant,
    elements: usize,
    /// The seconds of each run; `cpu` has its seconds of CPU time.
    took: Vec<f64>,
    cpu: Vec<f64>,
    /// The longest time until a peer answered a heartbeat.
    longest: Duration,
    /// The number of live peers that were declared dead; `given_away` counts the parts given away
    /// for that.
    wrong: usize,
    given_away: usize,
    /// One line about a live peer that was declared dead.
    line: Option<String>,
}

impl Row {
    pub(super) fn new(variant: Variant, elements: usize) -> Row {
        Row {
            variant,
            elements,
            took: Vec::new(),
            cpu: Vec::new(),
            longest: Duration::ZERO,
            wrong: 0,
            given_away: 0,
            line: None,
        }
    }

    pub(super) fn has_run(&self) -> bool {
        !self.took.is_empty()
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        let events = outcome.events;
        self.took.push(outcome.took.as_secs_f64());
        self.cpu.push(outcome.cpu.as_secs_f64());
        self.longest = self.longest.max(events.longest);
        self.wrong += events.wrong.len();
        self.given_away += events.given_away;
        let told = |line: &String| line.contains("goes to");
        let best = events.wrong.iter().find(|line| told(line)).or(events.wrong.first());
        if self.line.as_ref().is_none_or(|line| !told(line)) {
            self.line = best.cloned().or(self.line.take());
        }
    }
}

/// Adds all results to a report; verdicts are added only if everything has run.
pub(super) fn tell(report: &mut Report, plan: &Plan, rows: &[Row], is_complete: bool) {
    report.tables.extend(tables(rows));
    report.charts = charts(plan, rows);
    if is_complete {
        report.verdicts = verdicts(plan, rows);
        report.remarks.push(cpu(rows));
    }
    report.remarks.extend(remarks());
}

/// Returns the rows of a variant, from the smallest size to the largest.
fn of(rows: &[Row], variant: Variant) -> impl Iterator<Item = &Row> {
    rows.iter().filter(move |row| row.variant == variant)
}

fn changes(variant: Variant) -> Changes {
    lines::changes(Variant::Baseline.source(), variant.source())
}

fn tables(rows: &[Row]) -> [Table; 5] {
    let sizes = of(rows, Variant::Baseline).map(|row| row.elements.to_string());
    let head: Vec<String> = std::iter::once("elements".to_owned()).chain(sizes).collect();
    let table = |caption: &str, cell: fn(&Row) -> String| {
        let mut table = Table::new(caption, &head);
        for variant in Variant::ALL {
            let cells = of(rows, variant).map(cell);
            table.add(std::iter::once(variant.name().to_owned()).chain(cells));
        }
        table
    };
    let head = ["", "lines", "added to the baseline", "removed from it"];
    let mut lines = Table::new("Lines of code, without what the variants share", head);
    for variant in Variant::ALL {
        let Changes { lines: all, added, removed } = changes(variant);
        let cells = [all, added, removed].map(|count| count.to_string());
        lines.add(std::iter::once(variant.name().to_owned()).chain(cells));
    }
    [
        table("Seconds that the rounds took: medians", |row| {
            format!("{:.3}", median(row.took.clone()))
        }),
        table("Longest time until the answer to a heartbeat came, in ms", |row| {
            format!("{:.0}", row.longest.as_secs_f64() * 1e3)
        }),
        table("Live peers that were declared dead, in all runs", |row| row.wrong.to_string()),
        table("Parts that were given away for that", |row| row.given_away.to_string()),
        lines,
    ]
}

fn charts(plan: &Plan, rows: &[Row]) -> Vec<Chart> {
    let lines = |value: fn(&Row) -> f64| {
        let point = |row: &Row| (row.elements as f64, value(row));
        let series = |variant: Variant| Series {
            name: variant.name().to_owned(),
            points: of(rows, variant).map(point).collect(),
        };
        let across = "elements of the data".to_owned();
        Lines { across, series: Variant::ALL.map(series).into() }
    };
    let time = lines(|row| median(row.took.clone()));
    let mut heartbeat = lines(|row| row.longest.as_secs_f64() * 1e3);
    let timeout = plan.timeout.as_secs_f64() * 1e3;
    let points = of(rows, Variant::Baseline).map(|row| (row.elements as f64, timeout)).collect();
    heartbeat.series.push(Series { name: "declared dead".to_owned(), points });
    vec![
        Chart::new("time", "How long the rounds take", "seconds", Plot::Lines(time)),
        Chart::new(
            "heartbeat",
            "Longest time until an answer came",
            "milliseconds",
            Plot::Lines(heartbeat),
        ),
    ]
}

fn verdicts(plan: &Plan, rows: &[Row]) -> Vec<Verdict> {
    let wrong = |variant| of(rows, variant).map(|row| row.wrong).sum::<usize>();
    // For each size, the speed of InContext as a multiple of the variant's speed.
    let gains = |variant| -> Vec<f64> {
        let pairs = of(rows, variant).zip(of(rows, Variant::InContext));
        pairs.map(|(other, own)| ratio(&other.took, &own.took)).collect()
    };
    let range = |gains: &[f64]| {
        let least = gains.iter().copied().fold(f64::MAX, f64::min);
        let most = gains.iter().copied().fold(0.0, f64::max);
        format!("{least:.2} to {most:.2} x as fast")
    };
    let baseline: Vec<&Row> = of(rows, Variant::Baseline).collect();
    let first = baseline.iter().position(|row| row.wrong > 0);
    let (over_baseline, over_split) = (gains(Variant::Baseline), gains(Variant::Split));
    let never = |variant: Variant| {
        let expected = format!("{} never declares a live peer dead", variant.name());
        let count = wrong(variant);
        Verdict::of(&expected, format!("{count} times"), || count == 0)
    };
    let timeout = plan.timeout.as_millis();
    let (contexts, split) = (changes(Variant::InContext), changes(Variant::Split));
    vec![
        Verdict::of(
            &format!("above some size, the baseline declares live peers dead after {timeout} ms"),
            first.map_or("with no size".to_owned(), |first| {
                let lines = baseline[first..].iter().filter_map(|row| row.line.as_ref());
                let given_away = lines.clone().find(|line| line.contains("goes to"));
                let line = given_away.or(lines.clone().next());
                let from = baseline[first].elements;
                format!("from {from} elements on; \"{}\"", line.map_or("", String::as_str))
            }),
            || {
                let fails = |first: usize| baseline[first..].iter().all(|row| row.wrong > 0);
                first.is_some_and(|first| first > 0 && fails(first))
            },
        ),
        never(Variant::Split),
        never(Variant::InContext),
        Verdict::of(
            "InContext is not slower than the baseline (0.95 x)",
            range(&over_baseline),
            || over_baseline.iter().all(|gain| *gain >= 0.95),
        ),
        Verdict::of(
            "InContext is faster than the program split by hand (1.02 x, the median of all sizes)",
            format!("{:.2} x ({})", median(over_split.clone()), range(&over_split)),
            || median(over_split.clone()) >= 1.02,
        ),
        Verdict::of(
            "InContext changes fewer lines of the baseline than splitting it by hand",
            format!(
                "{} added and {} removed, compared with {} and {}",
                contexts.added, contexts.removed, split.added, split.removed
            ),
            || contexts.added + contexts.removed < split.added + split.removed,
        ),
        Verdict::of(
            "with all messages deferred, questions and answers wait for the commit of a summary, \
             and live peers are declared dead in contexts, too",
            format!("{} times", wrong(Variant::Deferred)),
            || wrong(Variant::Deferred) > 0,
        ),
    ]
}

fn cpu(rows: &[Row]) -> String {
    let cpu = |variant| of(rows, variant).last().map_or(0.0, |row| median(row.cpu.clone()));
    let [baseline, split, contexts, _] = Variant::ALL.map(cpu);
    format!(
        "CPU time of a run with the largest size: baseline {baseline:.2} s, split by hand \
         {split:.2} s, InContext {contexts:.2} s"
    )
}

fn remarks() -> Vec<String> {
    vec![
        "in the paper a run of the baseline ends with the wrong conclusion; here the part of the \
         peer that seems dead is given away, done twice, and the run goes on"
            .to_owned(),
        "an InContext peer answers at once, and not by a deferred action, whether it is there: \
         deferred, the answer would wait for the commit of every earlier event, and so for the \
         summary; the last row shows that. The paper does not say how its heartbeats got around it"
            .to_owned(),
        format!(
            "sampling is a Markov chain of swaps, with {STEPS} steps for each cell from one sample \
             to the next"
        ),
    ]
}

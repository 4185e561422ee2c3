//! Measures delays where a wait stands for a signature: figures 5 and 6 of the paper.

use std::time::Duration;

use dapple::Mode;

use super::super::progress::{Ended, Progress};
use super::super::report::{Report, Table, Verdict};
use super::network::{Delays, Network};
use super::node::{Order, Way};
use super::sign::Work;
use super::{Checked, Plan};
use crate::common::chart::{Chart, Lines, Plot, Series};

/// The runs of one configuration with one number of permits.
struct Runs {
    way: Way,
    permits: usize,
    delays: Vec<Delays>,
}

impl Runs {
    /// Returns the figure of the slowest run, in seconds.
    fn slowest(&self, of: Figure) -> f64 {
        self.delays.iter().map(of).max().unwrap_or_default().as_secs_f64()
    }
}

type Figure = fn(&Delays) -> Duration;

const LAST: Figure = |delays| delays.last;
const MAJORITY: Figure = |delays| delays.majority;

/// Returns the expected seconds of one run. Each node verifies a message of each group, `at_a_time`
/// at once, after the verifications that come before it on the message's way.
fn one_run(plan: &Plan, way: Way, permits: usize) -> f64 {
    let at_a_time = match (way.order, way.mode) {
        (Order::Sequential, _) | (Order::Anon, Mode::ReadWrite) => 1,
        _ => permits,
    };
    let batches = usize::from(plan.nodes).div_ceil(at_a_time) as f64 + 3.0;
    batches * plan.wait.as_secs_f64() + 0.02
}

/// Returns all configurations, each with the numbers of permits that it runs with.
fn configurations(plan: &Plan) -> impl Iterator<Item = (Way, usize)> {
    let parallel = Way::PARALLEL.into_iter();
    let parallel = parallel.flat_map(|way| plan.permits.iter().map(move |permits| (way, *permits)));
    parallel.chain([(Way::SEQUENTIAL, 1)])
}

/// Returns the expected seconds of all measurements of delays.
pub(super) fn seconds(plan: &Plan) -> f64 {
    let runs = configurations(plan).map(|(way, permits)| one_run(plan, way, permits));
    f64::from(plan.rounds) * runs.sum::<f64>()
}

pub(super) fn measure(
    plan: &Plan,
    report: &mut Report,
    progress: &mut Progress,
    checked: &mut Checked,
) -> Result<(), Ended> {
    let mut all = Vec::new();
    let ended = run_all(plan, progress, checked, &mut all);
    all.retain(|runs| !runs.delays.is_empty());
    if !all.is_empty() {
        for (name, title, of) in [
            ("last", "Until the last recipient has the last message", LAST),
            ("majority", "Until each recipient has messages of a majority", MAJORITY),
        ] {
            report.tables.push(table(plan, title, &all, of));
            report.charts.push(chart(name, title, &all, of));
        }
    }
    if ended.is_ok() {
        report.verdicts.extend(verdicts(plan, &all));
    }
    ended
}

fn run_all(
    plan: &Plan,
    progress: &mut Progress,
    checked: &mut Checked,
    all: &mut Vec<Runs>,
) -> Result<(), Ended> {
    for (way, permits) in configurations(plan) {
        let what = format!("stream: {}, {permits} at a time", way.name());
        let mut network = Network::new(plan.setting(way, Work::Wait(plan.wait), permits))?;
        all.push(Runs { way, permits, delays: Vec::new() });
        let delays = &mut all.last_mut().expect("it was put there").delays;
        let mut run_all = || -> Result<(), Ended> {
            for _ in 0..plan.rounds {
                progress.step(&what, one_run(plan, way, permits))?;
                delays.push(network.run()?);
            }
            Ok(())
        };
        let ended = run_all();
        checked.end(network)?;
        ended?;
    }
    Ok(())
}

/// Returns the runs of a configuration, from the fewest permits to the most.
fn of_way(all: &[Runs], way: Way) -> impl Iterator<Item = &Runs> {
    all.iter().filter(move |runs| runs.way == way)
}

fn table(plan: &Plan, title: &str, all: &[Runs], of: Figure) -> Table {
    let counts = plan.permits.iter().map(|permits| format!("{permits} at a time"));
    let head = std::iter::once(String::new()).chain(counts);
    let mut table = Table::new(&format!("{title}: seconds, the slowest run"), head);
    for way in Way::PARALLEL.into_iter().chain([Way::SEQUENTIAL]) {
        let cells = of_way(all, way).map(|runs| format!("{:.2}", runs.slowest(of)));
        table.add(std::iter::once(way.name().to_owned()).chain(cells));
    }
    table
}

fn chart(name: &str, title: &str, all: &[Runs], of: Figure) -> Chart {
    let point = |runs: &Runs| (runs.permits as f64, runs.slowest(of));
    let series = |way: Way| Series {
        name: way.name().to_owned(),
        points: of_way(all, way).map(point).collect(),
    };
    let across = "verifications at a time in each node".to_owned();
    let series = Way::PARALLEL.map(series).into();
    Chart::new(name, title, "seconds", Plot::Lines(Lines { across, series }))
}

fn verdicts(plan: &Plan, all: &[Runs]) -> Vec<Verdict> {
    // With fewer messages there is less to gain.
    let least = 6.0 * f64::from(plan.nodes.min(32)) / 32.0;
    let verdict = |way: Way| {
        let runs: Vec<&Runs> = of_way(all, way).collect();
        let [first, .., last] = &runs[..] else { return None };
        let gain = first.slowest(LAST) / last.slowest(LAST);
        let (measured, name, most) = (format!("{gain:.1} x"), way.name(), last.permits);
        Some(if way == Way::LOCK_ANON {
            let expected = format!("{name}: {most} at a time gain nothing (0.8 to 1.25 x)");
            Verdict::of(&expected, measured, || (0.8..1.25).contains(&gain))
        } else {
            let expected = format!(
                "{name}: {most} at a time bring at least {least:.1} x (the paper: up to 7 x)"
            );
            Verdict::of(&expected, measured, || gain >= least)
        })
    };
    Way::PARALLEL.into_iter().filter_map(verdict).collect()
}

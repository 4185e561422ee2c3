//! Measures throughput, without signatures and with real ones.

use super::super::machine;
use super::super::progress::{Ended, Progress};
use super::super::report::{Report, Table, Verdict};
use super::super::statistics::{median, ratio};
use super::network::{Network, Setting};
use super::node::Way;
use super::sign::Work;
use super::{Checked, Plan};

/// The number of measured runs of a network, after one more run that warms it up.
const BATCH: usize = 4;

/// The seconds that each run of a configuration took.
#[derive(Clone, Default)]
struct Took {
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

/// The configurations to compare, and the times of their runs.
struct Compared {
    settings: Vec<Setting>,
    took: Vec<Took>,
}

impl Compared {
    fn new(settings: Vec<Setting>) -> Compared {
        Compared { took: vec![Took::default(); settings.len()], settings }
    }

    /// Runs all configurations in each round, one after the other.
    ///
    /// In each network, other workers serve other connections, and that does not change while the
    /// network lives. So each batch of rounds has new networks.
    fn run(
        &mut self,
        rounds: u32,
        (what, seconds): (&str, f64),
        progress: &mut Progress,
        checked: &mut Checked,
    ) -> Result<(), Ended> {
        let count = self.settings.len();
        for batch in 0..rounds as usize {
            let networks = self.settings.iter().map(|setting| Network::new(*setting));
            let mut networks: Vec<Network> = networks.collect::<Result<_, _>>()?;
            let mut run_all = || -> Result<(), Ended> {
                for round in 0..=BATCH {
                    progress.step(what, seconds / f64::from(rounds) / (BATCH + 1) as f64)?;
                    // Each round begins with another configuration.
                    for nth in (0..count).map(|nth| (nth + batch + round) % count) {
                        let delays = networks[nth].run()?;
                        if round > 0 {
                            self.took[nth].wall.push(delays.last.as_secs_f64());
                            self.took[nth].cpu.push(delays.cpu.as_secs_f64());
                        }
                    }
                }
                Ok(())
            };
            let ended = run_all();
            for network in networks {
                checked.end(network)?;
            }
            ended?;
        }
        Ok(())
    }

    fn has_run(&self) -> bool {
        self.took.iter().all(|took| !took.wall.is_empty())
    }

    /// Returns how many times as long the `other` configuration took, in wall time and in CPU time.
    fn gain(&self, nth: usize, other: usize) -> (f64, f64) {
        let (own, other) = (&self.took[nth], &self.took[other]);
        (ratio(&other.wall, &own.wall), ratio(&other.cpu, &own.cpu))
    }

    /// Returns messages per second, and microseconds of CPU time per message.
    fn rate(&self, nth: usize, deliveries: f64) -> (f64, f64) {
        let took = &self.took[nth];
        (deliveries / median(took.wall.clone()), median(took.cpu.clone()) / deliveries * 1e6)
    }
}

/// Returns the largest number of networks that exist at the same time.
pub(super) fn most_networks(plan: &Plan) -> u64 {
    signed(plan).len() as u64
}

/// Returns the expected seconds of all runs without signatures, from a measured cost of 6 us for
/// each message.
fn unsigned_seconds(plan: &Plan) -> f64 {
    let runs = f64::from(plan.rounds) * (BATCH as f64 + 1.0) * 5.0;
    runs * (plan.deliveries(plan.unsigned) * 6e-6 + 0.04)
}

/// Returns the expected seconds of all runs with signatures, from a measured cost of 40 us for each
/// message.
fn signed_seconds(plan: &Plan) -> f64 {
    let runs = f64::from(plan.rounds) * (BATCH as f64 + 1.0) * signed(plan).len() as f64;
    runs * (plan.deliveries(plan.signed) * 40e-6 + 0.04)
}

/// Returns the expected seconds of all measurements of throughput.
pub(super) fn seconds(plan: &Plan) -> f64 {
    unsigned_seconds(plan) + signed_seconds(plan)
}

/// Measures the cost of contexts where there is nothing to gain.
pub(super) fn without_signatures(
    plan: &Plan,
    report: &mut Report,
    progress: &mut Progress,
    checked: &mut Checked,
) -> Result<(), Ended> {
    let ways = [&[Way::SEQUENTIAL][..], &Way::PARALLEL].concat();
    let settings = ways.iter().map(|way| plan.setting(*way, Work::Nothing, 1));
    let mut compared = Compared::new(settings.collect());
    let step = ("stream: without signatures", unsigned_seconds(plan));
    let ended = compared.run(plan.rounds, step, progress, checked);
    if compared.has_run() {
        let head = ["", "messages/s", "x sequential", "us of CPU each", "per CPU second, x"];
        let mut table = Table::new("Without signatures: medians", head);
        for (nth, way) in ways.iter().enumerate() {
            let (rate, each) = compared.rate(nth, plan.deliveries(plan.unsigned));
            let (by_wall, by_cpu) = compared.gain(nth, 0);
            table.add([
                way.name().to_owned(),
                format!("{rate:.0}"),
                format!("{by_wall:.2}"),
                format!("{each:.2}"),
                format!("{by_cpu:.2}"),
            ]);
        }
        report.tables.push(table);
    }
    ended?;
    for (unit, of) in [
        ("messages a second", (|gain| gain.0) as fn((f64, f64)) -> f64),
        ("messages per CPU second", |gain| gain.1),
    ] {
        let gains = (1..ways.len()).map(|nth| (of(compared.gain(nth, 0)), ways[nth].name()));
        let slowest = gains.min_by(|a, b| a.0.total_cmp(&b.0));
        let (least, name) = slowest.unwrap_or((0.0, ""));
        report.verdicts.push(Verdict::of(
            &format!(
                "without signatures no configuration loses against sequential: {unit} (0.95 x)"
            ),
            format!("the slowest, {name}, {least:.2} x"),
            || least >= 0.95,
        ));
    }
    Ok(())
}

/// Returns the configurations with real signatures, with their permits and workers.
fn signed(plan: &Plan) -> Vec<(Way, usize, usize)> {
    let (all, most) = (machine::cores(), plan.permits.last().copied().unwrap_or(1));
    let mut rows = vec![(Way::SEQUENTIAL, 1, 1), (Way::SEQUENTIAL, 1, all)];
    for way in Way::PARALLEL {
        rows.extend([(way, most, 1), (way, 1, all), (way, most, all)]);
    }
    rows
}

/// Measures real signatures, whose throughput should grow with the number of cores.
pub(super) fn with_signatures(
    plan: &Plan,
    report: &mut Report,
    progress: &mut Progress,
    checked: &mut Checked,
) -> Result<(), Ended> {
    let rows = signed(plan);
    let setting = |(way, permits, workers): &(Way, usize, usize)| Setting {
        workers: *workers,
        ..plan.setting(*way, Work::Ed25519, *permits)
    };
    let mut compared = Compared::new(rows.iter().map(setting).collect());
    let step = ("stream: with Ed25519", signed_seconds(plan));
    let ended = compared.run(plan.rounds, step, progress, checked);
    if compared.has_run() {
        let head = ["", "at a time", "workers", "messages/s", "x the first", "us of CPU each"];
        let mut table = Table::new("With Ed25519: medians", head);
        for (nth, (way, permits, workers)) in rows.iter().enumerate() {
            let (rate, each) = compared.rate(nth, plan.deliveries(plan.signed));
            table.add([
                way.name().to_owned(),
                permits.to_string(),
                workers.to_string(),
                format!("{rate:.0}"),
                format!("{:.2}", compared.gain(nth, 0).0),
                format!("{each:.1}"),
            ]);
        }
        report.tables.push(table);
    }
    ended?;
    let (all, most) = (machine::cores(), plan.permits.last().copied().unwrap_or(1));
    let at = |row: (Way, usize, usize)| rows.iter().position(|other| *other == row).unwrap_or(0);
    for way in [Way::SNAPSHOT_ANON, Way::SNAPSHOT_COMMIT] {
        let name = way.name();
        let (nth, one) = (at((way, most, all)), at((way, most, 1)));
        if all > 1 {
            let (gain, _) = compared.gain(nth, one);
            let least = 0.8 * all as f64;
            report.verdicts.push(Verdict::of(
                &format!("with Ed25519, {name}: {all} workers bring at least {least:.1} x"),
                format!("{gain:.2} x"),
                || gain >= least,
            ));
        }
        let (loss, _) = compared.gain(nth, at((Way::SEQUENTIAL, 1, all)));
        report.verdicts.push(Verdict::of(
            &format!(
                "with Ed25519, {name}: as fast as sequential, whose nodes also verify in parallel \
                 (0.95 x)"
            ),
            format!("{loss:.2} x"),
            || loss >= 0.95,
        ));
    }
    Ok(())
}

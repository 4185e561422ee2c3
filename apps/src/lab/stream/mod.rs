//! `dapple lab stream`: signed messages that go through trees of nodes, as in section 7.2 of the
//! paper on InContext.
//!
//! Each node has a domain, and gets its messages over TCP. All nodes multicast at once; whoever gets
//! a message counts it, verifies its signature, and sends it on to its children in the group's tree.
//! In which contexts that is done, and how many verifications go on at a time, is what is varied.
//!
//! * [`tree`]: who forwards what to whom;
//! * [`wire`]: messages as bytes; [`sign`]: what is done with a message before it goes on;
//! * [`node`]: a node's state and events; [`network`]: all of them, and runs;
//! * [`record`]: what has happened, and whether that is as the rules say.

mod network;
mod node;
mod record;
mod sign;
mod tree;
mod wire;

use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};
use dapple::Mode;

use self::network::{Delays, Network, Setting};
use self::node::{Order, Way};
use self::sign::Work;
use self::tree::Name;
use super::chart::{Chart, Lines, Plot, Scale, Series};
use super::machine;
use super::progress::{Ended, Progress};
use super::report::{Report, Table, Verdict, median};

/// Verifications at a time in each node.
const PERMITS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Runs of a network that are measured, where there are several networks.
const BATCH: usize = 4;
/// Nodes beside the members, which come and go.
const VISITORS: Name = 4;

pub(super) fn command() -> Command {
    Command::new("stream")
        .about("Signed messages through trees of nodes (ten minutes)")
        .arg(
            Arg::new("nodes")
                .long("nodes")
                .value_name("N")
                .value_parser(["8", "16", "32", "64"])
                .default_value("32")
                .help("Nodes, and groups"),
        )
        .arg(
            Arg::new("wait")
                .long("wait")
                .value_name("MS")
                .value_parser(value_parser!(u64).range(1..=1_000))
                .default_value("100")
                .help("Milliseconds that stand for a signature"),
        )
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..=100))
                .default_value("10")
                .help("Runs of each configuration"),
        )
}

/// What is measured.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    nodes: Name,
    wait: Duration,
    rounds: u32,
    permits: Vec<usize>,
    /// Messages of each node in a run without signatures, and with real ones.
    unsigned: u32,
    signed: u32,
}

impl Plan {
    pub(super) fn full() -> Plan {
        Plan {
            nodes: 32,
            wait: Duration::from_millis(100),
            rounds: 10,
            permits: PERMITS.to_vec(),
            unsigned: 40,
            signed: 3,
        }
    }

    pub(super) fn quick() -> Plan {
        Plan {
            wait: Duration::from_millis(10),
            rounds: 2,
            permits: vec![1, 32],
            unsigned: 20,
            signed: 2,
            ..Plan::full()
        }
    }

    fn of(args: &ArgMatches) -> Plan {
        if args.get_flag("quick") {
            return Plan::quick();
        }
        let nodes = args.get_one::<String>("nodes").and_then(|nodes| nodes.parse().ok());
        let wait = args.get_one::<u64>("wait").copied().unwrap_or(100);
        let rounds = args.get_one::<u32>("rounds").copied().unwrap_or(10);
        let (nodes, wait) = (nodes.unwrap_or(32), Duration::from_millis(wait));
        Plan { nodes, wait, rounds, ..Plan::full() }
    }

    /// Seconds that it is expected to take.
    pub(super) fn seconds(&self) -> f64 {
        let waits = |way: Way| -> f64 {
            self.permits.iter().map(|permits| self.waits(way, *permits)).sum()
        };
        let sequential = self.waits(Way::SEQUENTIAL, 1);
        Way::PARALLEL.map(waits).iter().sum::<f64>() + sequential + self.unsigned() + self.signed()
    }

    /// A configuration with waits: each node verifies a message of each group, so many at a time,
    /// behind those that come before it on its way.
    fn waits(&self, way: Way, permits: usize) -> f64 {
        let at_a_time = match (way.order, way.mode) {
            (Order::Sequential, _) | (Order::Anon, Mode::ReadWrite) => 1,
            _ => permits,
        };
        let batches = usize::from(self.nodes).div_ceil(at_a_time) as f64 + 3.0;
        f64::from(self.rounds) * batches * self.wait.as_secs_f64() + 0.1
    }

    fn deliveries(&self, messages: u32) -> f64 {
        f64::from(self.nodes) * f64::from(self.nodes) * f64::from(messages)
    }

    /// Runs of all rounds of what takes a tenth of a second, and not seconds.
    fn short_runs(&self) -> f64 {
        f64::from(self.rounds) * (BATCH as f64 + 1.5)
    }

    fn unsigned(&self) -> f64 {
        5.0 * self.short_runs() * self.deliveries(self.unsigned) * 6e-6
    }

    fn signed(&self) -> f64 {
        9.0 * self.short_runs() * self.deliveries(self.signed) * 60e-6
    }
}

pub(super) fn run(args: &ArgMatches) -> Result<Report, String> {
    let plan = Plan::of(args);
    let mut progress = Progress::begin(plan.seconds())?;
    experiment(&plan, &mut progress)
}

/// What all runs together have shown beside their delays.
#[derive(Default)]
struct Checked {
    runs: u32,
    changes: usize,
}

pub(super) fn experiment(plan: &Plan, progress: &mut Progress) -> Result<Report, String> {
    let Plan { nodes, wait, rounds, .. } = plan;
    let report = Report {
        name: "stream".to_owned(),
        title: format!(
            "dapple lab stream: {nodes} nodes in {nodes} groups, {VISITORS} visitors, \
             {} ms for a signature, {rounds} rounds\n{}",
            wait.as_millis(),
            machine::describe()
        ),
        ..Report::default()
    };
    let mut checked = Checked::default();
    report.complete(progress, |report, progress| {
        with_waits(plan, report, progress, &mut checked)?;
        without_signatures(plan, report, progress, &mut checked)?;
        with_signatures(plan, report, progress, &mut checked)?;
        let Checked { runs, changes } = checked;
        report.verdicts.push(Verdict::of(
            "effects come in the order of tickets, each message goes to those who were children \
             at its ticket, and nothing is lost or doubled",
            format!("so it was in all {runs} runs, while somebody joined or left {changes} times"),
            || changes > 0,
        ));
        report.remarks = remarks();
        Ok(())
    })
}

fn remarks() -> Vec<String> {
    let remarks = [
        "the paper has four nodes on each of several machines, and pools of 1 to 32 threads; here \
         all nodes are in one process and share its workers, and permits stand for the threads",
        "a wait on a timer stands for a signature, as in the paper, so that more verifications can \
         go on than there are cores",
        "the sequential build has a worker of its own for each node, which waits in global",
    ];
    remarks.map(str::to_owned).to_vec()
}

impl Plan {
    fn setting(&self, way: Way, work: Work, permits: usize) -> Setting {
        let messages = match work {
            Work::Nothing => self.unsigned,
            Work::Wait(_) => 1,
            Work::Ed25519 => self.signed,
        };
        let (nodes, workers) = (self.nodes, machine::cores());
        Setting { nodes, visitors: VISITORS, way, work, permits, workers, messages }
    }
}

impl Checked {
    /// The delays of so many runs of a network.
    fn run(&mut self, setting: Setting, rounds: u32) -> Result<Vec<Delays>, String> {
        let mut network = Network::new(setting)?;
        let delays = (0..rounds).map(|_| network.run()).collect::<Result<_, _>>()?;
        self.end(network, rounds)?;
        Ok(delays)
    }

    fn end(&mut self, network: Network, rounds: u32) -> Result<(), String> {
        self.changes += network.end()?;
        self.runs += rounds;
        Ok(())
    }
}

/// The slowest run counts.
fn slowest(delays: &[Delays], of: fn(&Delays) -> Duration) -> f64 {
    delays.iter().map(of).max().unwrap_or_default().as_secs_f64()
}

const LAST: fn(&Delays) -> Duration = |delays| delays.last;
const MAJORITY: fn(&Delays) -> Duration = |delays| delays.majority;

/// The delays of one configuration, for each number of permits.
type ByPermits = Vec<(usize, Vec<Delays>)>;

/// Figures 5 and 6 of the paper.
fn with_waits(
    plan: &Plan,
    report: &mut Report,
    progress: &mut Progress,
    checked: &mut Checked,
) -> Result<(), Ended> {
    let work = Work::Wait(plan.wait);
    let mut all: Vec<(Way, ByPermits)> = Vec::new();
    for way in Way::PARALLEL {
        let mut rows = Vec::new();
        for &permits in &plan.permits {
            let what = format!("stream: {}, {permits} at a time", way.name());
            progress.step(&what, plan.waits(way, permits))?;
            rows.push((permits, checked.run(plan.setting(way, work, permits), plan.rounds)?));
        }
        all.push((way, rows));
    }
    progress.step("stream: sequential", plan.waits(Way::SEQUENTIAL, 1))?;
    let sequential = checked.run(plan.setting(Way::SEQUENTIAL, work, 1), plan.rounds)?;
    for (name, title, of) in [
        ("last", "Until the last recipient has the last message", LAST),
        ("majority", "Until each recipient has messages of a majority", MAJORITY),
    ] {
        let counts = plan.permits.iter().map(|permits| format!("{permits} at a time"));
        let head: Vec<String> = std::iter::once(String::new()).chain(counts).collect();
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        let mut table = Table::new(&format!("{title}: seconds, the slowest run"), &head);
        let mut series = Vec::new();
        for (way, rows) in &all {
            let seconds =
                |(permits, delays): &(usize, Vec<Delays>)| (*permits as f64, slowest(delays, of));
            let points: Vec<(f64, f64)> = rows.iter().map(seconds).collect();
            let cells = points.iter().map(|point| format!("{:.2}", point.1));
            table.add(std::iter::once(way.name().to_owned()).chain(cells));
            series.push(Series { name: way.name().to_owned(), points });
        }
        table.add(["sequential".to_owned(), format!("{:.2}", slowest(&sequential, of))]);
        report.tables.push(table);
        let (scale_x, scale_y) = (Scale::Log, Scale::Log);
        let across = "verifications at a time in each node".to_owned();
        let plot = Plot::Lines(Lines { across, scale_x, scale_y, series });
        let (name, title, unit) = (name.to_owned(), title.to_owned(), "seconds".to_owned());
        report.charts.push(Chart { name, title, unit, plot });
    }
    for (way, rows) in &all {
        let [first, .., last] = &rows[..] else { continue };
        let gain = slowest(&first.1, LAST) / slowest(&last.1, LAST);
        let measured = format!("{gain:.1} x");
        let (most, name) = (last.0, way.name());
        report.verdicts.push(if *way == Way::LOCK_ANON {
            let expected = format!("{name}: {most} at a time bring nothing (0.8 to 1.25 x)");
            Verdict::of(&expected, measured, || (0.8..1.25).contains(&gain))
        } else {
            let expected =
                format!("{name}: {most} at a time bring at least 6 x (the paper: up to 7 x)");
            Verdict::of(&expected, measured, || gain >= 6.0)
        });
    }
    Ok(())
}

/// Seconds that each run of a configuration took.
#[derive(Clone, Default)]
struct Took {
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

/// Runs of several configurations, one after the other in each round: how long each took.
///
/// Which connections are served by which worker is different in each network, and the same as long
/// as it lives; so there is a new one now and then.
fn interleaved(
    settings: &[Setting],
    rounds: u32,
    checked: &mut Checked,
) -> Result<Vec<Took>, String> {
    let count = settings.len();
    let mut took = vec![Took::default(); count];
    for batch in 0..rounds as usize {
        let networks = settings.iter().map(|setting| Network::new(*setting));
        let mut networks: Vec<Network> = networks.collect::<Result<_, _>>()?;
        // The first run warms up; each time another configuration is the first one.
        for round in 0..=BATCH {
            for nth in (0..count).map(|nth| (nth + batch + round) % count) {
                let delays = networks[nth].run()?;
                if round > 0 {
                    took[nth].wall.push(delays.last.as_secs_f64());
                    took[nth].cpu.push(delays.cpu.as_secs_f64());
                }
            }
        }
        for network in networks {
            checked.end(network, BATCH as u32 + 1)?;
        }
    }
    Ok(took)
}

/// How many times as fast the second is as the first; the sides of a ratio are of one round.
fn gain(slow: &[f64], fast: &[f64]) -> f64 {
    median(slow.iter().zip(fast).map(|(slow, fast)| slow / fast).collect())
}

/// What the contexts cost where there is nothing to gain.
fn without_signatures(
    plan: &Plan,
    report: &mut Report,
    progress: &mut Progress,
    checked: &mut Checked,
) -> Result<(), Ended> {
    progress.step("stream: without signatures", plan.unsigned())?;
    let ways = [&[Way::SEQUENTIAL][..], &Way::PARALLEL].concat();
    let settings: Vec<Setting> =
        ways.iter().map(|way| plan.setting(*way, Work::Nothing, 1)).collect();
    let took = interleaved(&settings, plan.rounds, checked)?;
    let head = ["", "messages/s", "x sequential", "us of CPU each", "x sequential"];
    let mut table = Table::new("Without signatures: medians", &head);
    let (mut worst, deliveries) = (f64::MAX, plan.deliveries(plan.unsigned));
    for (way, times) in ways.iter().zip(&took) {
        let (wall, cpu) = (median(times.wall.clone()), median(times.cpu.clone()));
        let by_cpu = gain(&took[0].cpu, &times.cpu);
        worst = worst.min(by_cpu);
        table.add([
            way.name().to_owned(),
            format!("{:.0}", deliveries / wall),
            format!("{:.2}", gain(&took[0].wall, &times.wall)),
            format!("{:.2}", cpu / deliveries * 1e6),
            format!("{by_cpu:.2}"),
        ]);
    }
    report.tables.push(table);
    let measured = format!("the slowest does {worst:.2} x as much");
    let expected = "without signatures no configuration loses against the sequential one, by CPU \
                    time (0.95 x)";
    report.verdicts.push(Verdict::of(expected, measured, || worst >= 0.95));
    Ok(())
}

/// Real signatures: as fast as there are cores.
fn with_signatures(
    plan: &Plan,
    report: &mut Report,
    progress: &mut Progress,
    checked: &mut Checked,
) -> Result<(), Ended> {
    progress.step("stream: with Ed25519", plan.signed())?;
    let (all, most) = (machine::cores(), plan.permits.last().copied().unwrap_or(1));
    let mut rows = vec![(Way::SEQUENTIAL, 1, 1), (Way::SEQUENTIAL, 1, all)];
    for way in [Way::SNAPSHOT_ANON, Way::SNAPSHOT_COMMIT] {
        rows.extend([(way, most, 1), (way, 1, all), (way, most, all)]);
    }
    let setting = |(way, permits, workers): &(Way, usize, usize)| Setting {
        workers: *workers,
        ..plan.setting(*way, Work::Ed25519, *permits)
    };
    let settings: Vec<Setting> = rows.iter().map(setting).collect();
    let took = interleaved(&settings, plan.rounds, checked)?;
    let head = ["", "at a time", "workers", "messages/s", "x the first", "us of CPU each"];
    let mut table = Table::new("With Ed25519: medians", &head);
    let deliveries = plan.deliveries(plan.signed);
    for ((way, permits, workers), times) in rows.iter().zip(&took) {
        let (wall, cpu) = (median(times.wall.clone()), median(times.cpu.clone()));
        table.add([
            way.name().to_owned(),
            permits.to_string(),
            workers.to_string(),
            format!("{:.0}", deliveries / wall),
            format!("{:.2}", gain(&took[0].wall, &times.wall)),
            format!("{:.1}", cpu / deliveries * 1e6),
        ]);
    }
    report.tables.push(table);
    let at = |row: (Way, usize, usize)| rows.iter().position(|other| *other == row).unwrap_or(0);
    let anon = at((Way::SNAPSHOT_ANON, most, all));
    if all > 1 {
        let gain = gain(&took[at((Way::SNAPSHOT_ANON, most, 1))].wall, &took[anon].wall);
        let least = 0.8 * all as f64;
        report.verdicts.push(Verdict::of(
            &format!("with Ed25519: {all} workers bring at least {least:.1} x"),
            format!("{gain:.2} x"),
            || gain >= least,
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_delivers_all_messages_as_the_rules_say() {
        for work in [Work::Nothing, Work::Wait(Duration::from_millis(1)), Work::Ed25519] {
            for way in [&[Way::SEQUENTIAL][..], &Way::PARALLEL].concat() {
                let plan = Plan { nodes: 8, unsigned: 5, signed: 2, ..Plan::quick() };
                let mut network = Network::new(plan.setting(way, work, 2)).unwrap();
                for _ in 0..3 {
                    let delays = network.run().unwrap();
                    assert!(delays.majority <= delays.last, "{delays:?}");
                }
                let changes = network.end().unwrap();
                assert!(changes < 10_000, "{changes}");
            }
        }
    }
}

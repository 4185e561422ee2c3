//! `dapple lab stream`: signed messages that go through trees of nodes, as in section 7.2 of the
//! paper on InContext.
//!
//! Each node has a domain, and gets its messages over TCP. All nodes multicast at once. A node that
//! gets a message counts it, verifies its signature, and sends it on to its children in the group's
//! tree. The experiment varies the contexts in which that is done, and the number of concurrent
//! verifications.
//!
//! * [`tree`]: the trees by which messages are forwarded;
//! * [`wire`]: messages as bytes; [`sign`]: the work on a message before it is sent on;
//! * [`node`]: a node's state and events; [`network`]: all nodes, and runs;
//! * [`record`]: the effects of events, and whether they keep the rules;
//! * [`waits`], [`rates`]: the measurements.

mod network;
mod node;
mod rates;
mod record;
mod sign;
mod tree;
mod waits;
mod wire;

use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};

use self::network::{Network, Setting};
use self::node::Way;
use self::sign::Work;
use self::tree::Name;
use super::machine;
use super::progress::{Ended, Progress};
use super::report::{Report, Verdict};
use crate::common::process::raise_descriptor_limit;

/// The numbers of concurrent verifications in each node.
const PERMITS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// The number of nodes that are not members, and join and leave groups all the time.
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
                .help("The number of nodes, and of groups"),
        )
        .arg(
            Arg::new("wait")
                .long("wait")
                .value_name("MS")
                .value_parser(value_parser!(u64).range(1..=1_000))
                .default_value("100")
                .help("The milliseconds that a signature is simulated to take"),
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

/// The measurements to make.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    nodes: Name,
    wait: Duration,
    rounds: u32,
    permits: Vec<usize>,
    /// The messages of each node in a run without signatures; `signed` is that with real
    /// signatures.
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
            rounds: 1,
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

    /// Returns the expected duration, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        waits::seconds(self) + rates::seconds(self)
    }

    /// Returns the number of deliveries if each node sends `messages` messages.
    fn deliveries(&self, messages: u32) -> f64 {
        f64::from(self.nodes) * f64::from(self.nodes) * f64::from(messages)
    }

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

pub(super) fn run(args: &ArgMatches) -> Result<Report, String> {
    let plan = Plan::of(args);
    let mut progress = Progress::begin(plan.seconds())?;
    Ok(experiment(&plan, &mut progress))
}

/// The findings about all networks, apart from their delays.
#[derive(Default)]
struct Checked {
    networks: u32,
    runs: u32,
    changes: usize,
    broken: Vec<String>,
}

impl Checked {
    /// Ends a network after its last run, and adds its findings.
    fn end(&mut self, network: Network) -> Result<(), String> {
        self.networks += 1;
        self.runs += network.runs();
        let findings = network.end()?;
        self.changes += findings.changes;
        self.broken.extend(findings.broken);
        Ok(())
    }

    fn verdict(&self) -> Verdict {
        let Checked { networks, runs, changes, broken } = self;
        let measured = match &broken[..] {
            [] => format!(
                "true in all {runs} runs of {networks} networks, while nodes joined or left \
                 {changes} times"
            ),
            [first, ..] => format!("violated {} times, for example: {first}", broken.len()),
        };
        let expected = "effects come in the order of tickets, each message goes to those who were \
                        children at its ticket, all of them get it, and nothing is lost or doubled";
        Verdict::of(expected, measured, || broken.is_empty() && *changes > 0)
    }
}

pub(super) fn experiment(plan: &Plan, progress: &mut Progress) -> Report {
    let Plan { nodes, wait, rounds, .. } = plan;
    let wait = wait.as_millis();
    let report = Report {
        name: "stream".to_owned(),
        setting: format!(
            "{nodes} nodes in {nodes} groups, {VISITORS} visitors, {wait} ms for a signature, \
             {rounds} rounds"
        ),
        ..Report::default()
    };
    report.complete(progress, |report, progress| {
        // Both ends of all connections are in this process. Too low a limit is an error now, not
        // after minutes of measurement.
        let needed = rates::most_networks(plan) * network::descriptors(*nodes, VISITORS) + 100;
        let allowed = raise_descriptor_limit();
        if allowed < needed {
            let message =
                format!("the experiment needs {needed} descriptors, but the limit is {allowed}");
            return Err(Ended::Failed(message));
        }
        let mut checked = Checked::default();
        report.remarks = remarks();
        let mut measure = || {
            waits::measure(plan, report, progress, &mut checked)?;
            rates::without_signatures(plan, report, progress, &mut checked)?;
            rates::with_signatures(plan, report, progress, &mut checked)
        };
        let ended = measure();
        if checked.runs > 0 {
            report.verdicts.push(checked.verdict());
        }
        ended
    })
}

fn remarks() -> Vec<String> {
    let remarks = [
        "the paper has four nodes on each of several machines, and pools of 1 to 32 threads; here \
         all nodes are in one process and share its workers, and permits stand for the threads",
        "a wait on a timer stands for a signature, as in the paper, so that more verifications can \
         go on than there are cores",
        "where signatures are waits, the sequential build has a worker of its own for each node, \
         which waits in global",
    ];
    remarks.map(str::to_owned).to_vec()
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
                let findings = network.end().unwrap();
                assert_eq!(findings.broken, [""; 0]);
            }
        }
    }

    #[test]
    fn somebody_joins_and_leaves_while_messages_are_under_way() {
        let plan = Plan { nodes: 8, wait: Duration::from_millis(30), ..Plan::quick() };
        let setting = plan.setting(Way::SNAPSHOT_ANON, Work::Wait(plan.wait), 2);
        let mut network = Network::new(setting).unwrap();
        network.run().unwrap();
        let mut checked = Checked::default();
        checked.end(network).unwrap();
        assert!(checked.changes > 0);
        assert_eq!(checked.verdict().outcome, super::super::report::Outcome::Holds);
        checked.broken.push("node 3: lost".to_owned());
        let verdict = checked.verdict();
        assert_eq!(verdict.outcome, super::super::report::Outcome::Fails);
        assert_eq!(verdict.measured, "violated 1 times, for example: node 3: lost");
    }
}

//! A network of nodes that are connected, join all groups, and multicast at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dapple::{Color, Handle, Runtime, clock};
use dapple_io::tcp::Listener;

use super::super::draw::Draw;
use super::super::machine;
use super::super::mesh::{self, LIMIT, wait_until};
use super::node::{Common, Node, Order, Way};
use super::record::{Checker, Effect, RecordedEffect};
use super::sign::{Keys, Work};
use super::tree::{Name, Overlay};
use super::wire::Message;

/// The size of an experiment, and the work that is done in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) nodes: Name,
    /// The number of further nodes, which join and leave groups all the time.
    pub(super) visitors: Name,
    pub(super) way: Way,
    pub(super) work: Work,
    /// The number of concurrent verifications in each node.
    pub(super) permits: usize,
    pub(super) workers: usize,
    /// The number of messages that each node sends in a run.
    pub(super) messages: u32,
}

/// The results of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delays {
    /// The time until the last recipient has the last message.
    pub(super) last: Duration,
    /// The time until the last recipient has messages from a majority of the others.
    pub(super) majority: Duration,
    /// The CPU time that the process used meanwhile.
    pub(super) cpu: Duration,
}

/// The findings about all runs of a network.
pub(super) struct Findings {
    /// The number of times that a visitor joined or left.
    pub(super) changes: usize,
    /// Descriptions of broken rules; empty if all is well.
    pub(super) broken: Vec<String>,
}

pub(super) struct Network {
    setting: Setting,
    common: Arc<Common>,
    nodes: Vec<Arc<Node>>,
    checkers: Vec<Checker>,
    sent: u32,
    /// Descriptions of broken rules.
    broken: Vec<String>,
    /// A counter that is odd while visitors come and go.
    visits: Arc<AtomicU32>,
    listeners: Vec<Listener>,
    runtimes: Vec<Runtime>,
}

/// Returns the number of descriptors that a network takes, for listeners and both ends of all
/// connections.
pub(super) fn descriptors(nodes: Name, visitors: Name) -> u64 {
    let overlay = Overlay::new(nodes);
    let neighbors = |node: Name| overlay.neighbors(node).len() + usize::from(visitors);
    let links: usize = (0..nodes + visitors).map(neighbors).sum();
    2 * links as u64 + u64::from(nodes + visitors)
}

impl Network {
    /// Connects all nodes over TCP on the loopback interface, and makes each member join all
    /// groups.
    ///
    /// # Errors
    ///
    /// Returns a message if a runtime, a key or a connection fails, or if the nodes cannot join
    /// within [`LIMIT`].
    pub(super) fn new(setting: Setting) -> Result<Network, String> {
        let failed = |e: std::io::Error| format!("the nodes of the network: {e}");
        let overlay = Overlay::new(setting.nodes);
        let all = setting.nodes + setting.visitors;
        // A sequential node waits in global, which blocks a worker, so each node gets its own.
        let waits = matches!(setting.work, Work::Wait(_));
        let blocks = setting.way.order == Order::Sequential && waits;
        let (count, workers) = if blocks { (all.into(), 1) } else { (1, setting.workers) };
        let runtime = |_| mesh::runtime().workers(workers).pin_cores(!blocks).build();
        let runtimes: Vec<Runtime> =
            (0..count).map(runtime).collect::<Result<_, _>>().map_err(failed)?;
        let handle = |name: Name| runtimes[usize::from(name) % runtimes.len()].handle();
        let common = Arc::new(Common {
            overlay,
            way: setting.way,
            work: setting.work,
            keys: Arc::new(Keys::new(setting.nodes)?),
            joins: AtomicU64::new(0),
            deliveries: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let node = |name| Node::new(name, &common, &handle(name), setting.permits);
        let nodes: Vec<Arc<Node>> = (0..all).map(node).collect();
        let listen = |node: &Arc<Node>| {
            let receiver = Arc::clone(node);
            mesh::listen(&handle(node.name()), move |bytes| receiver.receive(bytes))
        };
        let listeners: Vec<Listener> =
            nodes.iter().map(listen).collect::<Result<_, _>>().map_err(failed)?;
        let mut network = Network {
            setting,
            common,
            checkers: nodes.iter().map(|_| Checker::default()).collect(),
            nodes,
            sent: 0,
            broken: Vec::new(),
            visits: Arc::default(),
            listeners,
            runtimes,
        };
        network.connect()?;
        network.join()?;
        Ok(network)
    }

    fn handle(&self, node: &Node) -> Handle {
        self.runtimes[usize::from(node.name()) % self.runtimes.len()].handle()
    }

    fn connect(&mut self) -> Result<(), String> {
        let ends = self.nodes.iter().zip(&self.listeners);
        let ends: Vec<_> = ends.map(|(n, at)| (self.handle(n), at.local_addr())).collect();
        let visitors = usize::from(self.setting.nodes)..self.nodes.len();
        let links = mesh::connect(&ends, |from| {
            let neighbors = self.common.overlay.neighbors(from as Name);
            let neighbors = neighbors.into_iter().map(usize::from);
            neighbors.chain(visitors.clone()).filter(|to| *to != from).collect()
        })?;
        for (node, links) in self.nodes.iter().zip(links) {
            node.connect(links);
        }
        Ok(())
    }

    fn join(&self) -> Result<(), String> {
        let overlay = self.common.overlay;
        for node in &self.nodes[..usize::from(self.setting.nodes)] {
            overlay.all().for_each(|group| node.join(group));
        }
        // Each member but the root joins at its parent.
        let nodes = u64::from(self.setting.nodes);
        wait_until(|| self.common.joins.load(Ordering::Relaxed) >= nodes * (nodes - 1))
            .ok_or("the nodes could not join their groups in time")?;
        Ok(())
    }

    /// Lets all members multicast at once, while visitors come and go, and waits until every member
    /// has all messages.
    ///
    /// # Errors
    ///
    /// Returns a message if that takes longer than [`LIMIT`].
    pub(super) fn run(&mut self) -> Result<Delays, String> {
        let nodes = u64::from(self.setting.nodes);
        let messages = self.setting.messages;
        let before = self.common.deliveries.load(Ordering::Acquire);
        let wanted = before + nodes * nodes * u64::from(messages);
        let first = self.sent;
        self.sent += messages;
        self.visit();
        let (began, cpu) = (clock::now(), machine::cpu_nanos());
        for number in first..self.sent {
            self.nodes[..nodes as usize].iter().for_each(|node| node.multicast(number));
        }
        wait_until(|| self.common.deliveries.load(Ordering::Acquire) >= wanted).ok_or_else(
            || {
                let got = self.common.deliveries.load(Ordering::Relaxed) - before;
                format!("only {got} of {} messages were delivered in time", wanted - before)
            },
        )?;
        let cpu = Duration::from_nanos(machine::cpu_nanos() - cpu);
        self.visits.fetch_add(1, Ordering::Relaxed);
        Ok(Delays { cpu, ..self.delays(began, first) })
    }

    /// Starts the visitors, which join and leave groups until the run is over.
    fn visit(&self) {
        let time = self.visits.fetch_add(1, Ordering::Relaxed) + 1;
        for node in &self.nodes[usize::from(self.setting.nodes)..] {
            let visitor = Visitor {
                node: Arc::clone(node),
                overlay: self.common.overlay,
                color: self.handle(node).new_color(),
                visits: Arc::clone(&self.visits),
                time,
                draw: Draw(u64::from(time) << 16 | u64::from(node.name())),
            };
            visitor.act(0);
        }
    }

    /// Checks what the nodes have recorded since the last check, and returns it, node by node.
    fn check(&mut self) -> Vec<Vec<RecordedEffect>> {
        let mut records = Vec::new();
        for (node, checker) in self.nodes.iter().zip(&mut self.checkers) {
            let record = node.take_record();
            let told = |why| format!("node {}: {why}", node.name());
            self.broken.extend(checker.add(&record).into_iter().map(told));
            records.push(record);
        }
        records
    }

    /// Returns the delays of a run whose messages have the number `first` and higher ones.
    fn delays(&mut self, began: Instant, first: u32) -> Delays {
        let nodes = usize::from(self.setting.nodes);
        let majority = (nodes - 1) / 2 + 1;
        let mut delays = Delays::default();
        let records = self.check();
        for (name, record) in (0..self.setting.nodes).zip(&records) {
            // The time at which the last message of each group came.
            let mut ends = vec![Duration::ZERO; nodes];
            for entry in record {
                if let Effect::Forwarded { group, number, at, .. } = entry.effect
                    && number >= first
                {
                    ends[usize::from(group)] = at - began;
                }
            }
            // The node's own messages do not count.
            ends.remove(name.into());
            ends.sort();
            delays.last = delays.last.max(ends[nodes - 2]);
            delays.majority = delays.majority.max(ends[majority - 1]);
        }
        delays
    }

    /// Returns the number of runs.
    pub(super) fn runs(&self) -> u32 {
        self.sent / self.setting.messages.max(1)
    }

    /// Ends the network, and returns the findings about all its runs.
    ///
    /// # Errors
    ///
    /// Returns a message if an event panicked, or if a node refused a message.
    pub(super) fn end(mut self) -> Result<Findings, String> {
        // Wait for messages on the way to visitors, and leave time for messages that should not
        // come.
        let began = clock::now();
        self.check();
        while self.lost_visitor().is_some() && clock::now() - began < LIMIT {
            dapple::sync::sleep(Duration::from_millis(5));
            self.check();
        }
        let wait = if let Work::Wait(time) = self.setting.work { time } else { Duration::ZERO };
        dapple::sync::sleep(2 * wait + Duration::from_millis(20));
        self.runtimes.iter().for_each(Runtime::wait_idle);
        self.check();
        let panics: u64 = self.runtimes.iter().map(|rt| rt.metrics().panics()).sum();
        let refused = self.common.refused.load(Ordering::Relaxed);
        if panics + refused > 0 {
            let broken = self.broken.join("; ");
            let told = format!("{panics} events panicked, {refused} messages were refused");
            return Err(format!("{told} {broken}"));
        }
        let found = [self.lost_visitor(), self.lost_message(), self.lost_count()];
        self.broken.extend(found.into_iter().flatten());
        let nodes = usize::from(self.setting.nodes);
        let changes = self.checkers.iter().map(Checker::changes).sum::<usize>();
        // The first joins of the members do not count.
        let changes = changes.saturating_sub(nodes * (nodes - 1));
        Ok(Findings { changes, broken: self.broken })
    }

    /// Looks for a visitor that has not received exactly what was sent to it.
    fn lost_visitor(&self) -> Option<String> {
        let (members, visitors) = self.checkers.split_at(self.setting.nodes.into());
        let is_wrong = |(name, checker): &(Name, &Checker)| {
            let mut sent: Vec<_> =
                members.iter().flat_map(|member| member.sent_to(*name)).copied().collect();
            let mut got = checker.all_delivered();
            sent.sort_unstable();
            got.sort_unstable();
            sent != got
        };
        let (name, _) = (self.setting.nodes..).zip(visitors).find(is_wrong)?;
        Some(format!("visitor {name} did not receive exactly what was sent to it"))
    }

    /// Looks for a member that has not received each message once, in the order of its stream.
    fn lost_message(&self) -> Option<String> {
        let expected: Vec<u32> = (0..self.sent).collect();
        for (name, checker) in (0..self.setting.nodes).zip(&self.checkers) {
            for group in self.common.overlay.all() {
                let mut delivered = checker.delivered(group).to_vec();
                // Events that begin after a verification are not in the order of the stream.
                if self.setting.way.order == Order::Commit {
                    delivered.sort_unstable();
                }
                if delivered != expected {
                    return Some(format!("node {name} got {delivered:?} of group {group}"));
                }
            }
        }
        None
    }

    /// Looks for a member whose count, made in global, differs from the number of messages.
    fn lost_count(&self) -> Option<String> {
        for (name, node) in (0..self.setting.nodes).zip(&self.nodes) {
            // A node counts each message of its own group twice: when sent, and when it comes back.
            let sent = u64::from(self.sent);
            let expected = |group| if group == name { 2 * sent } else { sent };
            let counts = node.counts();
            if counts != Some(self.common.overlay.all().map(expected).collect()) {
                return Some(format!("node {name} has counted {counts:?}"));
            }
        }
        None
    }
}

/// A node that joins or leaves some group every 2 ms to 10 ms.
struct Visitor {
    node: Arc<Node>,
    overlay: Overlay,
    color: Color,
    visits: Arc<AtomicU32>,
    /// The value of `visits` while this visitor may go on.
    time: u32,
    draw: Draw,
}

impl Visitor {
    /// Joins or leaves a group, and posts the next act; the first act is to join.
    fn act(mut self, nth: u64) {
        if self.visits.load(Ordering::Relaxed) != self.time {
            return;
        }
        let who = self.node.name();
        let group = self.draw.below(self.overlay.nodes().into()) as Name;
        let parent = (who + group) % self.overlay.nodes();
        let message = match self.draw.below(2).min(nth) {
            0 => Message::Join { group, who },
            _ => Message::Leave { group, who },
        };
        self.node.visit(parent, message);
        let pause = Duration::from_micros(2_000 + self.draw.below(8_000));
        let (handle, color) = (self.color.runtime(), self.color.clone());
        handle.post_after(pause, &color, move |_| self.act(nth + 1));
    }
}

//! Nodes that are connected, joined to all groups, and multicast at once.

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

/// How large an experiment is, and what is done in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) nodes: Name,
    /// Nodes beside those, which join groups and leave them all the time.
    pub(super) visitors: Name,
    pub(super) way: Way,
    pub(super) work: Work,
    /// Verifications at a time in each node.
    pub(super) permits: usize,
    pub(super) workers: usize,
    /// Messages of each node in a run.
    pub(super) messages: u32,
}

/// What a run has come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delays {
    /// Until the last recipient has the last message.
    pub(super) last: Duration,
    /// Until the last recipient has messages from a majority of the others.
    pub(super) majority: Duration,
    /// CPU time of the process meanwhile.
    pub(super) cpu: Duration,
}

/// What all runs of a network have shown.
pub(super) struct Findings {
    /// How often somebody joined or left meanwhile.
    pub(super) changes: usize,
    /// Rules that were broken; none, if all is well.
    pub(super) broken: Vec<String>,
}

pub(super) struct Network {
    setting: Setting,
    common: Arc<Common>,
    nodes: Vec<Arc<Node>>,
    checkers: Vec<Checker>,
    sent: u32,
    /// Rules that were broken.
    broken: Vec<String>,
    /// Odd while visitors come and go.
    visits: Arc<AtomicU32>,
    listeners: Vec<Listener>,
    runtimes: Vec<Runtime>,
}

/// How many descriptors a network takes: both ends of all connections, and listeners.
pub(super) fn descriptors(nodes: Name, visitors: Name) -> u64 {
    let overlay = Overlay::new(nodes);
    let neighbors = |node: Name| overlay.neighbors(node).len() + usize::from(visitors);
    let links: usize = (0..nodes + visitors).map(neighbors).sum();
    2 * links as u64 + u64::from(nodes + visitors)
}

impl Network {
    /// Connects all nodes over TCP on the loopback, and has each join all groups.
    ///
    /// # Errors
    ///
    /// What the system says, or that it took too long.
    pub(super) fn new(setting: Setting) -> Result<Network, String> {
        let failed = |e: std::io::Error| format!("the nodes of the network: {e}");
        let overlay = Overlay::new(setting.nodes);
        let all = setting.nodes + setting.visitors;
        // A sequential node that waits in global takes a worker of its own for that.
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
        // All members but the root have a parent.
        let nodes = u64::from(self.setting.nodes);
        wait_until(|| self.common.joins.load(Ordering::Relaxed) >= nodes * (nodes - 1))
            .ok_or("the nodes could not join their groups in time")?;
        Ok(())
    }

    /// All nodes multicast at once, while visitors come and go; waits until every node has all
    /// messages.
    ///
    /// # Errors
    ///
    /// That it took too long.
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

    /// Visitors join and leave groups until the run is over.
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

    /// Checks what has happened since it was last checked; answers that, node by node.
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

    /// The delays of a run whose messages have these numbers and higher ones.
    fn delays(&mut self, began: Instant, first: u32) -> Delays {
        let nodes = usize::from(self.setting.nodes);
        let majority = (nodes - 1) / 2 + 1;
        let mut delays = Delays::default();
        let records = self.check();
        for (name, record) in (0..self.setting.nodes).zip(&records) {
            // When the last message of each group has come.
            let mut ends = vec![Duration::ZERO; nodes];
            for entry in record {
                if let Effect::Forwarded { group, number, at, .. } = entry.effect
                    && number >= first
                {
                    ends[usize::from(group)] = at - began;
                }
            }
            // What it has sent itself does not count.
            ends.remove(name.into());
            ends.sort();
            delays.last = delays.last.max(ends[nodes - 2]);
            delays.majority = delays.majority.max(ends[majority - 1]);
        }
        delays
    }

    /// How many runs it has had.
    pub(super) fn runs(&self) -> u32 {
        self.sent / self.setting.messages.max(1)
    }

    /// Ends the network, and says what all its runs have shown.
    ///
    /// # Errors
    ///
    /// That something panicked, or that a message was refused.
    pub(super) fn end(mut self) -> Result<Findings, String> {
        // What is under way to visitors comes, and what should not be.
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
        // Members have joined before.
        let changes = changes.saturating_sub(nodes * (nodes - 1));
        Ok(Findings { changes, broken: self.broken })
    }

    /// A visitor that has not got what was sent to it.
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
        Some(format!("visitor {name} has not got what was sent to it"))
    }

    /// A member that has not got each message once, in the order of its stream.
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

    /// A member that has counted something else in global than what has come.
    fn lost_count(&self) -> Option<String> {
        for (name, node) in (0..self.setting.nodes).zip(&self.nodes) {
            // Of its own group what it has sent, and what has come back.
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

/// A node that joins some group or leaves it, every few milliseconds.
struct Visitor {
    node: Arc<Node>,
    overlay: Overlay,
    color: Color,
    visits: Arc<AtomicU32>,
    /// What `visits` is as long as it goes on.
    time: u32,
    draw: Draw,
}

impl Visitor {
    /// Does the next act; the first one is to join.
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

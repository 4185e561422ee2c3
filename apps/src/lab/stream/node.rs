//! A node: its state, and how it handles messages in the contexts of a configuration.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};

use dapple::{Cx, Domain, Handle, InGlobal, Mode, clock};

use super::super::mesh::{LIMIT, Links};
use super::record::{Children, Effect, RecordedEffect};
use super::sign::{Job, Keys, Letter, Step, Verifier, Work};
use super::tree::{Name, Overlay};
use super::wire::Message;

/// The contexts in which a message is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Everything is done in global, one message after the other.
    Sequential,
    /// The message is counted in global. The rest is done in anon after a downgrade, so it sees the
    /// routes that global left.
    Anon,
    /// The message is counted in global, and the event commits. After the verification another
    /// event sends the message in anon, with the routes of that time.
    Commit,
}

/// A configuration of the experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) order: Order,
    pub(super) mode: Mode,
}

impl Way {
    pub(super) const SEQUENTIAL: Way = Way { order: Order::Sequential, mode: Mode::ReadWrite };
    pub(super) const SNAPSHOT_ANON: Way = Way { order: Order::Anon, mode: Mode::Snapshot };
    pub(super) const LOCK_ANON: Way = Way { order: Order::Anon, mode: Mode::ReadWrite };
    pub(super) const SNAPSHOT_COMMIT: Way = Way { order: Order::Commit, mode: Mode::Snapshot };
    pub(super) const LOCK_COMMIT: Way = Way { order: Order::Commit, mode: Mode::ReadWrite };

    /// All configurations but the sequential one.
    pub(super) const PARALLEL: [Way; 4] =
        [Way::SNAPSHOT_ANON, Way::LOCK_ANON, Way::SNAPSHOT_COMMIT, Way::LOCK_COMMIT];

    pub(super) fn name(self) -> &'static str {
        match (self.order, self.mode) {
            (Order::Sequential, _) => "sequential",
            (Order::Anon, Mode::Snapshot) => "snapshot, anon",
            (Order::Anon, Mode::ReadWrite) => "read_write, anon",
            (Order::Commit, Mode::Snapshot) => "snapshot, commit",
            (Order::Commit, Mode::ReadWrite) => "read_write, commit",
        }
    }
}

/// The state of a node, which its events read and write.
#[derive(Clone)]
struct NodeState {
    /// The routes by group. A copy of the state shares them until one copy changes.
    routes: Arc<Vec<Route>>,
    /// The number of messages of each group that have come.
    counts: Vec<u64>,
}

#[derive(Clone, Default)]
struct Route {
    children: Children,
    /// Whether the node has asked its parent for the group's messages.
    is_joined: bool,
}

impl NodeState {
    fn new(groups: Name) -> NodeState {
        let groups = usize::from(groups);
        NodeState { routes: Arc::new(vec![Route::default(); groups]), counts: vec![0; groups] }
    }

    fn route_mut(&mut self, group: Name) -> &mut Route {
        &mut Arc::make_mut(&mut self.routes)[usize::from(group)]
    }

    fn count(&mut self, group: Name) {
        self.counts[usize::from(group)] += 1;
    }

    fn children(&self, group: Name) -> Children {
        Arc::clone(&self.routes[usize::from(group)].children)
    }
}

/// The state that all nodes share.
pub(super) struct Common {
    pub(super) overlay: Overlay,
    pub(super) way: Way,
    pub(super) work: Work,
    pub(super) keys: Arc<Keys>,
    /// The number of join requests that have arrived at a parent. `deliveries` counts messages that
    /// were delivered to members, including their senders.
    pub(super) joins: AtomicU64,
    pub(super) deliveries: AtomicU64,
    /// The number of messages that were malformed, not genuine, or could not be sent.
    pub(super) refused: AtomicU64,
}

pub(super) struct Node {
    name: Name,
    common: Arc<Common>,
    domain: Domain<NodeState>,
    verifier: Verifier,
    /// The connections to the nodes that this node sends to.
    links: OnceLock<Links>,
    record: Mutex<Vec<RecordedEffect>>,
}

impl Node {
    pub(super) fn new(
        name: Name,
        common: &Arc<Common>,
        handle: &Handle,
        permits: usize,
    ) -> Arc<Node> {
        let state = NodeState::new(common.overlay.nodes());
        let label = format!("node {name}");
        let builder = Domain::<()>::builder().label(&label);
        let domain = match common.way.mode {
            Mode::Snapshot => builder.snapshot(handle, state),
            Mode::ReadWrite => builder.read_write(handle, state),
        };
        let keys = Arc::clone(&common.keys);
        Arc::new(Node {
            name,
            common: Arc::clone(common),
            domain,
            verifier: Verifier::new(common.work, permits, keys, &handle.new_color()),
            links: OnceLock::new(),
            record: Mutex::default(),
        })
    }

    pub(super) fn name(&self) -> Name {
        self.name
    }

    /// Sets the connections, so that the node can send.
    pub(super) fn connect(&self, links: Links) {
        let _ = self.links.set(links);
    }

    /// Takes the effects that were recorded since the last call.
    pub(super) fn take_record(&self) -> Vec<RecordedEffect> {
        std::mem::take(&mut *self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the number of messages of each group that were counted in global; `None` after
    /// [`LIMIT`].
    pub(super) fn counts(&self) -> Option<Vec<u64>> {
        let (tx, rx) = mpsc::channel();
        self.domain.anon(move |a| _ = tx.send(a.state().counts.clone()));
        rx.recv_timeout(LIMIT).ok()
    }

    fn has_happened(&self, ticket: u64, effect: Effect) {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.push(RecordedEffect { ticket, effect });
    }

    fn send(&self, to: Name, bytes: &[u8]) {
        let link = self.links.get().and_then(|links| links.get(usize::from(to))?.as_ref());
        // All links stay open until the end, so a failed send is an error.
        if link.is_none_or(|link| link.send(bytes).is_err()) {
            self.common.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Handles a message, in the step that dequeued it, so that tickets are in the order of the
    /// stream.
    pub(super) fn receive(self: &Arc<Self>, bytes: &[u8]) {
        let groups = self.common.overlay.nodes();
        match Message::parse(bytes) {
            Some(Message::Data { group, .. }) if group < groups => {
                self.handle(Job { letter: bytes.into(), group, step: Step::Verify });
            }
            Some(Message::Join { group, who }) if group < groups => self.add(group, who),
            Some(Message::Leave { group, who }) if group < groups => self.remove(group, who),
            _ => _ = self.common.refused.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Joins a group.
    pub(super) fn join(self: &Arc<Self>, group: Name) {
        let node = Arc::clone(self);
        self.domain.global(move |g| node.ask_parent(g, group));
    }

    /// Asks the parent for the messages of a group, unless the node has done so before.
    fn ask_parent(self: Arc<Self>, g: &mut InGlobal<NodeState>, group: Name) {
        let Some(parent) = self.common.overlay.parent(self.name, group) else { return };
        let route = g.state_mut().route_mut(group);
        if !std::mem::replace(&mut route.is_joined, true) {
            let message = Message::Join { group, who: self.name }.to_bytes();
            g.defer(move |_| self.send(parent, &message));
        }
    }

    fn add(self: &Arc<Self>, group: Name, who: Name) {
        let node = Arc::clone(self);
        self.domain.global(move |g| {
            Arc::make_mut(&mut g.state_mut().route_mut(group).children).insert(who);
            let (ticket, own) = (g.ticket().number(), Arc::clone(&node));
            g.defer(move |_| {
                own.has_happened(ticket, Effect::Joined { group, who });
                own.common.joins.fetch_add(1, Ordering::Relaxed);
            });
            node.ask_parent(g, group);
        });
    }

    fn remove(self: &Arc<Self>, group: Name, who: Name) {
        let node = Arc::clone(self);
        self.domain.global(move |g| {
            Arc::make_mut(&mut g.state_mut().route_mut(group).children).remove(&who);
            let ticket = g.ticket().number();
            g.defer(move |_| node.has_happened(ticket, Effect::Left { group, who }));
        });
    }

    /// Sends a visitor's message: joins or leaves a group at one of its nodes.
    pub(super) fn visit(&self, parent: Name, message: Message) {
        self.send(parent, &message.to_bytes());
    }

    /// Sends the next message of the node's own group to the root of its tree.
    pub(super) fn multicast(self: &Arc<Self>, number: u32) {
        let letter = Message::Data { group: self.name, number }.to_bytes().into();
        self.handle(Job { letter, group: self.name, step: Step::Sign });
    }

    /// Starts an event for a message, which counts it, signs or verifies it, and sends it on.
    fn handle(self: &Arc<Self>, job: Job) {
        let node = Arc::clone(self);
        let (group, step) = (job.group, job.step);
        match (self.common.way.order, self.common.work) {
            (Order::Sequential, work) => self.domain.global(move |g| {
                g.state_mut().count(group);
                let letter = job.run(work, &node.common.keys);
                let (ticket, to) = (g.ticket().number(), g.state().children(group));
                g.defer(move |_| node.pass_on(ticket, letter, step, to));
            }),
            (Order::Anon, Work::Nothing) => self.domain.global_then(move |mut g| {
                g.state_mut().count(group);
                g.downgrade_then(move |mut a| {
                    let (ticket, to) = (a.ticket().number(), a.state().children(group));
                    a.defer(move |_| node.pass_on(ticket, Some(job.letter), step, to));
                    a.commit()
                })
            }),
            (Order::Anon, _) => drop(self.domain.spawn(move |n| async move {
                let ((), mut a) = n.global(move |g| g.state_mut().count(group)).await?;
                // An event may await a timer that stands for a computation in anon (I15). It may
                // also await a permit, because the holder of a permit waits for nothing else.
                let letter = node.verifier.run(job).await;
                let (ticket, to) = (a.ticket().number(), a.state().children(group));
                a.defer(move |_| node.pass_on(ticket, letter, step, to));
                a.commit().await
            })),
            (Order::Commit, Work::Nothing) => self.domain.global_then(move |mut g| {
                g.state_mut().count(group);
                g.commit_then_anon(move |n| {
                    n.upgrade_anon_then(move |mut a| {
                        let (ticket, to) = (a.ticket().number(), a.state().children(group));
                        a.defer(move |_| node.pass_on(ticket, Some(job.letter), step, to));
                        a.commit()
                    })
                })
            }),
            (Order::Commit, _) => self.domain.global(move |g| {
                g.state_mut().count(group);
                let domain = g.domain();
                let verifier = node.verifier.clone();
                let then = move |letter, _: &mut Cx| {
                    domain.anon(move |a| {
                        let (ticket, to) = (a.ticket().number(), a.state().children(group));
                        a.defer(move |_| node.pass_on(ticket, letter, step, to));
                    });
                };
                g.defer(move |_| verifier.start(job, then));
            }),
        }
    }

    /// Delivers a genuine message and sends it on; called in a deferred action.
    fn pass_on(&self, ticket: u64, letter: Option<Letter>, step: Step, to: Children) {
        let Common { overlay, deliveries, refused, .. } = &*self.common;
        let message = letter.as_deref().and_then(Message::parse);
        let (Some(letter), Some(Message::Data { group, number })) = (letter, message) else {
            refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if step == Step::Sign {
            return self.send(overlay.root(group), &letter);
        }
        for child in to.iter() {
            self.send(*child, &letter);
        }
        self.has_happened(ticket, Effect::Forwarded { group, number, to, at: clock::now() });
        if self.name < overlay.nodes() {
            deliveries.fetch_add(1, Ordering::Release);
        }
    }
}

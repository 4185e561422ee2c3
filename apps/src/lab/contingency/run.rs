//! Connects the peers, and runs their rounds.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dapple::{Handle, Runtime, clock};
use dapple_io::tcp::Listener;

use super::super::machine;
use super::super::mesh::{self, Links, wait_until};
use super::baseline::Baseline;
use super::deferred::Deferred;
use super::incontext::InContext;
use super::peer::{Events, Journal, Outbox, PEERS, Peer, Setting};
use super::split::Split;
use super::wire::{Message, Name};

/// The number of workers of each peer.
pub(super) const WORKERS: usize = 2;

/// A way to write the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    Baseline,
    Split,
    InContext,
    /// The application in contexts, with every message as a deferred action.
    Deferred,
}

impl Variant {
    pub(super) const ALL: [Variant; 4] =
        [Variant::Baseline, Variant::Split, Variant::InContext, Variant::Deferred];

    pub(super) fn name(self) -> &'static str {
        match self {
            Variant::Baseline => "baseline",
            Variant::Split => "split by hand",
            Variant::InContext => "InContext",
            Variant::Deferred => "InContext, all deferred",
        }
    }

    /// Returns the source text.
    pub(super) fn source(self) -> &'static str {
        match self {
            Variant::Baseline => include_str!("baseline.rs"),
            Variant::Split => concat!(include_str!("split.rs"), include_str!("slices.rs")),
            Variant::InContext => include_str!("incontext.rs"),
            Variant::Deferred => include_str!("deferred.rs"),
        }
    }

    fn start(self, peer: Peer, sender: Sender, handle: &Handle) -> Arc<dyn Program> {
        match self {
            Variant::Baseline => Arc::new(Baseline::new(peer, sender, handle)),
            Variant::Split => Arc::new(Split::new(peer, sender, handle)),
            Variant::InContext => Arc::new(InContext::new(peer, sender, handle)),
            Variant::Deferred => Arc::new(Deferred::new(peer, sender, handle)),
        }
    }
}

/// A peer, as one of the variants of the application.
pub(super) trait Program: Send + Sync {
    /// Handles a message that came at `at`; called in the step that dequeues it.
    fn receive(&self, from: Name, message: Message, at: Instant);
    /// Sends heartbeats, and checks for missing answers.
    fn tick(&self);
}

/// The sending side of a peer.
#[derive(Clone)]
pub(super) struct Sender {
    own: Name,
    links: Arc<OnceLock<Links>>,
    journal: Arc<Journal>,
}

impl Sender {
    pub(super) fn send(&self, out: Outbox) {
        let Some(links) = self.links.get() else { return };
        for (to, message) in out {
            if let Some(Some(link)) = links.get(to) {
                // All links stay open until the end, so a failed send is an error.
                if link.send(&message.to_bytes(self.own)).is_err() {
                    self.journal.count_odd();
                }
            }
        }
    }
}

/// The results of a run.
pub(super) struct Outcome {
    pub(super) took: Duration,
    pub(super) cpu: Duration,
    pub(super) events: Events,
}

/// Runs all rounds of a variant.
///
/// # Errors
///
/// Returns a message if the peers cannot be started or connected, if the rounds take longer than
/// 120 s, if an event panics, or if a message is lost.
pub(super) fn run(variant: Variant, setting: Setting) -> Result<Outcome, String> {
    let failed = |e: std::io::Error| format!("the peers: {e}");
    let runtime = |_| mesh::runtime().workers(WORKERS).pin_cores(false).build();
    let runtimes: Vec<Runtime> =
        (0..PEERS).map(runtime).collect::<Result<_, _>>().map_err(failed)?;
    let journal = Arc::new(Journal::default());
    let sender = |own| Sender { own, links: Arc::default(), journal: Arc::clone(&journal) };
    let senders: Vec<Sender> = (0..PEERS).map(sender).collect();
    let start = |sender: &Sender| {
        let peer = Peer::new(sender.own, setting, &journal);
        variant.start(peer, sender.clone(), &runtimes[sender.own].handle())
    };
    let programs: Vec<Arc<dyn Program>> = senders.iter().map(start).collect();
    let listen = |(program, runtime): (&Arc<dyn Program>, &Runtime)| {
        let program = Arc::clone(program);
        let journal = Arc::clone(&journal);
        mesh::listen(&runtime.handle(), move |bytes| match Message::parse(bytes) {
            Some((from, message)) => program.receive(from, message, clock::now()),
            None => journal.count_odd(),
        })
    };
    let listeners = programs.iter().zip(&runtimes).map(listen);
    let listeners: Vec<Listener> = listeners.collect::<Result<_, _>>().map_err(failed)?;
    let ends = runtimes.iter().zip(&listeners);
    let ends: Vec<_> = ends.map(|(rt, listener)| (rt.handle(), listener.local_addr())).collect();
    let links = mesh::connect(&ends, |_| (0..PEERS).collect())?;
    for (sender, links) in senders.iter().zip(links) {
        let _ = sender.links.set(links);
    }
    let (began, cpu) = (clock::now(), machine::cpu_nanos());
    let tick = |(program, runtime): (&Arc<dyn Program>, &Runtime)| {
        let (program, handle) = (Arc::clone(program), runtime.handle());
        handle.every(setting.period, &handle.new_color(), move |_| program.tick())
    };
    let timers: Vec<dapple::Timer> = programs.iter().zip(&runtimes).map(tick).collect();
    programs[0].receive(0, Message::Begin(0), began);
    let wanted = setting.rounds as usize * PEERS;
    let is_over = wait_until(|| journal.heard() >= wanted);
    let (took, cpu) = (clock::now() - began, Duration::from_nanos(machine::cpu_nanos() - cpu));
    timers.iter().for_each(|timer| _ = timer.cancel());
    // Leave time for the answers to open heartbeats.
    dapple::sync::sleep(4 * setting.period);
    let events = journal.events();
    is_over.ok_or_else(|| format!("only {} of {wanted} scores came in time", events.heard))?;
    let panics: u64 = runtimes.iter().map(|rt| rt.metrics().panics()).sum();
    if panics > 0 || events.odd > 0 {
        return Err(format!(
            "{panics} events panicked, {} messages were lost, or not understood",
            events.odd
        ));
    }
    Ok(Outcome { took, cpu, events })
}

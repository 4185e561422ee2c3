//! The application in contexts. Heartbeats and the summary are in anon, sampling is in none, and
//! all changes of the peer are in global. Messages are sent at once, not when their event commits,
//! because the application does not need them in ticket order.

use std::time::Instant;

use dapple::{Domain, Handle, clock};

use super::peer::{self, Peer};
use super::run::{Program, Sender};
use super::wire::{Message, Name};

pub(super) struct InContext {
    peer: Domain<Peer>,
    sender: Sender,
}

impl InContext {
    pub(super) fn new(peer: Peer, sender: Sender, handle: &Handle) -> InContext {
        InContext { peer: Domain::snapshot(handle, peer), sender }
    }
}

impl Program for InContext {
    fn receive(&self, from: Name, message: Message, at: Instant) {
        let sender = self.sender.clone();
        match message {
            Message::Ping(nth) => self.peer.anon(move |_| {
                sender.send(vec![(from, Message::Pong(nth))]);
            }),
            Message::Pong(nth) => self.peer.global(move |g| {
                g.state_mut().take_pong(from, nth, at);
            }),
            Message::Begin(round) => self.peer.global(move |g| {
                sender.send(g.state_mut().begin(round));
            }),
            Message::Part { round, part, band } => self.peer.none(move |_| {
                let samples = peer::samples(round, part, band);
                sender.send(vec![(from, Message::Samples { round, part, samples })]);
            }),
            Message::Samples { round, part, samples } => self.peer.global_then(move |mut g| {
                let (out, job) = g.state_mut().collect(round, part, samples);
                sender.send(out);
                let Some(job) = job else { return g.commit() };
                g.downgrade_then(move |a| {
                    let score = job.summarize();
                    a.commit_then(move |n| {
                        n.upgrade_global_then(move |mut g| {
                            sender.send(g.state_mut().announce(job.round, score));
                            g.commit()
                        })
                    })
                })
            }),
            Message::Score { round, score } => self.peer.global(move |g| {
                g.state().learn(round, score);
            }),
        }
    }

    fn tick(&self) {
        let sender = self.sender.clone();
        self.peer.global(move |g| sender.send(g.state_mut().tick(clock::now())));
    }
}

//! The application in contexts, strictly by the paper: every message is a deferred action, which
//! runs when its event commits, in ticket order.

use std::time::Instant;

use dapple::{Domain, Handle, clock};

use super::peer::{self, Peer};
use super::run::{Program, Sender};
use super::wire::{Message, Name};

pub(super) struct Deferred {
    peer: Domain<Peer>,
    sender: Sender,
}

impl Deferred {
    pub(super) fn new(peer: Peer, sender: Sender, handle: &Handle) -> Deferred {
        Deferred { peer: Domain::snapshot(handle, peer), sender }
    }
}

impl Program for Deferred {
    fn receive(&self, from: Name, message: Message, at: Instant) {
        let sender = self.sender.clone();
        match message {
            Message::Ping(nth) => self.peer.anon(move |a| {
                a.defer(move |_| sender.send(vec![(from, Message::Pong(nth))]));
            }),
            Message::Pong(nth) => self.peer.global(move |g| {
                g.state_mut().take_pong(from, nth, at);
            }),
            Message::Begin(round) => self.peer.global(move |g| {
                let out = g.state_mut().begin(round);
                g.defer(move |_| sender.send(out));
            }),
            Message::Part { round, part, band } => self.peer.none(move |n| {
                let samples = peer::samples(round, part, band);
                let out = vec![(from, Message::Samples { round, part, samples })];
                n.defer(move |_| sender.send(out));
            }),
            Message::Samples { round, part, samples } => self.peer.global_then(move |mut g| {
                let (out, job) = g.state_mut().collect(round, part, samples);
                let own = sender.clone();
                g.defer(move |_| own.send(out));
                let Some(job) = job else { return g.commit() };
                g.downgrade_then(move |a| {
                    let score = job.summarize();
                    a.commit_then(move |n| {
                        n.upgrade_global_then(move |mut g| {
                            let out = g.state_mut().announce(job.round, score);
                            g.defer(move |_| sender.send(out));
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
        self.peer.global(move |g| {
            let out = g.state_mut().tick(clock::now());
            g.defer(move |_| sender.send(out));
        });
    }
}

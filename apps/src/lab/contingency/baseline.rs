//! The original application, in which all callbacks of a peer have one color.

use std::time::Instant;

use dapple::{Colored, Handle, clock};

use super::peer::{self, Peer};
use super::run::{Program, Sender};
use super::wire::{Message, Name};

pub(super) struct Baseline {
    peer: Colored<Peer>,
    sender: Sender,
}

impl Baseline {
    pub(super) fn new(peer: Peer, sender: Sender, handle: &Handle) -> Baseline {
        Baseline { peer: Colored::new(&handle.new_color(), peer), sender }
    }
}

impl Program for Baseline {
    fn receive(&self, from: Name, message: Message, at: Instant) {
        let sender = self.sender.clone();
        match message {
            Message::Ping(nth) => self.peer.post(move |_, _| {
                sender.send(vec![(from, Message::Pong(nth))]);
            }),
            Message::Pong(nth) => self.peer.post(move |peer, _| {
                peer.take_pong(from, nth, at);
            }),
            Message::Begin(round) => self.peer.post(move |peer, _| {
                sender.send(peer.begin(round));
            }),
            Message::Part { round, part, band } => self.peer.post(move |_, _| {
                let samples = peer::samples(round, part, band);
                sender.send(vec![(from, Message::Samples { round, part, samples })]);
            }),
            Message::Samples { round, part, samples } => self.peer.post(move |peer, _| {
                let (out, job) = peer.collect(round, part, samples);
                sender.send(out);
                let Some(job) = job else { return };
                let score = job.summarize();
                sender.send(peer.announce(job.round, score));
            }),
            Message::Score { round, score } => self.peer.post(move |peer, _| {
                peer.learn(round, score);
            }),
        }
    }

    fn tick(&self) {
        let sender = self.sender.clone();
        self.peer.post(move |peer, _| sender.send(peer.tick(clock::now())));
    }
}

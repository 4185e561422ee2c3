//! The application with long callbacks split by hand: each slice posts the next one, so that other
//! events of the peer run in between.

use std::time::Instant;

use dapple::{Colored, Handle, clock};

use super::peer::{Job, Peer};
use super::run::{Program, Sender};
use super::slices::{self, Sampling};
use super::wire::{Message, Name};

/// The number of columns in a slice of the summary, which takes at most a few milliseconds.
const SLICE: usize = 16;

#[derive(Clone)]
pub(super) struct Split {
    peer: Colored<Peer>,
    sender: Sender,
}

impl Split {
    pub(super) fn new(peer: Peer, sender: Sender, handle: &Handle) -> Split {
        Split { peer: Colored::new(&handle.new_color(), peer), sender }
    }

    /// Makes one sample, and posts the next.
    fn sample(&self, to: Name, round: u32, part: u32, mut sampling: Sampling) {
        let own = self.clone();
        self.peer.post(move |_, _| match sampling.step() {
            Some(samples) => {
                own.sender.send(vec![(to, Message::Samples { round, part, samples })]);
            }
            None => own.sample(to, round, part, sampling),
        });
    }

    /// Summarizes one slice of the columns, and posts the next.
    fn summarize(&self, job: Job, from: usize, score: u64) {
        let own = self.clone();
        self.peer.post(move |peer, _| {
            let to = (from + SLICE).min(job.columns());
            let score = score + slices::summarize(&job, from..to);
            match to == job.columns() {
                true => own.sender.send(peer.announce(job.round, score)),
                false => own.summarize(job, to, score),
            }
        });
    }
}

impl Program for Split {
    fn receive(&self, from: Name, message: Message, at: Instant) {
        let (own, sender) = (self.clone(), self.sender.clone());
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
            Message::Part { round, part, band } => {
                self.sample(from, round, part, Sampling::new(round, part, band));
            }
            Message::Samples { round, part, samples } => self.peer.post(move |peer, _| {
                let (out, job) = peer.collect(round, part, samples);
                sender.send(out);
                let Some(job) = job else { return };
                own.summarize(job, 0, 0);
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

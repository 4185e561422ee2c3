//! A world: everything at one moment, and the transitions that lead on from it.
//!
//! The world does what a domain does around its order: it keeps versions, runs steps, stores
//! deferred actions and runs them at the commit. It reports each request and each decision to the
//! watch.

mod decisions;
mod transitions;

use std::rc::Rc;

use super::State;
use super::event::Action;
use super::scenario::Scenario;
use super::steps::Steps;
use super::story::Line;
use super::versions::{Freed, Versions};
use super::violation::{Broken, Checked, Rule};
use super::watch::Watch;
use crate::{Context, Ticket};

/// A transition that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Choice {
    /// The next event of the scenario is posted.
    Post,
    /// This event goes on.
    Go(Ticket),
}

/// What an event does when it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// The event has not asked yet for what its next step needs.
    Between,
    /// The event is in the context that its next step needs.
    Inside,
    /// The event waits for the order: to enter, to be alone, or to commit.
    Waits,
    /// The event has panicked, or poison covers it.
    Gone,
    /// The event's commit has begun.
    Commits,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Live {
    ticket: Ticket,
    script: usize,
    next: usize,
    context: Context,
    phase: Phase,
    version: Option<usize>,
    deferred: Vec<Action>,
    /// The number of deferred actions that a panic does not drop.
    safe: usize,
    posts: usize,
    kept: Vec<i64>,
}

/// The origin of a ticket. It identifies the event in any interleaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// The scenario posts the event, at this index.
    Listed(usize),
    /// The event is the sub-event that follows this ticket.
    After(Ticket),
    /// The event is the n-th post, counted from 0, of this ticket.
    PostedBy(Ticket, usize),
}

/// What has happened so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Log {
    /// The origin and the script of each ticket.
    pub(super) tickets: Vec<(Origin, usize)>,
    pub(super) effects: Vec<(Ticket, Rc<str>)>,
    /// What each ticket saw.
    pub(super) saw: Vec<Vec<Rc<str>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World<S, O: Steps> {
    order: O,
    versions: Versions<S, O::Pins>,
    /// The uncommitted events, by ticket.
    live: Vec<Live>,
    /// The number of events that the scenario has posted.
    posted: usize,
    /// The event that has just committed, and goes on in a sub-event.
    parent: Option<Live>,
    watch: Watch<S>,
    pub(super) log: Log,
}

/// A number of decisions that no transition reaches.
const DECISIONS: usize = 10_000;

impl<S: State, O: Steps> World<S, O> {
    pub(super) fn new(scenario: &Scenario<S>) -> Self {
        World {
            order: O::new(scenario.mode),
            versions: Versions::new(scenario.state.clone()),
            live: Vec::new(),
            posted: 0,
            parent: None,
            watch: Watch::new(scenario.mode, scenario.state.clone()),
            log: Log { tickets: Vec::new(), effects: Vec::new(), saw: Vec::new() },
        }
    }

    pub(super) fn choices(&self, scenario: &Scenario<S>) -> impl Iterator<Item = Choice> {
        let post = (self.posted < scenario.listed.len()).then_some(Choice::Post);
        let goes = self.live.iter().filter(|live| live.phase != Phase::Waits);
        post.into_iter().chain(goes.map(|live| Choice::Go(live.ticket)))
    }

    /// Returns the state at an end. Fails if an event is unfinished although nothing can happen
    /// next.
    pub(super) fn end(&mut self) -> Checked<&S> {
        if let Some(live) = self.live.first() {
            return Err(Broken::by(Rule::I1, live.ticket, "it is unfinished, and the order stops"));
        }
        Ok(self.versions.written())
    }

    /// Returns the event's name and the number of its next step.
    pub(super) fn place(
        &self,
        ticket: Ticket,
        scenario: &Scenario<S>,
    ) -> Option<(String, Option<usize>)> {
        let (_, script) = self.log.tickets.get(ticket.number() as usize - 1)?;
        let (name, steps) = &scenario.scripts[*script];
        let live = self.live.iter().find(|live| live.ticket == ticket);
        let next = live.map(|live| live.next + 1).filter(|next| *next <= steps.steps.len());
        Some((name.to_string(), next))
    }

    /// Applies a choice, does everything that the order decides then, and checks the world.
    pub(super) fn apply(
        &mut self,
        scenario: &Scenario<S>,
        choice: Choice,
        line: &mut Line,
    ) -> Checked {
        match choice {
            Choice::Post => self.post_next(scenario, line)?,
            Choice::Go(ticket) => self.go(scenario, ticket, line)?,
        }
        self.do_what_is_decided(scenario, line)?;
        self.watch.settled()?;
        self.check_versions()?;
        if self.order.uncommitted() != self.watch.uncommitted() {
            return Err(Broken::new(Rule::I1, "the order's count of uncommitted events is wrong"));
        }
        Ok(())
    }

    fn do_what_is_decided(&mut self, scenario: &Scenario<S>, line: &mut Line) -> Checked {
        for _ in 0..DECISIONS {
            match self.order.decide() {
                Some(next) => self.follow(scenario, next, line)?,
                None => return Ok(()),
            }
        }
        Err(Broken::new(Rule::Steps, format!("more than {DECISIONS} decisions in a row")))
    }

    fn check_versions(&self) -> Checked {
        for live in &self.live {
            let Some(version) = live.version else { continue };
            let (reads, should) = (self.versions.get(version), self.watch.reads(live.ticket));
            if reads != should {
                let what = format!("it reads {reads:?} in anon, and should read {should:?}");
                return Err(Broken::by(Rule::I5, live.ticket, what));
            }
        }
        for version in 0..self.versions.current() {
            if !self.live.iter().any(|live| live.version == Some(version)) {
                let state = self.versions.get(version);
                let what = format!("the version {state:?} is kept, although no event needs it");
                return Err(Broken::new(Rule::I11, what));
            }
        }
        Ok(())
    }

    /// Publishes what the event in global has written, as the event leaves global.
    fn publish(&mut self) -> Checked {
        let freed = self.versions.publish();
        self.free(freed)
    }

    /// Takes the event out of its context.
    fn let_go(&mut self, i: usize) -> Checked {
        let live = &mut self.live[i];
        let before = std::mem::replace(&mut live.context, Context::None);
        let version = live.version.take();
        if before == Context::Global {
            return self.publish();
        }
        let freed = version.and_then(|version| self.versions.unpin(version));
        self.free(freed)
    }

    fn free(&mut self, freed: Freed) -> Checked {
        let Some(version) = freed else { return Ok(()) };
        let reader = self.live.iter().find(|live| live.version == Some(version));
        if let Some(reader) = reader {
            return Err(Broken::by(Rule::I11, reader.ticket, "what it reads is freed"));
        }
        if version == self.versions.current() {
            return Err(Broken::new(Rule::I11, "the current version is freed"));
        }
        self.versions.free(version);
        for later in self.live.iter_mut().filter_map(|live| live.version.as_mut()) {
            *later -= usize::from(*later > version);
        }
        Ok(())
    }
}

//! Programs of events, and the outcome of a run.
use std::collections::BTreeMap;

use dapple::Context;
use proptest::prelude::*;

/// An action of a step.
#[derive(Clone, Debug)]
pub enum Act {
    /// Changes both halves of the state. In global only.
    Write(u8),
    /// Sees both halves of the state. In global and anon only.
    Read,
    /// Defers an effect.
    Defer(u8),
    /// Defers a post.
    Post(Box<Event>),
    Panic,
}

/// The steps of an event, by context.
#[derive(Clone, Debug)]
pub struct Event {
    /// The API that runs the event: a whole event (if it is one), typed tokens, dynamic tokens, or
    /// an async task.
    pub form: u8,
    pub repairs: bool,
    pub none: Vec<Vec<Act>>,
    pub renounces: bool,
    pub global: Vec<Vec<Act>>,
    /// Each step is preceded by a wait to be alone, and starts with an effect at once.
    pub alone: Vec<Vec<Act>>,
    pub anon: Vec<Vec<Act>>,
    pub then: Option<Box<Event>>,
}

impl Event {
    pub fn highest(&self) -> Context {
        match (self.global.is_empty(), self.anon.is_empty()) {
            (false, _) => Context::Global,
            (true, false) => Context::Anon,
            (true, true) => Context::None,
        }
    }

    /// Returns `true` if the event and each of its sub-events are alone in at most one step.
    pub fn is_for_tasks(&self) -> bool {
        self.alone.len() < 2 && self.then.as_ref().is_none_or(|then| then.is_for_tasks())
    }

    /// Returns `true` if the event has exactly one step and no sub-event.
    pub fn is_whole(&self) -> bool {
        let steps = [&self.none, &self.global, &self.alone, &self.anon];
        let lone = self.none.len() == 1 || self.none.is_empty();
        lone && steps.iter().map(|s| s.len()).sum::<usize>() == 1
            && self.alone.is_empty()
            && self.then.is_none()
    }
}

pub fn acts(writes: bool, reads: bool, inner: BoxedStrategy<Event>) -> BoxedStrategy<Vec<Act>> {
    let mut kinds = vec![
        (4, any::<u8>().prop_map(Act::Defer).boxed()),
        (2, inner.prop_map(|e| Act::Post(Box::new(e))).boxed()),
        (1, Just(Act::Panic).boxed()),
    ];
    if reads {
        kinds.push((4, Just(Act::Read).boxed()));
    }
    if writes {
        kinds.push((6, any::<u8>().prop_map(Act::Write).boxed()));
    }
    prop::collection::vec(prop::strategy::Union::new_weighted(kinds), 0..4).boxed()
}

pub fn event(depth: u32) -> BoxedStrategy<Event> {
    let inner = if depth == 0 { Just(empty()).boxed() } else { event(depth - 1) };
    let steps =
        |writes, reads, most| prop::collection::vec(acts(writes, reads, inner.clone()), 0..=most);
    // A sub-event cannot be posted to repair.
    let then = inner.clone().prop_map(|e| Box::new(Event { repairs: false, ..e }));
    let then = prop::option::weighted(0.3, then);
    let parts = (
        (any::<u8>(), prop::bool::weighted(0.1), any::<bool>()),
        steps(false, false, 2),
        steps(true, true, 2),
        prop::option::weighted(0.3, steps(true, true, 2)),
        steps(false, true, 2),
        then,
    );
    parts
        .prop_map(|((form, repairs, renounces), none, global, alone, anon, then)| {
            let alone = if global.is_empty() { vec![] } else { alone.unwrap_or_default() };
            Event { form, repairs, none, renounces, global, alone, anon, then }
        })
        .prop_map(|mut e| {
            if e.repairs {
                // A repair is posted as a whole event in global.
                let global = e.global.into_iter().next().unwrap_or_default();
                (e.none, e.alone, e.anon, e.then) = (vec![], vec![], vec![], None);
                e.global = vec![global];
            }
            e
        })
        .boxed()
}

pub fn empty() -> Event {
    Event {
        form: 0,
        repairs: false,
        none: vec![vec![]],
        renounces: false,
        global: vec![],
        alone: vec![],
        anon: vec![],
        then: None,
    }
}

pub type State = (u64, u64);

pub fn write(state: &mut State, k: u8) {
    state.0 = state.0.wrapping_mul(31).wrapping_add(u64::from(k));
    std::thread::yield_now();
    state.1 = state.1.wrapping_mul(37).wrapping_add(u64::from(k));
}

pub fn read(state: &State) -> State {
    let first = state.0;
    std::thread::yield_now();
    (first, state.1)
}

/// The outcome of a run: effects in order, reads by ticket, the last state.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub effects: Vec<(u64, u16)>,
    pub reads: BTreeMap<u64, Vec<State>>,
    pub state: State,
}

/// The number of an effect that is not deferred.
pub const AT_ONCE: u16 = 1_000;

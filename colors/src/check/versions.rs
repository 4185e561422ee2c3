//! The versions of the state, as a domain keeps them.
//!
//! The list goes from the oldest to the current version. Freeing a version moves the later ones
//! down, so that equal worlds compare as equal.

use super::State;
use super::steps::PinSteps;
use crate::{Fate, Mode};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Version<S, P> {
    state: S,
    pins: P,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Versions<S, P> {
    list: Vec<Version<S, P>>,
    /// The copy that the event in global works on, in a transactional domain.
    copy: Option<S>,
}

/// The version to free, if there is one.
pub(super) type Freed = Option<usize>;

impl<S: State, P: PinSteps> Versions<S, P> {
    pub(super) fn new(state: S) -> Self {
        Versions { list: vec![Version { state, pins: P::new() }], copy: None }
    }

    pub(super) fn current(&self) -> usize {
        self.list.len() - 1
    }

    pub(super) fn get(&self, version: usize) -> &S {
        &self.list[version].state
    }

    /// Returns the state as the event in global sees it.
    pub(super) fn written(&self) -> &S {
        self.copy.as_ref().unwrap_or_else(|| self.get(self.current()))
    }

    /// Stores what the event in global has written. In read_write mode this always happens in
    /// place, because no event is in anon.
    pub(super) fn write(&mut self, state: S, mode: Mode, transactional: bool) -> Freed {
        if transactional {
            self.copy = Some(state);
            return None;
        }
        let current = self.current();
        if mode == Mode::Snapshot && self.list[current].pins.is_read() {
            return self.replace(state);
        }
        self.list[current].state = state;
        None
    }

    /// Makes the copy the current version: the event has left global.
    pub(super) fn publish(&mut self) -> Freed {
        let state = self.copy.take()?;
        self.replace(state)
    }

    /// Drops the copy: the event has left global by a panic.
    pub(super) fn restore(&mut self) {
        self.copy = None;
    }

    /// Adds a reader of the current version, and returns the version's index.
    pub(super) fn pin(&mut self) -> usize {
        let current = self.current();
        self.list[current].pins.pin();
        current
    }

    pub(super) fn unpin(&mut self, version: usize) -> Freed {
        let fate = self.list[version].pins.unpin();
        (fate == Fate::Free).then_some(version)
    }

    pub(super) fn free(&mut self, version: usize) {
        self.list.remove(version);
    }

    fn replace(&mut self, state: S) -> Freed {
        let old = self.current();
        self.list.push(Version { state, pins: P::new() });
        let fate = self.list[old].pins.retire();
        (fate == Fate::Free).then_some(old)
    }
}

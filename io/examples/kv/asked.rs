//! Saves on the blocking pool, one at a time. All requests that arrive during a save share the next
//! one, so any number of requests makes at most two copies of the stored data.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A callback that takes the reply to a request.
pub type Then = Box<dyn FnOnce(Vec<u8>) + Send>;

/// The requests for a save, and whether a save runs.
#[derive(Default)]
pub struct Asked(Mutex<State>);

#[derive(Default)]
struct State {
    runs: bool,
    asked: Vec<Then>,
}

impl Asked {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request for a save. Returns `true` if no save runs: then the caller begins one.
    pub fn begin(&self, then: Then) -> bool {
        let mut state = self.state();
        state.asked.push(then);
        !std::mem::replace(&mut state.runs, true)
    }

    /// Takes all requests so far. The save of the current data answers them.
    pub fn take(&self) -> Vec<Then> {
        std::mem::take(&mut self.state().asked)
    }

    /// Ends a save and sends `reply` to the requests that it answers. Returns `true` if there are
    /// new requests: then the caller begins the next save.
    pub fn end(&self, asked: Vec<Then>, reply: &[u8]) -> bool {
        asked.into_iter().for_each(|then| then(reply.to_vec()));
        let mut state = self.state();
        state.runs = !state.asked.is_empty();
        state.runs
    }
}

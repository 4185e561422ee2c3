//! Saves that run beside the workers: one at a time. Whoever asks meanwhile shares the next one, so
//! that many who ask cost no more than two copies of what is stored.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Somebody who gets a reply.
pub type Then = Box<dyn FnOnce(Vec<u8>) + Send>;

/// Who has asked for a save, and whether one runs.
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

    /// One more. True: no save runs, and the caller begins one.
    pub fn begin(&self, then: Then) -> bool {
        let mut state = self.state();
        state.asked.push(then);
        !std::mem::replace(&mut state.runs, true)
    }

    /// Those who have asked by now: what is there now is what they get saved.
    pub fn take(&self) -> Vec<Then> {
        std::mem::take(&mut self.state().asked)
    }

    /// A save has ended, with this reply for those who had asked. True: others have asked
    /// meanwhile, and the caller begins the next one.
    pub fn end(&self, asked: Vec<Then>, reply: &[u8]) -> bool {
        asked.into_iter().for_each(|then| then(reply.to_vec()));
        let mut state = self.state();
        state.runs = !state.asked.is_empty();
        state.runs
    }
}

//! The removal of deleted data, one tree after the other, so that large trees do not occupy all
//! threads of the blocking pool.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dapple::Handle;

use crate::files::share::remove::Trash;

/// A queue of deleted data. See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Reaper(Arc<Mutex<ReaperState>>);

#[derive(Debug, Default)]
struct ReaperState {
    waiting: VecDeque<Trash>,
    /// Whether a thread of the blocking pool is removing data.
    is_running: bool,
}

impl Reaper {
    fn state(&self) -> MutexGuard<'_, ReaperState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes deleted data on the blocking pool, after what was queued before.
    pub(super) fn take(&self, trash: Trash, handle: &Handle) {
        if trash.is_empty() {
            return;
        }
        {
            let mut state = self.state();
            state.waiting.push_back(trash);
            if std::mem::replace(&mut state.is_running, true) {
                return;
            }
        }
        let this = self.clone();
        handle.offload(move || this.work()).detach();
    }

    /// Removes data until the queue is empty.
    fn work(&self) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.waiting.pop_front();
                state.is_running = next.is_some();
                next
            };
            let Some(trash) = next else { return };
            if let Err(error) = trash.remove() {
                tracing::warn!(%error, "deleted data takes up space until the next start");
            }
        }
    }
}

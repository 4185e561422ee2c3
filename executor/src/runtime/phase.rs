//! The phases of a runtime's life (E11).
//!
//! The phase only goes up. A thread that changes it fences, and then looks at what has to be ended.
//! A thread that makes something that has to be ended (puts it into an inbox, a timer wheel or the
//! list of tasks) fences, and then reads the phase. One of the two sees what the other has done.

use crate::sync::{AtomicU8, Ordering, fence};

/// A phase of a runtime; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Every post is accepted.
    Running,
    /// Posts from outside are refused, and posts of running work are accepted.
    Draining,
    /// Posts from outside are refused, and no domain commits. Workers drop the events that are
    /// left, and those that are still posted.
    Stopping,
    /// No worker serves its queues. A thread that queues something disposes of it (see `shutdown`).
    Closed,
}

/// The phase of one runtime.
pub(crate) struct PhaseWord(AtomicU8);

impl PhaseWord {
    pub(crate) fn new() -> Self {
        PhaseWord(AtomicU8::new(Phase::Running as u8))
    }

    #[inline]
    pub(crate) fn get(&self) -> Phase {
        match self.0.load(Ordering::Relaxed) {
            0 => Phase::Running,
            1 => Phase::Draining,
            2 => Phase::Stopping,
            _ => Phase::Closed,
        }
    }

    /// Advances to `phase`. Returns `false` if the runtime had reached it already.
    pub(crate) fn advance(&self, phase: Phase) -> bool {
        let before = self.0.fetch_max(phase as u8, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        before < phase as u8
    }
}

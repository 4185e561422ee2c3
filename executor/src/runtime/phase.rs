//! How far a runtime has come (E11).
//!
//! The phase only goes up. Who changes it fences, and then looks at what it has to end; who makes
//! something that has to be ended (puts it into an inbox, a wheel, the list of tasks) fences, and
//! then looks at the phase. One of the two sees what the other has done.

use crate::sync::{AtomicU8, Ordering, fence};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Everything is accepted.
    Running,
    /// Posts from outside are refused, those of running work accepted.
    Draining,
    /// Posts from outside are refused, and no domain commits; workers drop what is left, and what
    /// is still posted.
    Stopping,
    /// No worker serves any longer; a thread that queues something disposes of it (see `shutdown`).
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

    /// Goes up to `phase`; false if it had come that far already.
    pub(crate) fn advance(&self, phase: Phase) -> bool {
        let before = self.0.fetch_max(phase as u8, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        before < phase as u8
    }
}

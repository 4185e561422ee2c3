//! Whether a loop on a worker's stack waits for the next step of a domain's event; see
//! `domain::done`.

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    /// There is no such loop.
    Off,
    /// It has called the last step.
    On,
    /// It has, and the event ends with it: the worker is as good as free.
    Ending,
    /// The next step is there.
    Next,
}

impl Steps {
    /// The event ends, if it is one of several steps.
    pub(crate) fn ending(self) -> Steps {
        if self == Steps::On { Steps::Ending } else { self }
    }

    /// Its end takes time.
    pub(crate) fn not_ending(self) -> Steps {
        if self == Steps::Ending { Steps::On } else { self }
    }

    /// Says whether what may run now waits for this worker.
    pub(crate) fn is_busy(self) -> bool {
        matches!(self, Steps::On | Steps::Next)
    }
}

//! The progress of a loop on a worker's stack that runs the steps of a domain's event; see
//! `domain::done`.

/// The state of the loop that runs a domain's steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    /// No loop runs.
    Off,
    /// The loop has called a step.
    On,
    /// The loop has called the last step of the event, so the worker is as good as free.
    Ending,
    /// The loop has been given the next step.
    Next,
}

impl Steps {
    /// Notes that the event ends, if a loop runs its steps.
    pub(crate) fn ending(self) -> Steps {
        if self == Steps::On { Steps::Ending } else { self }
    }

    /// Notes that the event's end takes time, so the worker is not free.
    pub(crate) fn not_ending(self) -> Steps {
        if self == Steps::Ending { Steps::On } else { self }
    }

    /// Returns `true` if what becomes runnable has to wait for this worker.
    pub(crate) fn is_busy(self) -> bool {
        matches!(self, Steps::On | Steps::Next)
    }
}

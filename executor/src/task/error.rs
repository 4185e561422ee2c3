//! Why something that was waited for has no outcome.

use std::fmt;

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinError(Why);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Cancelled,
    Panicked,
    Poisoned,
}

impl JoinError {
    pub(crate) fn cancelled() -> Self {
        JoinError(Why::Cancelled)
    }

    pub(crate) fn panicked() -> Self {
        JoinError(Why::Panicked)
    }

    pub(crate) fn poisoned() -> Self {
        JoinError(Why::Poisoned)
    }

    /// It was dropped before it had ended: aborted, or left over by a shutdown.
    pub fn is_cancelled(&self) -> bool {
        self.0 == Why::Cancelled
    }

    /// It panicked. The hook of [`Builder::on_panic`](crate::Builder::on_panic) got the payload.
    pub fn is_panic(&self) -> bool {
        self.0 == Why::Panicked
    }

    /// It was not run, as an earlier event had panicked and poisoned the value or the domain.
    pub fn is_poisoned(&self) -> bool {
        self.0 == Why::Poisoned
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Why::Cancelled => "it was dropped before it had ended",
            Why::Panicked => "it panicked",
            Why::Poisoned => "an earlier event panicked and left the value poisoned",
        })
    }
}

impl std::error::Error for JoinError {}

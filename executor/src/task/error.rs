//! The error of a wait that ends without a result.

use std::fmt;

/// The reason why a task, a call or blocking work has no result.
///
/// # Examples
///
/// ```
/// use dapple::{Colored, Runtime};
/// let rt = Runtime::new()?;
/// let list = Colored::new(&rt.handle().new_color(), Vec::<u8>::new());
/// let first = list.call(|list, _| list[0]);
/// assert!(first.join().unwrap_err().is_panic());
/// // That panic has poisoned the list.
/// let length = list.call(|list, _| list.len());
/// assert!(length.join().unwrap_err().is_poisoned());
/// # Ok::<(), std::io::Error>(())
/// ```
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

    /// Returns `true` if the work was dropped before it had ended.
    ///
    /// Work is dropped when it is aborted, or when a shutdown refuses or drops it.
    pub fn is_cancelled(&self) -> bool {
        self.0 == Why::Cancelled
    }

    /// Returns `true` if the work panicked.
    ///
    /// The hook of [`Builder::on_panic`](crate::Builder::on_panic) got the payload.
    pub fn is_panic(&self) -> bool {
        self.0 == Why::Panicked
    }

    /// Returns `true` if the value or the domain was poisoned by an earlier event that panicked.
    ///
    /// The work was not run, or what it deferred in the domain was dropped.
    pub fn is_poisoned(&self) -> bool {
        self.0 == Why::Poisoned
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Why::Cancelled => "the work was dropped before it ended",
            Why::Panicked => "the work panicked",
            Why::Poisoned => "an earlier event panicked and poisoned the value or the domain",
        })
    }
}

impl std::error::Error for JoinError {}

//! The scheduler's view of pollers; see [`park`](crate::park).

/// Wakes a [`Park`](crate::park::Park).
///
/// An implementation must not panic, because posts call it.
///
/// See the example of [`park`](crate::park).
pub trait Unpark: Send + Sync {
    /// Ends the current wait, or the next one if the poller is not waiting.
    fn unpark(&self);
}

/// A change in whether a poller attends to another one; see
/// [`Park::attend`](crate::park::Park::attend).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// The poller attends to the other one from now on.
    Begins,
    /// The poller no longer attends to the other one.
    Ends,
}

//! What a scheduler asks of pollers; see [`park`](crate::park).

/// Wakes a [`Park`](crate::park::Park). It must not panic: it is called inside of posts.
pub trait Unpark: Send + Sync {
    /// Ends the current wait, or the next one.
    fn unpark(&self);
}

/// Whether a poller attends to another one; see [`Park::attend`](crate::park::Park::attend).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// From now on.
    Begins,
    /// No longer.
    Ends,
}

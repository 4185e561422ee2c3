//! Errors that several modules share.

use std::error::Error;
use std::fmt;

/// The reason why a `try_` method did not accept a closure, which is handed back in it.
///
/// See [`into_inner`](Self::into_inner) for an example.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryPostError<F> {
    /// The limit on waiting events is reached.
    Full(F),
    /// A shutdown has begun.
    Closed(F),
}

impl<F> TryPostError<F> {
    /// Returns the closure that was not accepted.
    ///
    /// # Examples
    ///
    /// ```
    /// let here = dapple::Runtime::builder().workers(1).build_here()?;
    /// let h = here.handle();
    /// let color = h.color_builder().capacity(1).build();
    /// color.post(|_| println!("takes the room"));
    /// let refused = h.try_post(&color, |_| println!("is posted later")).unwrap_err();
    /// assert!(refused.is_full());
    /// here.wait_idle();                           // makes room
    /// h.try_post(&color, refused.into_inner()).unwrap();
    /// here.wait_idle();
    /// assert_eq!(here.metrics().events(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_inner(self) -> F {
        match self {
            TryPostError::Full(f) | TryPostError::Closed(f) => f,
        }
    }

    pub(crate) fn map<G>(self, map: impl FnOnce(F) -> G) -> TryPostError<G> {
        match self {
            TryPostError::Full(f) => TryPostError::Full(map(f)),
            TryPostError::Closed(f) => TryPostError::Closed(map(f)),
        }
    }

    /// Returns `true` if the limit was reached.
    pub fn is_full(&self) -> bool {
        matches!(self, TryPostError::Full(_))
    }

    /// Returns `true` if a shutdown had begun.
    pub fn is_closed(&self) -> bool {
        matches!(self, TryPostError::Closed(_))
    }
}

impl<F> fmt::Debug for TryPostError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() { "Full(..)" } else { "Closed(..)" })
    }
}

impl<F> fmt::Display for TryPostError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryPostError::Full(_) => "the limit has been reached",
            TryPostError::Closed(_) => "the runtime is shutting down",
        })
    }
}

impl<F> Error for TryPostError<F> {}

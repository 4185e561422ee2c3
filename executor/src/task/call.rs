//! Posts that answer.

use std::panic::Location;

use super::error::JoinError;
use super::join::JoinHandle;
use super::packet::promise;
use crate::{Color, Colored, Cx};

impl Color {
    /// Posts `f` and hands out what it returns: for async code, and for threads that wait.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let color = rt.handle().new_color();
    /// assert_eq!(color.call(|_| 6 * 7).join(), Ok(42));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "ask")]
    pub fn call<R, F>(&self, f: F) -> JoinHandle<R>
    where
        R: Send + 'static,
        F: FnOnce(&mut Cx) -> R + Send + 'static,
    {
        let (promise, packet) = promise();
        self.post_from_anywhere(move |cx| promise.keep_by(|| f(cx)), Location::caller());
        JoinHandle::new(packet)
    }
}

impl<T: Send + 'static> Colored<T> {
    /// Posts an event that gets the value, and hands out what it returns: for async code, and for threads that wait.
    ///
    /// # Examples
    ///
    /// ```
    /// let rt = dapple::Runtime::new()?;
    /// let next = dapple::Colored::new(&rt.handle().new_color(), 0);
    /// let mut take = || next.call(|n, _| {
    ///     *n += 1;
    ///     *n
    /// });
    /// assert_eq!((take().join(), take().join()), (Ok(1), Ok(2)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    #[doc(alias = "ask")]
    pub fn call<R, F>(&self, f: F) -> JoinHandle<R>
    where
        R: Send + 'static,
        F: FnOnce(&mut T, &mut Cx) -> R + Send + 'static,
    {
        let (promise, packet) = promise();
        let event = self.event_if_poisoned(move |value, cx| match value {
            Some(value) => promise.keep_by(|| f(value, cx)),
            None => promise.keep(Err(JoinError::poisoned())),
        });
        self.color().post_from_anywhere(event, Location::caller());
        JoinHandle::new(packet)
    }

    /// The same with a shared event, which reads the value beside others.
    #[track_caller]
    pub fn call_shared<R, F>(&self, f: F) -> JoinHandle<R>
    where
        T: Sync,
        R: Send + 'static,
        F: FnOnce(&T, &mut Cx) -> R + Send + 'static,
    {
        let (promise, packet) = promise();
        let event = self.shared_event_if_poisoned(move |value, cx| match value {
            Some(value) => promise.keep_by(|| f(value, cx)),
            None => promise.keep(Err(JoinError::poisoned())),
        });
        self.color().post_shared_from_anywhere(event, Location::caller());
        JoinHandle::new(packet)
    }
}

//! Everything that waits, for threads that may be fibers of a simulation (see `crate::sim`).
//!
//! On a thread that runs no simulation each type does what the standard library's type inside of it
//! does. A fiber never blocks its thread: where it would, another fiber goes on.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult};
use std::time::Duration;

use super::seam;

/// Applies `f` to the guard of a lock result, and keeps the poison.
fn map<A, B>(locked: LockResult<A>, f: impl FnOnce(A) -> B) -> LockResult<B> {
    match locked {
        Ok(guard) => Ok(f(guard)),
        Err(poisoned) => Err(PoisonError::new(f(poisoned.into_inner()))),
    }
}

/// A mutex that suspends a fiber instead of blocking its thread.
#[derive(Default)]
pub struct Mutex<T: ?Sized>(std::sync::Mutex<T>);

/// The value of a locked mutex.
#[must_use = "if it is dropped, the mutex is free"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// `None` only while a [`Condvar`] has released the mutex.
    guard: Option<std::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Mutex(std::sync::Mutex::new(value))
    }

    pub fn into_inner(self) -> LockResult<T> {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        if !seam::is_fiber() {
            return map(self.0.lock(), |guard| self.guard(guard));
        }
        loop {
            match self.0.try_lock() {
                Ok(guard) => return Ok(self.guard(guard)),
                Err(TryLockError::Poisoned(poisoned)) => {
                    return map(Err(poisoned), |guard| self.guard(guard));
                }
                Err(TryLockError::WouldBlock) if seam::may_hold() => {
                    spin();
                }
                // A thread that runs no fiber holds the lock.
                Err(TryLockError::WouldBlock) => {
                    return map(self.0.lock(), |guard| self.guard(guard));
                }
            }
        }
    }

    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Ok(self.guard(guard)),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            Err(TryLockError::Poisoned(poisoned)) => {
                Err(PoisonError::new(self.guard(poisoned.into_inner())).into())
            }
        }
    }

    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.0.get_mut()
    }

    fn guard<'a>(&'a self, guard: std::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        seam::takes_lock();
        MutexGuard { mutex: self, guard: Some(guard) }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect("it is there while it is reachable")
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("it is there while it is reachable")
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.guard.take().is_some() {
            seam::gives_lock();
        }
    }
}

/// A condition variable that suspends a fiber instead of blocking its thread.
#[derive(Debug, Default)]
pub struct Condvar(std::sync::Condvar);

/// The result of a wait with a time limit: whether the limit had passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    pub const fn new() -> Self {
        Condvar(std::sync::Condvar::new())
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        map(self.sleep(guard, None), |(guard, _)| guard)
    }

    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        self.sleep(guard, Some(limit))
    }

    fn sleep<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        limit: Option<Duration>,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let mutex = guard.mutex;
        let Some(inner) = guard.guard.take() else { unreachable!("it is there until now") };
        seam::gives_lock();
        if seam::is_fiber() {
            // No other fiber runs between these two lines, so a fiber that notifies finds this one
            // waiting.
            drop(inner);
            let waits = seam::with(|simulation| simulation.wait(self.key(), limit));
            let is_over = waits.unwrap_or(false);
            return map(mutex.lock(), |guard| (guard, WaitTimeoutResult(is_over)));
        }
        match limit {
            None => map(self.0.wait(inner), |inner| (mutex.guard(inner), WaitTimeoutResult(false))),
            Some(limit) => map(self.0.wait_timeout(inner, limit), |(inner, over)| {
                (mutex.guard(inner), WaitTimeoutResult(over.timed_out()))
            }),
        }
    }

    pub fn notify_one(&self) {
        self.notify(1, std::sync::Condvar::notify_one);
    }

    pub fn notify_all(&self) {
        self.notify(usize::MAX, std::sync::Condvar::notify_all);
    }

    fn notify(&self, most: usize, otherwise: impl FnOnce(&std::sync::Condvar)) {
        let notified = seam::with(|simulation| simulation.notify(self.key(), most));
        if notified.is_none() {
            otherwise(&self.0);
        }
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// A parker for one thread, which sleeps until another thread unparks it. An unpark that comes
/// first ends the next sleep.
#[derive(Debug)]
pub struct Parker(Unparker);

/// A handle that wakes the thread of a [`Parker`].
#[derive(Clone, Debug)]
pub struct Unparker(Arc<(Mutex<bool>, Condvar)>);

impl Default for Parker {
    fn default() -> Self {
        Parker::new()
    }
}

impl Parker {
    pub fn new() -> Self {
        Parker(Unparker(Arc::new((Mutex::new(false), Condvar::new()))))
    }

    pub fn park(&self) {
        let (token, given) = &*self.0.0;
        let mut token = token.lock().unwrap_or_else(PoisonError::into_inner);
        while !std::mem::take(&mut *token) {
            token = given.wait(token).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sleeps until it is unparked, for `limit` at most. The call may also return earlier.
    pub fn park_timeout(&self, limit: Duration) {
        let (token, given) = &*self.0.0;
        let mut token = token.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::take(&mut *token) && !limit.is_zero() {
            let waited = given.wait_timeout(token, limit);
            token = waited.unwrap_or_else(PoisonError::into_inner).0;
            *token = false;
        }
    }

    pub fn unparker(&self) -> &Unparker {
        &self.0
    }
}

impl Unparker {
    pub fn unpark(&self) {
        let (token, given) = &*self.0;
        *token.lock().unwrap_or_else(PoisonError::into_inner) = true;
        given.notify_one();
    }
}

/// Lets another fiber go on, if the caller is a fiber. Returns `false` if it is not.
fn spin() -> bool {
    seam::with(|simulation| simulation.spin()).is_some()
}

/// Puts the calling thread or fiber to sleep for `time`.
#[allow(clippy::disallowed_methods, reason = "the one allowed call")]
pub fn sleep(time: Duration) {
    if seam::with(|simulation| simulation.sleep(time)).is_none() {
        std::thread::sleep(time);
    }
}

/// Yields the core to another thread, or lets another fiber go on.
#[allow(clippy::disallowed_methods, reason = "the one allowed call")]
pub fn yield_now() {
    if !spin() {
        std::thread::yield_now();
    }
}

/// Marks one iteration of a loop that waits for another thread.
#[inline]
pub fn spin_loop() {
    if !spin() {
        std::hint::spin_loop();
    }
}

pub mod thread {
    //! Threads, or, when a fiber starts them, fibers of the same simulation.

    use super::seam::{self, FiberHandle};
    use super::{Duration, io};

    /// The settings of a thread that is about to be started.
    #[derive(Debug)]
    pub struct Builder {
        inner: std::thread::Builder,
        name: String,
    }

    impl Default for Builder {
        fn default() -> Self {
            Builder::new()
        }
    }

    impl Builder {
        pub fn new() -> Self {
            Builder { inner: std::thread::Builder::new(), name: String::new() }
        }

        pub fn name(mut self, name: String) -> Self {
            self.name.clone_from(&name);
            self.inner = self.inner.name(name);
            self
        }

        pub fn stack_size(mut self, bytes: usize) -> Self {
            self.inner = self.inner.stack_size(bytes);
            self
        }

        /// Starts the thread, or a fiber if the caller is one.
        ///
        /// # Errors
        ///
        /// Returns the error of the operating system if it refuses a thread.
        pub fn spawn<F>(self, f: F) -> io::Result<JoinHandle<()>>
        where
            F: FnOnce() + Send + 'static,
        {
            if !seam::is_fiber() {
                return self.inner.spawn(f).map(JoinHandle::Thread);
            }
            let fiber = seam::with(|simulation| simulation.spawn(self.name, Box::new(f)));
            fiber.map(JoinHandle::Fiber).ok_or_else(|| io::ErrorKind::Other.into())
        }
    }

    /// A handle to a thread or a fiber that was started.
    #[derive(Debug)]
    pub enum JoinHandle<T> {
        Thread(std::thread::JoinHandle<T>),
        Fiber(FiberHandle),
    }

    impl JoinHandle<()> {
        pub fn is_finished(&self) -> bool {
            match self {
                JoinHandle::Thread(thread) => thread.is_finished(),
                JoinHandle::Fiber(fiber) => fiber.is_finished(),
            }
        }

        /// Waits for the end of the thread or fiber.
        ///
        /// # Errors
        ///
        /// Returns the payload if the thread panicked. For a fiber the result is always `Ok`.
        pub fn join(self) -> std::thread::Result<()> {
            match self {
                JoinHandle::Thread(thread) => thread.join(),
                JoinHandle::Fiber(fiber) => {
                    while !fiber.is_finished() {
                        super::sleep(Duration::from_micros(1));
                    }
                    Ok(())
                }
            }
        }
    }
}

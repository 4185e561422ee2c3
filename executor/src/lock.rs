//! A lock for a few dozen instructions; now and then some thousand.
//!
//! Its release is one store, and the last access to its memory: whoever gets the lock next may free what it is
//! part of. That, and that taking it is one read-modify-write, is why it is not the standard library's
//! mutex. Who finds it held spins, and soon yields, as the holder may have been preempted. No user code runs
//! under it.
//!
//! Orderings: `held` is taken with acquire and released with release, each the partner of the other.
//!
//! Loom cannot explore a loop that waits by exchanges; under it the lock is its mutex.

#[cfg(not(loom))]
use crate::sync::{AtomicBool, Ordering, UnsafeCell, yield_now};

/// A lock that guards no value of its own.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct Flag(AtomicBool);

/// See the module.
#[cfg(not(loom))]
pub(crate) struct Lock<T> {
    held: Flag,
    value: UnsafeCell<T>,
}

// SAFETY: one thread at a time reaches the value.
#[cfg(not(loom))]
unsafe impl<T: Send> Send for Lock<T> {}
// SAFETY: as above.
#[cfg(not(loom))]
unsafe impl<T: Send> Sync for Lock<T> {}

/// Looks at a held lock before the core is given away.
#[cfg(not(loom))]
const SPINS: u32 = 64;

#[cfg(not(loom))]
impl Flag {
    pub(crate) const fn new() -> Self {
        Flag(AtomicBool::new(false))
    }

    /// Takes the lock.
    #[inline]
    pub(crate) fn acquire(&self) {
        if self.0.swap(true, Ordering::Acquire) {
            self.wait();
        }
    }

    #[cold]
    fn wait(&self) {
        for _ in 0..SPINS {
            crate::sync::spin_loop();
            // A look does not take the line from the holder.
            if !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::Acquire) {
                return;
            }
        }
        while self.0.swap(true, Ordering::Acquire) {
            yield_now();
        }
    }

    /// Gives it back; by who has taken it.
    #[inline]
    pub(crate) fn release(&self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(not(loom))]
impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Lock { held: Flag::new(), value: UnsafeCell::new(value) }
    }

    /// Runs `f` on the value while nobody else has it.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        self.held.acquire();
        let release = Release(&self.held);
        // SAFETY: we hold the lock.
        let result = self.value.with_mut(|value| f(unsafe { &mut *value }));
        drop(release);
        result
    }
}

/// Releases, also when what ran under the lock panics.
#[cfg(not(loom))]
struct Release<'a>(&'a Flag);

#[cfg(not(loom))]
impl Drop for Release<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(loom)]
pub(crate) struct Flag {
    held: crate::sync::Mutex<bool>,
    released: loom::sync::Condvar,
}

#[cfg(loom)]
impl Flag {
    pub(crate) fn new() -> Self {
        Flag { held: crate::sync::Mutex::new(false), released: loom::sync::Condvar::new() }
    }

    pub(crate) fn acquire(&self) {
        let mut held = self.held.lock().unwrap();
        while *held {
            held = self.released.wait(held).unwrap();
        }
        *held = true;
    }

    pub(crate) fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_one();
    }
}

#[cfg(loom)]
pub(crate) struct Lock<T>(crate::sync::Mutex<T>);

#[cfg(loom)]
impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Lock(crate::sync::Mutex::new(value))
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }
}

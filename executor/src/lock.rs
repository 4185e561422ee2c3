//! A spin lock for critical sections of a few dozen instructions, occasionally of some thousand.
//!
//! A release is one store, and it is the last access to the lock's memory: the next thread that
//! gets the lock may free the memory that contains it. That is one reason not to use the standard
//! library's mutex; the other is that taking this lock is one read-modify-write. A thread that
//! finds the lock held looks at it 64 times, and then yields between tries, as the holder may have
//! been preempted. No user code runs under the lock.
//!
//! Orderings: `held` is taken with acquire and released with release. These two are each other's
//! partners.
//!
//! Most models use a lock that is loom's mutex, because loom explores a mutex faster than a loop of
//! exchanges. `models/lock.rs` shows that the release of the real lock orders what comes after it.

#[cfg(not(loom))]
use crate::sync::UnsafeCell;
#[cfg(not(loom))]
pub(crate) use spin::Flag;

pub(crate) mod spin {
    //! The real lock, as opposed to the one of the models.

    use crate::sync::{AtomicBool, Ordering, yield_now};

    /// A lock that guards no value of its own.
    #[derive(Debug)]
    pub(crate) struct Flag(AtomicBool);

    /// The number of looks at a held lock before the core is yielded.
    const SPINS: u32 = 64;

    impl Flag {
        #[cfg(not(loom))]
        pub(crate) const fn new() -> Self {
            Flag(AtomicBool::new(false))
        }

        #[cfg(loom)]
        pub(crate) fn new() -> Self {
            Flag(AtomicBool::new(false))
        }

        /// Takes the lock.
        #[inline]
        pub(crate) fn acquire(&self) {
            if !self.try_acquire() {
                self.wait();
            }
        }

        /// Takes the lock if it is free. Returns `true` if it was taken.
        #[cfg(not(loom))]
        #[inline]
        pub(crate) fn try_acquire(&self) -> bool {
            !self.0.swap(true, Ordering::Acquire)
        }

        /// Takes the lock if it is free. Returns `true` if it was taken. Loom treats an exchange
        /// that changes nothing as a later store, so this version does not store then.
        #[cfg(loom)]
        pub(crate) fn try_acquire(&self) -> bool {
            self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
        }

        #[cold]
        fn wait(&self) {
            for _ in 0..SPINS {
                crate::sync::spin_loop();
                // A load does not take the cache line from the holder.
                if !self.0.load(Ordering::Relaxed) && self.try_acquire() {
                    return;
                }
            }
            while !self.try_acquire() {
                yield_now();
            }
        }

        /// Releases the lock, which the caller holds.
        #[inline]
        pub(crate) fn release(&self) {
            self.0.store(false, Ordering::Release);
        }
    }
}

/// A value under a spin lock: see the [module](self).
#[cfg(not(loom))]
pub(crate) struct Lock<T> {
    held: Flag,
    value: UnsafeCell<T>,
}

// SAFETY: a lock that is sent takes its value along, which is `Send`.
#[cfg(not(loom))]
unsafe impl<T: Send> Send for Lock<T> {}
// SAFETY: only the holder of the lock reaches the value, so threads that share the lock pass the
// value from one to the next, and it is `Send`.
#[cfg(not(loom))]
unsafe impl<T: Send> Sync for Lock<T> {}

#[cfg(not(loom))]
impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Lock { held: Flag::new(), value: UnsafeCell::new(value) }
    }

    /// Runs `f` on the value under the lock.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        self.held.acquire();
        let release = Release(&self.held);
        // SAFETY: this thread holds the lock until `release` is dropped, so there is no other
        // reference to the value.
        let result = self.value.with_mut(|value| f(unsafe { &mut *value }));
        drop(release);
        result
    }
}

/// Releases the lock when it is dropped, also if the code under the lock panics.
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

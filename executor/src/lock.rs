//! A lock for a few dozen instructions; now and then some thousand.
//!
//! Its release is one store, and the last access to its memory: the thread that gets the lock next
//! may free what it is part of. That, and that taking it is one read-modify-write, is why it is not
//! the standard library's mutex. Who finds it held spins, and soon yields, as the holder may have
//! been preempted. No user code runs under it.
//!
//! Orderings: `held` is taken with acquire and released with release, each the partner of the
//! other.
//!
//! Most models have a lock that is loom's mutex, as loom explores that one faster than a loop that
//! waits by exchanges. That the release of the real one orders what comes
//! after it is shown by `models/lock.rs`.

#[cfg(not(loom))]
use crate::sync::UnsafeCell;
#[cfg(not(loom))]
pub(crate) use spin::Flag;

pub(crate) mod spin {
    //! The real lock.

    use crate::sync::{AtomicBool, Ordering, yield_now};

    /// A lock that guards no value of its own.
    #[derive(Debug)]
    pub(crate) struct Flag(AtomicBool);

    /// Looks at a held lock before the core is given away.
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

        /// Takes the lock if it is free.
        #[cfg(not(loom))]
        #[inline]
        pub(crate) fn try_acquire(&self) -> bool {
            !self.0.swap(true, Ordering::Acquire)
        }

        /// Takes the lock if it is free. Loom takes an exchange that changes nothing for a later
        /// store, so this one does not store then.
        #[cfg(loom)]
        pub(crate) fn try_acquire(&self) -> bool {
            self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
        }

        #[cold]
        fn wait(&self) {
            for _ in 0..SPINS {
                crate::sync::spin_loop();
                // A look does not take the line from the holder.
                if !self.0.load(Ordering::Relaxed) && self.try_acquire() {
                    return;
                }
            }
            while !self.try_acquire() {
                yield_now();
            }
        }

        /// Gives it back; by who has taken it.
        #[inline]
        pub(crate) fn release(&self) {
            self.0.store(false, Ordering::Release);
        }
    }
}

/// See the module.
#[cfg(not(loom))]
pub(crate) struct Lock<T> {
    held: Flag,
    value: UnsafeCell<T>,
}

// SAFETY: one thread at a time reaches the value.
#[cfg(not(loom))]
unsafe impl<T: Send> Send for Lock<T> {}
// SAFETY: one thread at a time reaches the value, which is Send.
#[cfg(not(loom))]
unsafe impl<T: Send> Sync for Lock<T> {}

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

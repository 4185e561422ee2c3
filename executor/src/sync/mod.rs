//! The only module that imports atomics, locks and threads, for this crate and for `dapple-io`.
//!
//! Everything in here that waits (a lock, a condition variable, the end of a thread, a sleep) is a
//! place where something else can run instead. With the feature `sim`, a simulation runs another
//! fiber there. [`point()`] marks further places where a simulation may switch to another thread.
//!
//! Under `--cfg loom` the types are loom's, so that the modelled modules (see `docs/TESTING.md`)
//! run under its scheduler. Otherwise the types are the standard library's.

#[cfg(loom)]
pub use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence},
    sync::{Arc, Condvar, Mutex},
    thread::yield_now,
};
#[cfg(not(loom))]
pub use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering, fence,
};

/// The standard library's type, under loom too: it is for debug checks and statistics, which are
/// not modelled.
#[cfg(any(not(loom), debug_assertions))]
pub use std::sync::atomic::AtomicU64;

#[doc(hidden)]
pub mod mutant;
mod point;
#[cfg(all(feature = "sim", not(loom)))]
pub(crate) mod seam;
#[cfg(all(feature = "sim", not(loom)))]
mod simulated;
#[cfg(not(loom))]
mod told;

pub(crate) use mutant::{Mutant, mutant};
pub use point::{Point, point};
#[cfg(not(loom))]
pub(crate) use told::*;
#[cfg(not(loom))]
pub use told::{Reached, Sort};

#[cfg(not(loom))]
pub use std::sync::{Arc, LazyLock, OnceLock, PoisonError, RwLock, TryLockError, Weak};
#[cfg(not(loom))]
pub use std::thread::{available_parallelism, panicking};

#[cfg(not(any(feature = "sim", loom)))]
pub use crossbeam_utils::sync::{Parker, Unparker};
#[cfg(all(feature = "sim", not(loom)))]
pub use simulated::{
    Condvar, Mutex, MutexGuard, Parker, Unparker, sleep, spin_loop, thread, yield_now,
};
#[cfg(not(any(feature = "sim", loom)))]
pub use std::{
    hint::spin_loop,
    sync::{Condvar, Mutex, MutexGuard},
    thread,
};

/// Puts the calling thread to sleep for `time`.
#[cfg(not(any(feature = "sim", loom)))]
#[allow(clippy::disallowed_methods, reason = "the one allowed call")]
pub fn sleep(time: std::time::Duration) {
    thread::sleep(time);
}

/// Yields the core to another thread.
#[cfg(not(any(feature = "sim", loom)))]
#[allow(clippy::disallowed_methods, reason = "the one allowed call")]
pub fn yield_now() {
    thread::yield_now();
}

/// Returns `true` if the caller runs in a fiber of a simulation.
#[cfg(not(loom))]
#[inline(always)]
pub fn is_simulated() -> bool {
    #[cfg(feature = "sim")]
    return seam::is_fiber();
    #[cfg(not(feature = "sim"))]
    false
}

/// Locks a mutex, poisoned or not.
///
/// Most code that runs under a lock of these crates cannot panic. The rest leaves the guarded value
/// consistent when it panics: the code of a key in a palette, a `Park`, and the drops at the end of
/// a runtime.
#[cfg(not(loom))]
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks a mutex, poisoned or not, unless it is locked. Returns `None` if it is.
#[cfg(not(loom))]
pub fn try_lock<T: ?Sized>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cfg(loom)]
pub use loom::hint::spin_loop;

/// The standard library's `UnsafeCell`, with loom's interface.
#[cfg(not(loom))]
#[derive(Debug)]
pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub const fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    pub fn get(&self) -> *mut T {
        self.0.get()
    }

    #[inline]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

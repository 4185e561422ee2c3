//! The one place that imports atomics and threads.
//!
//! Under `--cfg loom` the types are loom's, so that the modules that are modelled (see
//! `docs/TESTING.md`) run under its scheduler; otherwise they are the standard library's.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence,
};

/// The standard library's, under loom too: for debug checks and statistics, which are not modelled.
#[cfg(any(not(loom), debug_assertions))]
pub(crate) use std::sync::atomic::AtomicU64;

#[cfg(not(loom))]
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock};
#[cfg(not(loom))]
pub(crate) use std::thread;

/// Locks a mutex, poisoned or not: no lock of this crate is held while user code runs, so what a
/// lock guards is whole even if its holder panicked.
#[cfg(not(loom))]
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(not(loom))]
pub(crate) use std::hint::spin_loop;

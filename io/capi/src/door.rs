//! The edge between C and what is behind it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::layout::Timeval;

/// Runs what an exported function does. A panic ends the process, with a message that names the
/// call: it must not go on into C.
pub(super) fn door<R>(call: &str, f: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| {
        eprintln!("dapple_event: {call} has panicked");
        std::process::abort()
    })
}

/// The time that a pointer leads to; `None`: it is null.
///
/// # Safety
///
/// It is null, or leads to a time.
pub(super) unsafe fn read_time(time: *const Timeval) -> Option<Timeval> {
    // SAFETY: the caller says so.
    unsafe { time.as_ref().copied() }
}

//! The edge between C and what is behind it.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what an exported function does. A panic ends the process, with a message that names the
/// call: it must not go on into C.
pub(crate) fn door<R>(call: &str, f: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| {
        eprintln!("dapple_event: {call} has panicked");
        std::process::abort()
    })
}

/// Sets `errno`, which says why a call failed.
pub(crate) fn set_errno(error: c_int) {
    // SAFETY: the pointer is valid: it is the calling thread's own number.
    unsafe { *libc::__errno_location() = error };
}

/// Runs what an exported function does that answers 0, or -1 with `errno`; see [`door`].
pub(crate) fn answer(call: &str, f: impl FnOnce() -> Result<(), c_int>) -> c_int {
    number(call, || f().map(|()| 0))
}

/// Runs what an exported function does that answers a number, or -1 with `errno`; see [`door`].
pub(crate) fn number(call: &str, f: impl FnOnce() -> Result<c_int, c_int>) -> c_int {
    door(call, f).unwrap_or_else(|error| {
        set_errno(error);
        -1
    })
}

/// Runs what an exported function does that answers a pointer, or null with `errno`; see [`door`].
pub(crate) fn pointer<T>(call: &str, f: impl FnOnce() -> Result<*mut T, c_int>) -> *mut T {
    door(call, f).unwrap_or_else(|error| {
        set_errno(error);
        std::ptr::null_mut()
    })
}

/// The number of an error of the system's.
pub(crate) fn number_of(error: &std::io::Error) -> c_int {
    error.raw_os_error().unwrap_or(match error.kind() {
        std::io::ErrorKind::PermissionDenied => libc::EPERM,
        std::io::ErrorKind::OutOfMemory => libc::ENOMEM,
        std::io::ErrorKind::NotConnected => libc::ESHUTDOWN,
        _ => libc::EINVAL,
    })
}

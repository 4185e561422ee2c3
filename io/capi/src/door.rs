//! The boundary between C and Rust: no panic crosses it, and errors become `errno`.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the body of an exported function.
///
/// A panic must not unwind into C, so it ends the process with a message that names the call.
pub(crate) fn door<R>(call: &str, f: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| {
        eprintln!("dapple_event: {call} panicked");
        std::process::abort()
    })
}

/// Sets the calling thread's `errno`, which says why a call failed.
pub(crate) fn set_errno(error: c_int) {
    // SAFETY: `__errno_location` returns a valid pointer to the calling thread's own `errno`.
    unsafe { *libc::__errno_location() = error };
}

/// Runs the body of an exported function that returns 0, or -1 with `errno` set; see [`door`].
pub(crate) fn answer(call: &str, f: impl FnOnce() -> Result<(), c_int>) -> c_int {
    number(call, || f().map(|()| 0))
}

/// Runs the body of an exported function that returns a number, or -1 with `errno` set; see
/// [`door`].
pub(crate) fn number(call: &str, f: impl FnOnce() -> Result<c_int, c_int>) -> c_int {
    door(call, f).unwrap_or_else(|error| {
        set_errno(error);
        -1
    })
}

/// Runs the body of an exported function that returns a pointer, or null with `errno` set; see
/// [`door`].
pub(crate) fn pointer<T>(call: &str, f: impl FnOnce() -> Result<*mut T, c_int>) -> *mut T {
    door(call, f).unwrap_or_else(|error| {
        set_errno(error);
        std::ptr::null_mut()
    })
}

/// Returns the `errno` value of an I/O error. An error without one is mapped by its kind.
pub(crate) fn number_of(error: &std::io::Error) -> c_int {
    error.raw_os_error().unwrap_or(match error.kind() {
        std::io::ErrorKind::PermissionDenied => libc::EPERM,
        std::io::ErrorKind::OutOfMemory => libc::ENOMEM,
        std::io::ErrorKind::NotConnected => libc::ESHUTDOWN,
        _ => libc::EINVAL,
    })
}

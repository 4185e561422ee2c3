//! The exported functions of timers.

#![allow(clippy::missing_safety_doc, reason = "`runtime/mod.rs` states the safety rules")]

use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use dapple::Cx;

use super::callee::{Function, on_color};
use super::colors::Color;
use super::site::site;
use crate::door::{answer, door, number};

/// A timer that may be cancelled.
pub struct Timer(dapple::Timer);

/// The maximum delay, about 136 years. Longer delays are cut to it.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// The name of these callees in the message of a panic.
const FIRED: &str = "a timer's function";

/// Gives a timer to the caller, unless `out` is NULL.
unsafe fn give(timer: dapple::Timer, out: *mut *mut Timer) {
    if !out.is_null() {
        // SAFETY: the caller guarantees that a non-null `out` can be written to.
        unsafe { out.write(Box::into_raw(Box::new(Timer(timer)))) };
    }
}

/// Sets the caller's pointer to NULL, unless `out` is NULL. It stays NULL if the call fails.
unsafe fn clear<T>(out: *mut *mut T) {
    if !out.is_null() {
        // SAFETY: the caller guarantees that a non-null `out` can be written to.
        unsafe { out.write(null_mut()) };
    }
}

/// Calls a function on a color after delay_ns nanoseconds, never earlier.
///
/// If timer is not NULL, it gets a handle. The handle must be passed once to dapple_timer_cancel or
/// dapple_timer_free, even after the function has been called. The function may be called before
/// this call returns, unless the caller is a callback of the same color. The argument is freed by
/// drop, if that is not NULL, after the function or instead of it. dapple_post_after has no drop.
///
/// Returns 0, or -1 with errno set, and then calls nothing: EINVAL if the color or the function is
/// NULL, ESHUTDOWN if the runtime has ended, ECHILD in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_post_after_from(
    color: *mut Color,
    delay_ns: u64,
    function: Function,
    argument: *mut c_void,
    drop: Function,
    timer: *mut *mut Timer,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the caller guarantees that all pointers are null or lead to what their types say (see
    // `runtime/mod.rs`).
    answer("dapple_post_after", || unsafe {
        clear(timer);
        let (owner, to, callee) = on_color(color, function, argument, drop)?;
        let at = Instant::now() + Duration::from_nanos(delay_ns).min(LONGEST);
        let runs = move |_: &mut Cx| callee.run(FIRED);
        give(owner.handle().post_at_from(site(file, line), at, &to, runs), timer);
        Ok(())
    })
}

/// Calls a function on a color every period_ns nanoseconds, until its timer is cancelled.
///
/// Times that were missed are skipped. The handle and the argument are those of
/// dapple_post_after_from.
///
/// Returns 0, or -1 with errno set, and then calls nothing: EINVAL if the color or the function is
/// NULL or the period is 0, ESHUTDOWN if the runtime has ended, ECHILD in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_every_from(
    color: *mut Color,
    period_ns: u64,
    function: Function,
    argument: *mut c_void,
    drop: Function,
    timer: *mut *mut Timer,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the caller guarantees that all pointers are null or lead to what their types say (see
    // `runtime/mod.rs`).
    answer("dapple_every", || unsafe {
        clear(timer);
        if period_ns == 0 {
            return Err(libc::EINVAL);
        }
        let (owner, to, callee) = on_color(color, function, argument, drop)?;
        let period = Duration::from_nanos(period_ns).min(LONGEST);
        let runs = move |_: &mut Cx| callee.call(FIRED);
        give(owner.handle().every_from(site(file, line), period, &to, runs), timer);
        Ok(())
    })
}

/// Cancels a timer, and frees its handle.
///
/// In a callback of the timer's own color the result is final. From elsewhere, a call that runs at
/// this moment goes on.
///
/// Returns 1 if the function is not called, or is not called again. Returns 0 if it has been called
/// or is being called. Returns -1 with errno set to EINVAL if the timer is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_timer_cancel(timer: *mut Timer) -> c_int {
    number("dapple_timer_cancel", || match timer.is_null() {
        true => Err(libc::EINVAL),
        // SAFETY: `give` made the box, and the caller does not use it again (see `runtime/mod.rs`).
        false => Ok(c_int::from(unsafe { Box::from_raw(timer) }.0.cancel())),
    })
}

/// Frees the handle of a timer, which goes on. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_timer_free(timer: *mut Timer) {
    if !timer.is_null() {
        // SAFETY: `give` made the box, and the caller does not use it again (see `runtime/mod.rs`).
        door("dapple_timer_free", || drop(unsafe { Box::from_raw(timer) }));
    }
}

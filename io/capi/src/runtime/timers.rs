//! Timers.

#![allow(clippy::missing_safety_doc, reason = "`runtime` says what all of them rely on")]

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

/// The longest time, about 136 years: what is longer never comes.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// What a callee is, for a message.
const FIRED: &str = "a timer's function";

/// Gives a timer to the caller, unless `out` is NULL.
unsafe fn give(timer: dapple::Timer, out: *mut *mut Timer) {
    if !out.is_null() {
        // SAFETY: the caller's pointer leads to a place for a pointer.
        unsafe { out.write(Box::into_raw(Box::new(Timer(timer)))) };
    }
}

/// NULL, until something is given.
unsafe fn clear<T>(out: *mut *mut T) {
    if !out.is_null() {
        // SAFETY: the caller's pointer leads to a place for a pointer.
        unsafe { out.write(null_mut()) };
    }
}

/// Calls a function on a color after delay_ns nanoseconds, never earlier.
///
/// If timer is not NULL, it gets a handle, which must be given to dapple_timer_cancel or
/// dapple_timer_free, once, also after the function has been called. The argument is freed by drop,
/// if that is not NULL: after the function, or instead of it. dapple_post_after has no drop. The
/// function may be called before this returns, unless the caller is a callback of the color itself.
///
/// 0: done. -1: nothing is called; errno is EINVAL for a color or function that is NULL, ESHUTDOWN
/// when the runtime has ended, ECHILD in a forked child.
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
    // SAFETY: see `runtime`.
    answer("dapple_post_after", || unsafe {
        clear(timer);
        let (owner, to, callee) = on_color(color, function, argument, drop)?;
        let at = Instant::now() + Duration::from_nanos(delay_ns).min(LONGEST);
        let runs = move |_: &mut Cx| callee.run(FIRED);
        give(owner.handle().post_at_from(site(file, line), at, &to, runs), timer);
        Ok(())
    })
}

/// Calls a function on a color every period_ns nanoseconds, until its timer is cancelled. Times
/// that were missed are skipped.
///
/// As dapple_post_after_from otherwise. EINVAL also: the period is 0.
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
    // SAFETY: see `runtime`.
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

/// Cancels a timer, and frees its handle. In a callback of the timer's own color the answer is
/// final; from elsewhere, a function that runs at this moment goes on.
///
/// 1: the function is not called, or not any more. 0: it has been called, or is being called. -1:
/// errno is EINVAL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_timer_cancel(timer: *mut Timer) -> c_int {
    number("dapple_timer_cancel", || match timer.is_null() {
        true => Err(libc::EINVAL),
        // SAFETY: it is from `give`, and not used again: see `runtime`.
        false => Ok(c_int::from(unsafe { Box::from_raw(timer) }.0.cancel())),
    })
}

/// Frees the handle of a timer, which goes on. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_timer_free(timer: *mut Timer) {
    if !timer.is_null() {
        // SAFETY: it is from `give`, and not used again: see `runtime`.
        door("dapple_timer_free", || drop(unsafe { Box::from_raw(timer) }));
    }
}

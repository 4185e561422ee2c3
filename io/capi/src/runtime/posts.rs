//! The exported functions that post: to a color, with shared access, to several colors, to none.

#![allow(clippy::missing_safety_doc, reason = "`runtime/mod.rs` states the safety rules")]

use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

use dapple::Request;

use super::callee::{Callee, Function, NO_COLOR, on_color};
use super::colors::{Color, count};
use super::runtimes::Runtime;
use super::site::site;
use crate::door::answer;

/// A color of a set, and the access to it that is needed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Access {
    /// The color.
    pub color: *mut Color,
    /// 0 for exclusive access; any other number for access that is shared with others.
    pub shared: c_int,
}

/// The maximum number of colors in a set.
pub const DAPPLE_MOST_COLORS: usize = 1024;

/// The name of these callees in the message of a panic.
const POSTED: &str = "a posted function";

/// Calls a function on a color.
///
/// It runs after what was posted to the color before, and never overlaps anything else of the
/// color. The argument is freed by drop, if that is not NULL, on the color: after the function, or
/// instead of it if the runtime ends first. dapple_post has no drop, and passes the place of the
/// call.
///
/// Returns 0, or -1 with errno set, and then calls nothing: EINVAL if the color or the function is
/// NULL, ESHUTDOWN if the runtime has ended, ECHILD in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_post_from(
    color: *mut Color,
    function: Function,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the caller guarantees that all pointers are null or lead to what their types say (see
    // `runtime/mod.rs`).
    answer("dapple_post", || unsafe {
        let (owner, to, callee) = on_color(color, function, argument, drop)?;
        owner.handle().post_from(site(file, line), &to, move |_| callee.run(POSTED));
        Ok(())
    })
}

/// Calls a function on a color, which it may share with others.
///
/// Functions that were posted to the color this way, one right after the other, may run at the same
/// time on different cores. They overlap nothing else of the color. The argument and the errors are
/// those of dapple_post_from.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_post_shared_from(
    color: *mut Color,
    function: Function,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the caller guarantees that all pointers are null or lead to what their types say (see
    // `runtime/mod.rs`).
    answer("dapple_post_shared", || unsafe {
        let (owner, to, callee) = on_color(color, function, argument, drop)?;
        owner.handle().post_shared_from(site(file, line), &to, move |_| callee.run(POSTED));
        Ok(())
    })
}

/// Calls a function on a color, unless the color has as many events as its capacity allows.
///
/// The capacity is a field of dapple_color_options. The argument is that of dapple_post_from.
///
/// Returns 0, or -1 with errno set, and then calls nothing: EAGAIN if the color is full, otherwise
/// as dapple_post_from does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_try_post_from(
    color: *mut Color,
    function: Function,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the caller guarantees that all pointers are null or lead to what their types say (see
    // `runtime/mod.rs`).
    answer("dapple_try_post", || unsafe {
        let (color, call) = (count(color)?, function.ok_or(libc::EINVAL)?);
        color.owner.check_open()?;
        let room = color.color.try_reserve().map_err(|refused| match refused.is_full() {
            true => libc::EAGAIN,
            false => libc::ESHUTDOWN,
        })?;
        let owner = Arc::clone(&color.owner);
        let callee = Callee::new(call, argument, drop, [color], &owner);
        room.post_from(site(file, line), move |_| callee.run(POSTED));
        Ok(())
    })
}

/// Calls a function when it has access to several colors, each exclusive or shared.
///
/// No thread waits meanwhile, and sets never wait for each other in a circle. A color that is named
/// twice counts once, with exclusive access if one of the two asks for it. The argument is freed by
/// drop, if that is not NULL, on these colors: after the function, or instead of it if the runtime
/// ends first. dapple_post_set has no drop.
///
/// Returns 0, or -1 with errno set, and then calls nothing: EINVAL if the function or a color is
/// NULL, if there is no color, if there are more than DAPPLE_MOST_COLORS, or if they belong to
/// different runtimes; ESHUTDOWN if the runtime has ended, ECHILD in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_post_set_from(
    accesses: *const Access,
    number: usize,
    function: Function,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the caller guarantees that all pointers are null or lead to what their types say, and
    // that `accesses` leads to `number` elements (see `runtime/mod.rs`).
    answer("dapple_post_set", || unsafe {
        let call = function.ok_or(libc::EINVAL)?;
        if accesses.is_null() || !(1..=DAPPLE_MOST_COLORS).contains(&number) {
            return Err(libc::EINVAL);
        }
        let accesses = std::slice::from_raw_parts(accesses, number);
        let colors: Result<Vec<_>, _> = accesses.iter().map(|access| count(access.color)).collect();
        let colors = colors?;
        let owner = Arc::clone(&colors[0].owner);
        if colors.iter().any(|color| !Arc::ptr_eq(&color.owner, &owner)) {
            return Err(libc::EINVAL);
        }
        owner.check_open()?;
        let requests: Vec<Request<'_>> = accesses
            .iter()
            .zip(&colors)
            .map(|(access, color)| match access.shared {
                0 => color.color.exclusive(),
                _ => color.color.shared(),
            })
            .collect();
        let callee = Callee::new(call, argument, drop, colors.clone(), &owner);
        owner.handle().post_set_from(site(file, line), &requests, move |_| callee.run(POSTED));
        Ok(())
    })
}

/// Calls a function without a color: at any time, on any thread of the runtime, while anything else
/// runs.
///
/// The argument is freed by drop, if that is not NULL, after the function, or instead of it if the
/// runtime ends first. dapple_post_uncolored has no drop.
///
/// Returns 0, or -1 with errno set, and then calls nothing: EINVAL if the runtime or the function
/// is NULL, ESHUTDOWN if the runtime has ended, ECHILD in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_post_uncolored_from(
    runtime: *mut Runtime,
    function: Function,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the caller guarantees that all pointers are null or lead to what their types say (see
    // `runtime/mod.rs`).
    answer("dapple_post_uncolored", || unsafe {
        let runtime = runtime.as_ref().ok_or(libc::EINVAL)?;
        let (owner, call) = (&runtime.owner, function.ok_or(libc::EINVAL)?);
        owner.check_open()?;
        let callee = Callee::new(call, argument, drop, NO_COLOR, owner);
        owner.handle().post_uncolored_from(site(file, line), move |_| callee.run(POSTED));
        Ok(())
    })
}

//! Posts: to a color, with shared access, to several colors, to none.

#![allow(clippy::missing_safety_doc, reason = "`runtime` says what all of them rely on")]

use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

use dapple::Request;

use super::callee::{Callee, Function, NO_COLOR, on_color};
use super::colors::{Color, count};
use super::runtimes::Runtime;
use super::site::site;
use crate::door::answer;

/// A color of a set, and how it is needed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Access {
    /// The color.
    pub color: *mut Color,
    /// 0: alone; otherwise beside others that share it.
    pub shared: c_int,
}

/// The most colors of a set.
pub const DAPPLE_MOST_COLORS: usize = 1024;

/// What a callee is, for a message.
const POSTED: &str = "a posted function";

/// Calls a function on a color, after what was posted to it before, and not at the same time as
/// anything else of it.
///
/// The argument is freed by drop, if that is not NULL: on the color, after the function, or instead
/// of it if the runtime ends first. dapple_post has no drop, and names the place of the call.
///
/// 0: done. -1: nothing is called; errno is EINVAL for a color or function that is NULL, ESHUTDOWN
/// when the runtime has ended, ECHILD in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_post_from(
    color: *mut Color,
    function: Function,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_post", || unsafe {
        let (owner, to, callee) = on_color(color, function, argument, drop)?;
        owner.handle().post_from(site(file, line), &to, move |_| callee.run(POSTED));
        Ok(())
    })
}

/// Calls a function on a color that others may share with it: functions that were posted so, one
/// behind the other, may run at once, on all cores, but beside nothing else of the color.
///
/// As dapple_post_from otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_post_shared_from(
    color: *mut Color,
    function: Function,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_post_shared", || unsafe {
        let (owner, to, callee) = on_color(color, function, argument, drop)?;
        owner.handle().post_shared_from(site(file, line), &to, move |_| callee.run(POSTED));
        Ok(())
    })
}

/// Calls a function on a color unless that has as many events as it may: see capacity in
/// dapple_color_options.
///
/// 0: done. -1: nothing is called; errno is EAGAIN if the color is full, or as in dapple_post_from.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_try_post_from(
    color: *mut Color,
    function: Function,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: see `runtime`.
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

/// Calls a function when it has several colors, each alone or shared. No thread waits meanwhile,
/// and sets never wait for each other in a circle. A color that is named twice counts once, alone
/// if one of them says so.
///
/// The argument is freed on these colors; as dapple_post_from otherwise. EINVAL also: there is no
/// color, there are more than DAPPLE_MOST_COLORS, or they are of several runtimes.
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
    // SAFETY: see `runtime`; the pointer leads to so many.
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

/// Calls a function on no color: at any time, on any thread of the runtime, beside anything.
///
/// As dapple_post_from otherwise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_post_uncolored_from(
    runtime: *mut Runtime,
    function: Function,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_post_uncolored", || unsafe {
        let runtime = runtime.as_ref().ok_or(libc::EINVAL)?;
        let (owner, call) = (&runtime.owner, function.ok_or(libc::EINVAL)?);
        owner.check_open()?;
        let callee = Callee::new(call, argument, drop, NO_COLOR, owner);
        owner.handle().post_uncolored_from(site(file, line), move |_| callee.run(POSTED));
        Ok(())
    })
}

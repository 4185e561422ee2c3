//! Work that blocks, on threads that are no workers.

#![allow(clippy::missing_safety_doc, reason = "`runtime` says what all of them rely on")]

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};

use dapple::{Cx, JoinError};

use super::callee::{Callee, Function, NO_COLOR, on_color};
use super::colors::Color;
use super::site::site;
use crate::door::answer;

thread_local! {
    /// Offloaded work runs on this thread.
    static IS_IN_WORK: Cell<bool> = const { Cell::new(false) };
}

fn in_work<R>(f: impl FnOnce() -> R) -> R {
    IS_IN_WORK.set(true);
    let result = f();
    IS_IN_WORK.set(false);
    result
}

/// Says whether offloaded work runs on this thread.
pub(super) fn is_in_work() -> bool {
    IS_IN_WORK.get()
}

/// Calls work with the argument on a thread that may block, and when that has returned, then with
/// the argument on a color.
///
/// The argument is freed by drop, if that is not NULL: on the color, after then, or instead of what
/// has not begun when the runtime ends. dapple_offload has no drop.
///
/// 0: done. -1: nothing is called; errno is EINVAL for a color, work or then that is NULL,
/// ESHUTDOWN when the runtime has ended, ECHILD in a forked child.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_offload_from(
    color: *mut Color,
    work: Function,
    then: Function,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_offload", || unsafe {
        let work = work.ok_or(libc::EINVAL)?;
        let (owner, to, callee) = on_color(color, then, argument, drop)?;
        let work = Callee::new(work, argument, None, NO_COLOR, &owner);
        let runs = move |done: Result<(), JoinError>, _: &mut Cx| {
            // Work that was dropped by a shutdown has not been done.
            if done.is_ok() {
                callee.run("what follows offloaded work");
            }
        };
        let offloaded = move || in_work(|| work.run("offloaded work"));
        owner.handle().offload_then_from(site(file, line), &to, offloaded, runs);
        Ok(())
    })
}

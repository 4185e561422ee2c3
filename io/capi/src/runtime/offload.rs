//! The exported function for blocking work, which runs on the threads of the blocking pool.

#![allow(clippy::missing_safety_doc, reason = "`runtime/mod.rs` states the safety rules")]

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

/// Returns `true` if offloaded work runs on this thread.
pub(super) fn is_in_work() -> bool {
    IS_IN_WORK.get()
}

/// Calls work on a thread of the blocking pool, and after that calls then on a color.
///
/// Both get the argument, and work may block. The argument is freed by drop, if that is not NULL,
/// on the color: after then, or instead of what has not begun when the runtime ends. dapple_offload
/// has no drop.
///
/// Returns 0, or -1 with errno set, and then calls nothing: EINVAL if color, work or then is NULL,
/// ESHUTDOWN if the runtime has ended, ECHILD in a forked child.
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
    // SAFETY: the caller guarantees that all pointers are null or lead to what their types say (see
    // `runtime/mod.rs`).
    answer("dapple_offload", || unsafe {
        let work = work.ok_or(libc::EINVAL)?;
        let (owner, to, callee) = on_color(color, then, argument, drop)?;
        let work = Callee::new(work, argument, None, NO_COLOR, &owner);
        let runs = move |done: Result<(), JoinError>, _: &mut Cx| {
            // A shutdown may have dropped the work without running it.
            if done.is_ok() {
                callee.run("the function after offloaded work");
            }
        };
        let offloaded = move || in_work(|| work.run("offloaded work"));
        owner.handle().offload_then_from(site(file, line), &to, offloaded, runs);
        Ok(())
    })
}

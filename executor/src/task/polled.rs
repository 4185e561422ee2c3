//! What the calling thread does with a task: polls it, or drops what it held.

use std::task::Context;

use crate::thread;

/// Polls the task of this context by `f`, which does not panic.
pub(super) fn while_polled<R>(cx: &mut Context<'_>, f: impl FnOnce(&mut Context<'_>) -> R) -> R {
    let waker = (cx.waker().data(), cx.waker().vtable());
    let outer = thread::state(|state| state.polled.replace(Some(waker)));
    let result = f(cx);
    thread::state(|state| state.polled.set(outer));
    result
}

/// See [`crate::park::wakes_a_task`].
pub(crate) fn wakes_a_task(cx: &Context<'_>) -> bool {
    let waker = cx.waker();
    thread::state(|state| state.polled.get()).is_some_and(|(data, vtable)| {
        std::ptr::eq(waker.data(), data) && std::ptr::eq(waker.vtable(), vtable)
    })
}

/// Drops by `f`, which does not panic, what a task held that has panicked.
pub(super) fn after_a_panic(f: impl FnOnce()) {
    // What it held may have ended another one so.
    let outer = thread::state(|state| state.is_after_a_panic.replace(true));
    f();
    thread::state(|state| state.is_after_a_panic.set(outer));
}

/// Says whether the calling thread drops what a task held that has panicked.
pub(crate) fn is_after_a_panic() -> bool {
    thread::state(|state| state.is_after_a_panic.get())
}

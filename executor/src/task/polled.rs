//! The task that the calling thread polls, or whose contents it drops.

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

/// Returns `true` if the waker of this context is that of the task that this thread polls; see
/// [`crate::park::wakes_a_task`].
pub(crate) fn wakes_a_task(cx: &Context<'_>) -> bool {
    let waker = cx.waker();
    thread::state(|state| state.polled.get()).is_some_and(|(data, vtable)| {
        std::ptr::eq(waker.data(), data) && std::ptr::eq(waker.vtable(), vtable)
    })
}

/// Drops the contents of a task that has panicked, by `f`, which does not panic.
pub(super) fn after_a_panic(f: impl FnOnce()) {
    // This may happen during the drop of another panicked task, so the outer value is restored.
    let outer = thread::state(|state| state.is_after_a_panic.replace(true));
    f();
    thread::state(|state| state.is_after_a_panic.set(outer));
}

/// Returns `true` while the calling thread drops the contents of a task that has panicked.
pub(crate) fn is_after_a_panic() -> bool {
    thread::state(|state| state.is_after_a_panic.get())
}

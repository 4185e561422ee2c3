//! What the calling thread does with a task: polls it, or drops what it held.

use std::cell::Cell;
use std::task::{Context, RawWakerVTable};

thread_local! {
    /// A future is dropped because it has panicked.
    static AFTER_A_PANIC: Cell<bool> = const { Cell::new(false) };
    /// The waker of the task that is polled on this thread: what it leads to, and how.
    static POLLED: Cell<Option<(*const (), &'static RawWakerVTable)>> = const { Cell::new(None) };
}

/// Polls the task of this context by `f`, which does not panic.
pub(super) fn while_polled<R>(cx: &mut Context<'_>, f: impl FnOnce(&mut Context<'_>) -> R) -> R {
    let outer = POLLED.replace(Some((cx.waker().data(), cx.waker().vtable())));
    let result = f(cx);
    POLLED.set(outer);
    result
}

/// See [`crate::park::wakes_a_task`].
pub(crate) fn wakes_a_task(cx: &Context<'_>) -> bool {
    let waker = cx.waker();
    POLLED.get().is_some_and(|(data, vtable)| {
        std::ptr::eq(waker.data(), data) && std::ptr::eq(waker.vtable(), vtable)
    })
}

/// Drops by `f`, which does not panic, what a task held that has panicked.
pub(super) fn after_a_panic(f: impl FnOnce()) {
    // What it held may have ended another one so.
    let outer = AFTER_A_PANIC.replace(true);
    f();
    AFTER_A_PANIC.set(outer);
}

/// Says whether the calling thread drops what a task held that has panicked.
pub(crate) fn is_after_a_panic() -> bool {
    AFTER_A_PANIC.get()
}

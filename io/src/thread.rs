//! All that this crate keeps for a thread, in one value: buffers that are empty between two calls,
//! and what the system has been told.

use std::cell::Cell;

thread_local! {
    static STATE: ThreadState = const { ThreadState::new() };
}

/// See the module.
pub(crate) struct ThreadState {
    /// What connections read into and write from while they are at it.
    pub(crate) input: Cell<Vec<u8>>,
    pub(crate) output: Cell<Vec<u8>>,
    /// What a TLS stream's socket is read into, while it is polled.
    #[cfg(feature = "tls")]
    pub(crate) incoming: Cell<Vec<u8>>,
    /// SIGPIPE is blocked. It is of the system's thread, and not of what runs on it.
    pub(crate) is_sigpipe_blocked: Cell<bool>,
}

impl ThreadState {
    const fn new() -> Self {
        ThreadState {
            input: Cell::new(Vec::new()),
            output: Cell::new(Vec::new()),
            #[cfg(feature = "tls")]
            incoming: Cell::new(Vec::new()),
            is_sigpipe_blocked: Cell::new(false),
        }
    }
}

/// Calls `f` with the state of the calling thread.
#[inline]
pub(crate) fn state<R>(f: impl FnOnce(&ThreadState) -> R) -> R {
    STATE.with(f)
}

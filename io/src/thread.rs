//! All that this crate keeps for a thread, in one value: buffers that are empty between two calls,
//! and what the system has been told.

use std::cell::Cell;

thread_local! {
    static STATE: ThreadState = const { ThreadState::new() };
}

thread_local! {
    /// SIGPIPE is blocked. That is of the system's thread, and not of what runs on it; and it has
    /// no destructor, as a socket may be written to in that of another thread-local.
    static IS_SIGPIPE_BLOCKED: Cell<bool> = const { Cell::new(false) };
}

/// See the module.
pub(crate) struct ThreadState {
    /// What connections read into and write from while they are at it.
    pub(crate) input: Cell<Vec<u8>>,
    pub(crate) output: Cell<Vec<u8>>,
    /// What datagrams are received into, a batch of them.
    pub(crate) datagrams: Cell<Vec<u8>>,
    /// What a TLS stream's socket is read into, while it is polled.
    #[cfg(feature = "tls")]
    pub(crate) incoming: Cell<Vec<u8>>,
}

impl ThreadState {
    const fn new() -> Self {
        ThreadState {
            input: Cell::new(Vec::new()),
            output: Cell::new(Vec::new()),
            datagrams: Cell::new(Vec::new()),
            #[cfg(feature = "tls")]
            incoming: Cell::new(Vec::new()),
        }
    }
}

/// Calls `f` with the state of the calling thread.
#[inline]
pub(crate) fn state<R>(f: impl FnOnce(&ThreadState) -> R) -> R {
    STATE.with(f)
}

/// Says whether SIGPIPE is blocked for the calling thread, which it will be from now on.
pub(crate) fn blocks_sigpipe() -> bool {
    IS_SIGPIPE_BLOCKED.replace(true)
}

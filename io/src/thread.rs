//! The state of this crate that belongs to a thread.
//!
//! It consists of buffers that are empty between two calls, and of what the thread has told the
//! system.

use std::cell::Cell;

thread_local! {
    static STATE: ThreadState = const { ThreadState::new() };
}

thread_local! {
    /// SIGPIPE is blocked. The signal mask belongs to the system's thread, and not to what runs on
    /// the thread. The flag is apart from `STATE` because it must have no destructor: the
    /// destructor of another thread-local may write to a socket.
    static IS_SIGPIPE_BLOCKED: Cell<bool> = const { Cell::new(false) };
}

/// The buffers of a thread. Each is empty between two calls.
pub(crate) struct ThreadState {
    /// The buffers that connections read into, and write from.
    pub(crate) input: Cell<Vec<u8>>,
    pub(crate) output: Cell<Vec<u8>>,
    /// The buffer that a batch of datagrams is received into.
    pub(crate) datagrams: Cell<Vec<u8>>,
    /// The buffer that a TLS stream reads its socket into while it is polled.
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

/// Returns `true` if the calling thread has blocked SIGPIPE. Otherwise the caller has to block it,
/// and later calls return `true`.
pub(crate) fn replace_sigpipe_blocked() -> bool {
    IS_SIGPIPE_BLOCKED.replace(true)
}

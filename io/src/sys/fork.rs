//! Whether the process is a forked child: what it has inherited is its parent's, too.

use dapple::sync::{AtomicU64, OnceLock, Ordering};

/// How many forks this process is away from the first one that asked.
static FORKS: AtomicU64 = AtomicU64::new(0);
static IS_WATCHED: OnceLock<()> = OnceLock::new();

/// A process, as far as those that share memory by fork(2) are to be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u64);

impl Process {
    /// The calling one.
    pub(crate) fn current() -> Process {
        extern "C" fn in_the_child() {
            FORKS.fetch_add(1, Ordering::Relaxed);
        }
        IS_WATCHED.get_or_init(|| {
            // SAFETY: the function is one that may be called between fork and exec: it changes an
            // atomic number, and nothing else.
            unsafe { libc::pthread_atfork(None, None, Some(in_the_child)) };
        });
        // Relaxed: in a child, only the thread that has forked goes on.
        Process(FORKS.load(Ordering::Relaxed))
    }

    /// Says whether the calling process is another one.
    pub(crate) fn is_another(self) -> bool {
        self.0 != FORKS.load(Ordering::Relaxed)
    }
}

//! Whether the process is a forked child: what it has inherited is its parent's, too.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many forks this process is away from the first one that asked.
static FORKS: AtomicU64 = AtomicU64::new(0);
static IS_WATCHED: OnceLock<()> = OnceLock::new();

/// A process, as far as a parent and its children by fork(2) are to be told apart: a child has
/// copies of what its parent has, and must not use some of them, such as a poller of the system's.
///
/// # Examples
///
/// ```
/// use dapple::park::Process;
/// let own = Process::current();
/// assert!(!own.is_another());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(u64);

impl Process {
    /// The calling process.
    pub fn current() -> Process {
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

    /// Says whether the calling process is a forked child of this one, or of a child. It costs a
    /// load.
    pub fn is_another(self) -> bool {
        self.0 != FORKS.load(Ordering::Relaxed)
    }
}

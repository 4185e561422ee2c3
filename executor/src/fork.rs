//! A check for forked children, which have copies of their parent's descriptors and none of its
//! other threads.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of forks between this process and its ancestor that first called
/// [`Process::current`].
static FORKS: AtomicU64 = AtomicU64::new(0);
static IS_WATCHED: OnceLock<()> = OnceLock::new();

/// The identity of a process, which tells a parent from its children by fork(2).
///
/// A child has copies of what its parent has, and must not use some of them, such as a poller of
/// the system.
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
    /// Returns the identity of the calling process.
    pub fn current() -> Process {
        extern "C" fn in_the_child() {
            FORKS.fetch_add(1, Ordering::Relaxed);
        }
        IS_WATCHED.get_or_init(|| {
            // SAFETY: the function may be called between fork and exec, as it does nothing but
            // increment an atomic number.
            unsafe { libc::pthread_atfork(None, None, Some(in_the_child)) };
        });
        // Relaxed: a child has only one thread at first, the one that called fork.
        Process(FORKS.load(Ordering::Relaxed))
    }

    /// Returns `true` if the calling process is a forked child of this process, or a later
    /// descendant. The cost is one load.
    pub fn is_another(self) -> bool {
        self.0 != FORKS.load(Ordering::Relaxed)
    }
}

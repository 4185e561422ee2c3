//! What a program does when a thread of a runtime starts, and when it ends.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::panic::bury;
use crate::sync::{Arc, Mutex, lock};

/// What a thread of a runtime is for; see [`Builder::on_thread_start`].
///
/// [`Builder::on_thread_start`]: crate::Builder::on_thread_start
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ThreadKind {
    /// It is a worker with this number, counted from 0.
    Worker(usize),
    /// It runs [blocking work](crate::Handle::offload).
    Blocking,
}

type Hook = Arc<dyn Fn(ThreadKind) + Send + Sync>;

/// The two hooks. They are taken away at the end of the runtime, as they may hold a handle of it.
#[derive(Default)]
pub(crate) struct ThreadHooks {
    start: Mutex<Option<Hook>>,
    stop: Mutex<Option<Hook>>,
}

impl ThreadHooks {
    pub(super) fn set_start(&self, hook: impl Fn(ThreadKind) + Send + Sync + 'static) {
        *lock(&self.start) = Some(Arc::new(hook));
    }

    pub(super) fn set_stop(&self, hook: impl Fn(ThreadKind) + Send + Sync + 'static) {
        *lock(&self.stop) = Some(Arc::new(hook));
    }

    /// The calling thread has started. It ends when what is returned is dropped.
    pub(crate) fn thread_starts(&self, kind: ThreadKind) -> Running {
        let (start, stop) = (lock(&self.start).clone(), lock(&self.stop).clone());
        call(start, kind);
        Running { stop, kind }
    }

    /// The runtime is closed. Threads that still run have their own hook.
    pub(super) fn drop_all(&self) {
        let hooks = (lock(&self.start).take(), lock(&self.stop).take());
        drop(hooks);
    }
}

/// A thread that has started.
#[must_use = "when it is dropped, the thread ends"]
pub(crate) struct Running {
    stop: Option<Hook>,
    kind: ThreadKind,
}

impl Drop for Running {
    fn drop(&mut self) {
        call(self.stop.take(), self.kind);
    }
}

/// Calls a hook. Its panic is the user's, has been printed by the panic hook of the process, and
/// ends nothing else.
fn call(hook: Option<Hook>, kind: ThreadKind) {
    if let Some(hook) = hook {
        let called = catch_unwind(AssertUnwindSafe(|| {
            hook(kind);
            drop(hook);
        }));
        called.unwrap_or_else(bury);
    }
}

//! The hooks that a program sets for the start and the end of each thread of a runtime.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::panic::bury;
use crate::sync::{Arc, Mutex, lock};

/// The purpose of a thread of a runtime; see [`Builder::on_thread_start`].
///
/// [`Builder::on_thread_start`]: crate::Builder::on_thread_start
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ThreadKind {
    /// The thread is the worker with this number, counted from 0.
    Worker(usize),
    /// The thread runs [blocking work](crate::Handle::offload).
    Blocking,
}

type Hook = Arc<dyn Fn(ThreadKind) + Send + Sync>;

/// The two hooks. They are dropped at the end of the runtime, because they may own a handle of it.
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

    /// Calls the start hook on the calling thread. The stop hook is called when the returned value
    /// is dropped.
    pub(crate) fn thread_starts(&self, kind: ThreadKind) -> Running {
        let (start, stop) = (lock(&self.start).clone(), lock(&self.stop).clone());
        call(start, kind);
        Running { stop, kind }
    }

    /// Drops the hooks, once the runtime is closed. Threads that still run have their own
    /// references.
    pub(super) fn drop_all(&self) {
        let hooks = (lock(&self.start).take(), lock(&self.stop).take());
        drop(hooks);
    }
}

/// A thread that has started, and calls the stop hook when this is dropped.
#[must_use = "dropping this calls the stop hook"]
pub(crate) struct Running {
    stop: Option<Hook>,
    kind: ThreadKind,
}

impl Drop for Running {
    fn drop(&mut self) {
        call(self.stop.take(), self.kind);
    }
}

/// Calls a hook. A panic of the hook has been printed by the process's panic hook; it is caught,
/// and ends nothing else.
fn call(hook: Option<Hook>, kind: ThreadKind) {
    if let Some(hook) = hook {
        let called = catch_unwind(AssertUnwindSafe(|| {
            hook(kind);
            drop(hook);
        }));
        called.unwrap_or_else(bury);
    }
}

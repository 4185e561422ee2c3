//! The part of a runtime that its colors, and what is posted to them, keep alive.

use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dapple::Handle;
use dapple::park::Process;
use dapple_io::Io;

use super::colors::Color;

/// A counter of what keeps a loop running.
pub(crate) trait Keeper: Send + Sync {
    /// Counts a post, an armed timer or a registration.
    fn begins(&self);
    /// Counts the end of one: it has run, or has been dropped.
    fn ends(&self);
}

/// What colors know of their runtime. It outlives the runtime as long as one of its colors is live.
pub(crate) struct Owner {
    pub(crate) io: Io,
    /// The colors that have a key. Dropping a color removes its entry.
    keys: Mutex<HashMap<Box<[u8]>, Weak<Color>>>,
    keeper: Option<Arc<dyn Keeper>>,
    /// The process that has the runtime's threads.
    process: Process,
}

/// Keeps a loop running until it is dropped.
pub(crate) struct RunGuard(Option<Arc<dyn Keeper>>);

impl Owner {
    pub(crate) fn new(handle: &Handle, keeper: Option<Arc<dyn Keeper>>) -> Arc<Owner> {
        let (io, process) = (Io::of(handle), Process::current());
        Arc::new(Owner { io, keys: Mutex::default(), keeper, process })
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.io.handle()
    }

    /// Checks that the process is the one that has the runtime's threads.
    ///
    /// # Errors
    ///
    /// ECHILD in a forked child.
    pub(crate) fn check_process(&self) -> Result<(), c_int> {
        if self.process.is_another() { Err(libc::ECHILD) } else { Ok(()) }
    }

    /// Checks that the runtime accepts posts.
    ///
    /// # Errors
    ///
    /// ECHILD in a forked child, ESHUTDOWN if the runtime has ended, or is ending and this is not
    /// one of its workers.
    pub(crate) fn check_open(&self) -> Result<(), c_int> {
        self.check_process()?;
        let handle = self.handle();
        match handle.is_running() || !handle.has_ended() && handle.current_worker().is_some() {
            true => Ok(()),
            false => Err(libc::ESHUTDOWN),
        }
    }

    /// Returns a value that keeps the loop running until it is dropped.
    pub(crate) fn keep_running(&self) -> RunGuard {
        RunGuard(self.keeper.as_ref().map(|keeper| {
            keeper.begins();
            Arc::clone(keeper)
        }))
    }

    pub(super) fn keys(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Weak<Color>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        if let Some(keeper) = &self.0 {
            keeper.ends();
        }
    }
}

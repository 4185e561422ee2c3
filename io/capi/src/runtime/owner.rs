//! What colors, and what is posted, know of the runtime that they belong to.

use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dapple::Handle;
use dapple::park::Process;
use dapple_io::Io;

use super::colors::Color;

/// Who is told how much there is that keeps a loop running.
pub(crate) trait Keeper: Send + Sync {
    /// Something has been posted, armed or registered.
    fn begins(&self);
    /// It has run, or has been dropped.
    fn ends(&self);
}

/// See the module. It outlives its runtime as long as a color of it is kept.
pub(crate) struct Owner {
    pub(crate) io: Io,
    /// The colors that have a key. An entry goes with its color.
    keys: Mutex<HashMap<Box<[u8]>, Weak<Color>>>,
    keeper: Option<Arc<dyn Keeper>>,
    /// Whose its threads are.
    process: Process,
}

/// As long as it is there, a loop goes on.
pub(crate) struct Hold(Option<Arc<dyn Keeper>>);

impl Owner {
    pub(crate) fn new(handle: &Handle, keeper: Option<Arc<dyn Keeper>>) -> Arc<Owner> {
        let (io, process) = (Io::of(handle), Process::current());
        Arc::new(Owner { io, keys: Mutex::default(), keeper, process })
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.io.handle()
    }

    /// An error in a forked child, where the runtime has no threads.
    pub(crate) fn check_process(&self) -> Result<(), c_int> {
        if self.process.is_another() { Err(libc::ECHILD) } else { Ok(()) }
    }

    /// An error unless posts are accepted.
    pub(crate) fn check_open(&self) -> Result<(), c_int> {
        self.check_process()?;
        let handle = self.handle();
        match handle.is_running() || !handle.has_ended() && handle.current_worker().is_some() {
            true => Ok(()),
            false => Err(libc::ESHUTDOWN),
        }
    }

    /// Keeps the loop running until what it answers is dropped.
    pub(crate) fn hold(&self) -> Hold {
        Hold(self.keeper.as_ref().map(|keeper| {
            keeper.begins();
            Arc::clone(keeper)
        }))
    }

    pub(super) fn keys(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Weak<Color>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(keeper) = &self.0 {
            keeper.ends();
        }
    }
}

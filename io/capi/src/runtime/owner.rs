//! What colors, and what is posted, know of the runtime that they belong to.

use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dapple::Handle;
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
    keeper: Option<Box<dyn Keeper>>,
}

/// As long as it is there, a loop goes on.
pub(crate) struct Hold(Option<Arc<Owner>>);

impl Owner {
    pub(crate) fn new(handle: &Handle, keeper: Option<Box<dyn Keeper>>) -> Arc<Owner> {
        Arc::new(Owner { io: Io::of(handle), keys: Mutex::default(), keeper })
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.io.handle()
    }

    /// An error unless posts are accepted.
    pub(crate) fn check_open(&self) -> Result<(), c_int> {
        let handle = self.handle();
        match handle.is_running() || !handle.has_ended() && handle.current_worker().is_some() {
            true => Ok(()),
            false => Err(libc::ESHUTDOWN),
        }
    }

    /// Keeps the loop running until what it answers is dropped.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        Hold(self.keeper.as_ref().map(|keeper| {
            keeper.begins();
            Arc::clone(self)
        }))
    }

    pub(super) fn keys(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Weak<Color>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(keeper) = self.0.as_ref().and_then(|owner| owner.keeper.as_ref()) {
            keeper.ends();
        }
    }
}

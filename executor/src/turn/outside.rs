//! Who is between the two steps of a post on a thread that is no worker; see `runtime::quiesce`.

use super::local::Local;
use crate::runtime::core::Core;

/// The calling thread may hold what it has not queued, until this is dropped. A worker is not idle
/// meanwhile, and need not be counted.
pub(crate) struct Outside<'a>(Option<&'a Core>);

impl<'a> Outside<'a> {
    #[inline]
    pub(crate) fn enter(core: &'a Core) -> Self {
        let on_a_worker =
            Local::with(core, |local| local.inspect(|local| local.before_post()).is_some());
        match on_a_worker {
            true => Outside(None),
            false => Self::from_outside(core),
        }
    }

    /// Of a thread that is no worker.
    #[inline]
    pub(crate) fn from_outside(core: &'a Core) -> Self {
        core.quiesce.enter();
        Outside(Some(core))
    }
}

impl Drop for Outside<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(core) = self.0 {
            core.quiesce.leave();
        }
    }
}

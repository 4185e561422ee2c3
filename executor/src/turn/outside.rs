//! Threads outside the runtime that are between the two steps of a post; see `runtime::quiesce`.

use super::local::Local;
use crate::runtime::core::Core;

/// Marks, until it is dropped, that the calling thread may have work that it has not queued. A
/// worker needs no mark, because it is not idle meanwhile.
pub(crate) struct Outside<'a>(Option<&'a Core>);

impl<'a> Outside<'a> {
    #[inline]
    pub(crate) fn enter(core: &'a Core) -> Self {
        Local::with(core, |local| Self::on(core, local))
    }

    /// Marks the calling thread, on which `local` runs if the thread is a worker of `core`.
    #[inline]
    pub(crate) fn on(core: &'a Core, local: Option<&Local>) -> Self {
        match local {
            Some(local) => {
                local.before_post();
                Outside(None)
            }
            None => Self::from_outside(core),
        }
    }

    /// Marks a thread outside the runtime, which begins a post.
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

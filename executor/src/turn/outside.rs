//! Who is between the two steps of a post on a thread that is not a worker; see `runtime::quiesce`.

use super::local::Local;
use crate::runtime::core::Core;

/// The calling thread may hold what it has not queued, until this is dropped. A worker is not idle
/// meanwhile, and need not be counted.
pub(crate) struct Outside<'a>(Option<&'a Core>);

impl<'a> Outside<'a> {
    #[inline]
    pub(crate) fn enter(core: &'a Core) -> Self {
        Local::with(core, |local| Self::on(core, local))
    }

    /// [`enter`](Self::enter) by who knows which worker the thread is, if it is one.
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

    /// Begins a post of a thread that is not a worker.
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

//! What an event has deferred.

use crate::cx::Cx;
use crate::event::chain::Chain;
use crate::event::{Kind, Owned};
use crate::runtime::core::Core;
use crate::site::Site;

/// See the module. It is [run](Self::run) or [discarded](Self::discard), not dropped.
#[derive(Default)]
pub(super) struct Actions(Chain);

impl Actions {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends a closure, and says at which address it stands.
    pub(super) fn push<F>(&mut self, core: &Core, f: F, site: Site) -> usize
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        let action = Owned::closure(core.memory_here(), f, Kind::Closure, site, 0);
        let address = action.address();
        self.0.push(action);
        address
    }

    /// Appends another list.
    pub(super) fn append(&mut self, more: Actions) {
        self.0.append(more.0);
    }

    /// Runs the actions, in order (I7). One that panics is counted and reported, the others still
    /// run.
    pub(super) fn run(mut self, cx: &mut Cx) {
        while let Some(mut action) = self.0.pop() {
            cx.local().tells_of_part(&action);
            cx.guard(action.site(), |cx| action.run(cx));
            // SAFETY: it is of the domain's runtime, which is that of `cx`.
            unsafe { cx.local().free_memory(action.into_memory()) };
        }
    }

    /// Drops the actions unrun.
    pub(super) fn discard(mut self, core: &Core) {
        while let Some(mut action) = self.0.pop() {
            core.guard(Some(action.site()), || action.discard());
            // SAFETY: it is of the domain's runtime, which is that of `core`.
            unsafe { core.free_memory(action.into_memory()) };
        }
    }
}

//! The actions that an event has deferred.

use crate::cx::Cx;
use crate::event::chain::Chain;
use crate::event::{Kind, Owned};
use crate::runtime::core::Core;
use crate::site::Site;

/// A list of deferred actions, to be [run](Self::run) or [discarded](Self::discard), not dropped.
#[derive(Default)]
pub(super) struct Actions(Chain);

impl Actions {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends a closure, and returns the address of the event that contains it.
    pub(super) fn push<F>(&mut self, core: &Core, f: F, site: Site) -> usize
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        let action = Owned::closure(core.memory_here(), f, Kind::Closure, site, 0);
        let address = action.address();
        self.0.push(action);
        address
    }

    /// Appends the actions of `more`.
    pub(super) fn append(&mut self, more: Actions) {
        self.0.append(more.0);
    }

    /// Runs the actions, in order (I7). A panic is counted and reported, and the others still run.
    pub(super) fn run(mut self, cx: &mut Cx) {
        while let Some(mut action) = self.0.pop() {
            cx.local().begin_part(&action);
            cx.guard(action.site(), |cx| action.run(cx));
            // SAFETY: `push` took the memory from the domain's runtime, and the actions run on a
            // worker of that runtime, whose context is `cx`.
            unsafe { cx.local().free_memory(action.into_memory()) };
        }
    }

    /// Drops the actions unrun.
    pub(super) fn discard(mut self, core: &Core) {
        while let Some(mut action) = self.0.pop() {
            core.guard(Some(action.site()), || action.discard());
            // SAFETY: `push` took the memory from the domain's runtime, whose core is `core`.
            unsafe { core.free_memory(action.into_memory()) };
        }
    }
}

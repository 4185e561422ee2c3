//! What an event has deferred: a list of events that are not queued.
//!
//! The events are linked in a circle by their words (see [`Step`](crate::event::Step)): the list is the last one, whose
//! word leads to the first. So a list is one word, and appending costs no allocation but the action's own.

use std::panic::Location;
use std::ptr::NonNull;

use crate::cx::Cx;
use crate::event::{Event, Kind, Owned};
use crate::runtime::core::Core;
use crate::worker::local::Local;

/// See the module. It is [run](Self::run) or [discarded](Self::discard), not dropped.
#[derive(Default)]
pub(super) struct Actions {
    last: Option<NonNull<Event>>,
}

// SAFETY: the closures are Send, and the list owns them.
unsafe impl Send for Actions {}

impl Actions {
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Appends a closure.
    pub(super) fn push<F>(&mut self, core: &Core, f: F, site: &'static Location<'static>)
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        let mut event = Owned::closure(Local::memory_for(core), f, Kind::Closure, site, 0);
        let word = event.as_raw().as_ptr().cast();
        event.set_word(word);
        self.append(Actions { last: Some(event.into_raw()) });
    }

    /// Appends another list.
    pub(super) fn append(&mut self, more: Actions) {
        let Some(new_last) = more.last else { return };
        if let Some(last) = self.last {
            // SAFETY: the lists own their events; all of them are linked.
            unsafe {
                let (first, new_first) = (next(last), next(new_last));
                set_next(last, new_first);
                set_next(new_last, first);
            }
        }
        self.last = Some(new_last);
    }

    fn pop(&mut self) -> Option<Owned> {
        let last = self.last?;
        // SAFETY: the list owns its events; all of them are linked.
        unsafe {
            let first = next(last);
            if first == last {
                self.last = None;
            } else {
                set_next(last, next(first));
            }
            Some(Owned::of_raw(first))
        }
    }

    /// Runs the actions, in order (I7). One that panics is counted and reported, the others still run.
    pub(super) fn run(mut self, cx: &mut Cx) {
        while let Some(mut action) = self.pop() {
            cx.local().publish_site(action.site());
            cx.guard(action.site(), |cx| action.run(cx));
            // SAFETY: it is of the domain's runtime, which is that of `cx`.
            unsafe { cx.local().give_memory(action.into_memory()) };
        }
    }

    /// Drops the actions unrun.
    pub(super) fn discard(mut self, core: &Core) {
        while let Some(mut action) = self.pop() {
            core.guard(Some(action.site()), || action.discard());
            // SAFETY: it is of the domain's runtime, which is that of `core`.
            unsafe { core.give_memory(action.into_memory()) };
        }
    }
}

/// # Safety
///
/// For both: the event is alive, the caller's, and linked.
unsafe fn next(event: NonNull<Event>) -> NonNull<Event> {
    // SAFETY: by contract; `set_next` has set it.
    unsafe { NonNull::new_unchecked(Owned::of_raw(event).word().cast()) }
}

unsafe fn set_next(event: NonNull<Event>, next: NonNull<Event>) {
    // SAFETY: by contract.
    unsafe { Owned::of_raw(event) }.set_word(next.as_ptr().cast());
}

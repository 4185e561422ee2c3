//! Enqueuing on a worker: the second stage of a post.
//!
//! A post takes an event from the worker's magazine and appends it to the color. This takes one
//! exchange, or none if the current event posts to its own color. If the color was idle, the post
//! puts it into the worker's run queue. Other cores write to none of this memory, except for the
//! color's tail if they post to it, too.

use dapple_colors::Priority;

use super::entry::Entry;
use super::local::Local;
use crate::color::cell::ColorCell;
use crate::color::held::Claims;
use crate::event::Owned;
use crate::worker::figures::UNKNOWN;

impl Local {
    /// Appends an event to a color, and queues the color if it was idle.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn enqueue(&self, cell: &ColorCell, event: Owned) {
        debug_assert!(self.is_ours(cell), "a color is posted to on a worker of its own runtime");
        if self.current.may_keep(cell) {
            self.traffic.count_own();
            // SAFETY: `may_keep` says that an exclusive event of the color runs here, so this
            // worker holds it.
            let event = match unsafe { cell.keep(event) } {
                None => return self.traffic.count(1),
                Some(event) => event,
            };
            return self.enqueue_behind(cell, event);
        }
        self.enqueue_behind(cell, event)
    }

    /// Appends an event behind everything that is in the queue, even if an event of the color posts
    /// it.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn enqueue_behind(&self, cell: &ColorCell, event: Owned) {
        if !cell.is_plain() {
            return self.enqueue_special(cell, event);
        }
        self.traffic.count(1);
        if let Some(held) = cell.push(event) {
            let worth = held.worth();
            self.scheduler.schedule_plain(self, Entry::normal_color(held), worth);
        }
    }

    /// Appends a shared event. If the color was idle, the event is let go as a reader at once.
    pub(crate) fn enqueue_shared(&self, cell: &ColorCell, event: Owned) {
        debug_assert!(self.is_ours(cell), "a color is posted to on a worker of its own runtime");
        if cell.is_bounded() {
            cell.enter_bound(&event);
        }
        match cell.push(event) {
            None => self.traffic.count(1),
            Some(held) => {
                let _aside = self.current.set_aside();
                self.go_on(held);
            }
        }
    }

    /// Appends an event to a color that is bounded, of another class, or bound to a worker.
    #[cold]
    #[inline(never)]
    fn enqueue_special(&self, cell: &ColorCell, event: Owned) {
        if cell.is_bounded() {
            cell.enter_bound(&event);
        }
        self.append(cell, event);
    }

    /// Appends an event that has been counted against its color's bound, or whose color has none.
    pub(crate) fn append(&self, cell: &ColorCell, event: Owned) {
        debug_assert!(self.is_ours(cell), "a color is posted to on a worker of its own runtime");
        self.traffic.count(1);
        if let Some(held) = cell.push(event) {
            let worth = held.worth();
            self.schedule(held, worth);
        }
    }

    fn is_ours(&self, cell: &ColorCell) -> bool {
        std::ptr::eq(cell.core(), &*self.core)
    }

    /// Queues an event that is in no color's queue.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn queue_event(&self, event: Owned) {
        self.traffic.count(1);
        self.traffic.count_uncolored();
        let entry = Entry::event(event, Priority::Normal);
        self.scheduler.schedule_plain(self, entry, UNKNOWN);
    }

    /// Queues the event of a set that has all its colors.
    pub(crate) fn schedule_set(&self, event: Owned, class: Priority) {
        if self.core.fleet.has_affine() {
            return self.schedule_set_at_home(event, class);
        }
        self.scheduler.schedule_ready(self, Entry::set(event, class));
    }

    /// Queues the event of a set at the worker to which one of its colors is bound, if there is
    /// one.
    #[cold]
    fn schedule_set_at_home(&self, mut event: Owned, class: Priority) {
        let claims = Claims::take(&mut event);
        let worker = claims.bound_to();
        claims.put_back(&mut event);
        match worker {
            None => self.scheduler.schedule_ready(self, Entry::set(event, class)),
            Some(worker) if worker == self.index() || self.is_disposer() => {
                self.scheduler.schedule(self, Entry::affine_event(event, class), UNKNOWN);
            }
            Some(worker) => self.core.inject(worker, Entry::affine_event(event, class), UNKNOWN),
        }
    }

    /// Queues a reader of a color that is bound to this worker.
    pub(crate) fn schedule_affine(&self, event: Owned, class: Priority) {
        self.traffic.count(1);
        self.traffic.count_uncolored();
        self.scheduler.schedule(self, Entry::affine_event(event, class), UNKNOWN);
    }

    /// Queues an event that is in no color's queue, in a class.
    pub(crate) fn schedule_event(&self, event: Owned, class: Priority) {
        self.traffic.count(1);
        self.traffic.count_uncolored();
        self.scheduler.schedule(self, Entry::event(event, class), UNKNOWN);
    }
}

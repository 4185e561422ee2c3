//! Handing entries over: from threads outside the runtime to workers, and between workers.

use dapple_colors::Priority;

use super::entry::Entry;
use super::local::Local;
use super::outside::Outside;
use crate::color::cell::ColorCell;
use crate::color::held::Held;
use crate::event::Owned;
use crate::runtime::core::{Core, Phase};
use crate::runtime::shutdown::dispose_queues;
use crate::worker::figures::UNKNOWN;
use crate::worker::work::Work;

impl Core {
    /// Hands an entry to a worker from another thread, and wakes the worker if it sleeps. If the
    /// worker is awake, another one is woken, provided that the entry's worth of `worth`
    /// nanoseconds (0: unknown) pays for the wakeup.
    pub(crate) fn inject(&self, worker: usize, entry: Entry, worth: u32) {
        let is_affine = entry.is_affine();
        let worker = self.fleet.hand(worker, entry);
        match self.phase() {
            Phase::Closed => dispose_queues(self),
            // No other worker may run the entry.
            _ if is_affine => drop(self.fleet.notify(worker)),
            _ => self.fleet.wake_for(worker, worth),
        }
    }

    /// Hands a held color over to its home worker.
    pub(crate) fn inject_held(&self, held: Held) {
        let worth = held.worth();
        self.inject_color(held, worth);
    }

    /// Hands a held color, which is worth `worth` nanoseconds to another worker, over to its home
    /// worker.
    pub(crate) fn inject_color(&self, held: Held, worth: u32) {
        let home = held.home();
        self.inject(home, Entry::color(held), worth);
    }

    /// Queues an event that is in no color's queue, from any thread.
    pub(crate) fn queue_event(&self, event: Owned) {
        Local::with(self, |local| match local {
            Some(local) => {
                // The event may have been made long before, so nothing has made this worker rise
                // yet.
                local.before_post();
                local.queue_event(event);
            }
            None => {
                let entry = Entry::event(event, Priority::Normal);
                self.inject(self.fleet.place(), entry, UNKNOWN);
            }
        });
    }

    /// Appends an event to a color from any thread, in any phase of the runtime.
    pub(crate) fn enqueue(&self, cell: &ColorCell, event: Owned) {
        Local::with(self, |local| match local {
            Some(local) => local.enqueue(cell, event),
            None => {
                if cell.is_bounded() {
                    cell.enter_bound(&event);
                }
                self.append_from_outside(cell, event);
            }
        });
    }

    /// Appends an event to a color from a thread outside the runtime, and queues the color if it
    /// was idle. The event needs no room in the color's bound, or has been counted already.
    pub(crate) fn append_from_outside(&self, cell: &ColorCell, event: Owned) {
        // Once this event has its place, another thread may post behind it, and be done, before the
        // color is queued.
        let _outside = Outside::from_outside(self);
        if let Some(held) = cell.push(event) {
            self.inject_held(held);
        }
    }
}

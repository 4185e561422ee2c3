//! Handing over: from threads that are no workers, and between workers.

use dapple_colors::Priority;

use super::entry::Entry;
use super::local::Local;
use super::outside::Outside;
use crate::color::cell::ColorCell;
use crate::color::held::Held;
use crate::event::Owned;
use crate::runtime::core::{Core, Phase};
use crate::runtime::shutdown::undertake;
use crate::worker::figures::UNKNOWN;
use crate::worker::work::Work;

impl Core {
    /// Hands something runnable to a worker from elsewhere, and wakes it if it sleeps; if it does
    /// not, and what is handed over is worth so many nanoseconds (0: not known), another one.
    pub(crate) fn inject(&self, worker: usize, entry: Entry, worth: u32) {
        let is_affine = entry.is_affine();
        let worker = self.fleet.hand(worker, entry);
        match self.phase() {
            Phase::Closed => undertake(self),
            // Nobody else may run it.
            _ if is_affine => drop(self.fleet.notify(worker)),
            _ => self.fleet.wake_for(worker, worth),
        }
    }

    /// Hands a color that is held over to the worker where it is at home.
    pub(crate) fn inject_held(&self, held: Held) {
        let worth = held.worth();
        self.inject_color(held, worth);
    }

    /// Hands over a color of such a worth.
    pub(crate) fn inject_color(&self, held: Held, worth: u32) {
        let home = held.home();
        self.inject(home, Entry::color(held), worth);
    }

    /// Queues an event without color, from whatever thread this is.
    pub(crate) fn queue_event(&self, event: Owned) {
        Local::with(self, |local| match local {
            Some(local) => {
                // It may have waited somewhere while this worker slept.
                local.before_post();
                local.queue_event(event);
            }
            None => {
                let entry = Entry::event(event, Priority::Normal);
                self.inject(self.fleet.place(), entry, UNKNOWN);
            }
        });
    }

    /// Appends an event to a color, from whatever thread this is, and whatever the phase.
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

    /// Appends an event to a color from a thread that is not a worker, and queues the color if it
    /// was idle. The event needs no room, or has it already.
    pub(crate) fn append_from_outside(&self, cell: &ColorCell, event: Owned) {
        // Behind its place others may post, and be done, before the color is queued.
        let _outside = Outside::from_outside(self);
        if let Some(held) = cell.push(event) {
            self.inject_held(held);
        }
    }
}

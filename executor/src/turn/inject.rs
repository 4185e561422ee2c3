//! Posting from threads that are no workers, and handing over between workers.

use std::panic::Location;

use dapple_colors::Priority;

use super::entry::Entry;
use super::local::Local;
use super::outside::Outside;
use crate::color::cell::{Birth, CellMemory, ColorCell};
use crate::color::held::Held;
use crate::cx::Cx;
use crate::event::{Kind, Memory, Owned};
use crate::metrics::Histogramming;
use crate::runtime::core::{Core, Phase};
use crate::runtime::shutdown::undertake;
use crate::thread;
use crate::worker::figures::UNKNOWN;

impl Core {
    /// Hands something runnable to a worker from elsewhere, and wakes it if it sleeps; if it does
    /// not, and what is handed over is worth so many nanoseconds (0: not known), another one.
    pub(crate) fn inject(&self, worker: usize, entry: Entry, worth: u32) {
        let worker = self.fleet.hand(worker, entry);
        match self.phase() {
            Phase::Closed => undertake(self),
            _ => self.fleet.call(worker, worth),
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

    /// Appends an event to a color from a thread that is no worker, and queues the color if it was
    /// idle. The event needs no room, or has it already.
    pub(crate) fn append_from_outside(&self, cell: &ColorCell, event: Owned) {
        // Behind its place others may post, and be done, before the color is queued.
        let _outside = Outside::from_outside(self);
        if let Some(held) = cell.push(event) {
            self.inject_held(held);
        }
    }

    /// Memory for an event, on whatever thread this is. `local`: the worker that it is.
    #[inline]
    pub(crate) fn memory(&self, local: Option<&Local>) -> Memory {
        match local {
            Some(local) => local.take_memory(),
            // SAFETY: it is a free slot of the slab of events, and ours.
            None => unsafe { Memory::of(self.events.take_outside()) },
        }
    }

    /// Memory for an event, on whatever thread this is.
    pub(crate) fn memory_here(&self) -> Memory {
        Local::with(self, |local| self.memory(local))
    }

    /// Gives back memory of an event, from any thread.
    ///
    /// # Safety
    ///
    /// It is of this runtime.
    pub(crate) unsafe fn give_memory(&self, memory: Memory) {
        // SAFETY: the caller says so, and whoever has the memory has it alone.
        unsafe { self.events.give_outside(memory.into_slot()) }
    }

    /// What a new color begins with.
    #[inline]
    pub(crate) fn birth(&self) -> Birth {
        Local::with(self, |local| match local {
            Some(local) => {
                let home = match self.fleet.rules.is_pinned() {
                    true => self.fleet.place(),
                    false => local.index(),
                };
                let (memory, serial) = local.take_cell();
                Birth { memory, home, serial }
            }
            None => {
                self.acquire(1);
                // SAFETY: it is a free slot of the slab of cells, and ours.
                let memory = unsafe { CellMemory::of(self.cells.take_outside()) };
                Birth { memory, home: self.fleet.place(), serial: self.take_serials(1) }
            }
        })
    }

    /// The time, if an event that is posted now is sampled; otherwise 0.
    #[inline]
    pub(crate) fn stamp(&self, local: Option<&Local>) -> u64 {
        let hit = match local {
            Some(local) => local.samples.hit(),
            None => match self.settings.histograms {
                Histogramming::Off => false,
                Histogramming::Exact => true,
                Histogramming::Sampled => thread::state(|state| state.sampler.hit()),
            },
        };
        if hit { self.clock().now() } else { 0 }
    }

    /// A closure as an event, on whatever thread this is.
    #[inline]
    pub(crate) fn make_event<F: FnOnce(&mut Cx) + Send + 'static>(
        &self,
        local: Option<&Local>,
        f: F,
        kind: Kind,
        site: &'static Location<'static>,
    ) -> Owned {
        let posted = self.stamp(local);
        Owned::closure(self.memory(local), f, kind, site, posted)
    }
}

//! Making events and colors, on any thread. A worker has memory for them at hand.

use super::local::Local;
use crate::color::cell::{Birth, CellMemory};
use crate::cx::Cx;
use crate::event::{Kind, Memory, Owned};
use crate::metrics::Histogramming;
use crate::runtime::core::Core;
use crate::site::Site;
use crate::thread;

impl Core {
    /// Takes memory for an event. `local` is the worker that runs on this thread, if there is one.
    #[inline]
    pub(crate) fn memory(&self, local: Option<&Local>) -> Memory {
        match local {
            Some(local) => local.take_memory(),
            // SAFETY: `take_outside` returns a free slot of the slab of events to one taker, which
            // is this call.
            None => unsafe { Memory::of(self.events.take_outside()) },
        }
    }

    /// Takes memory for an event, on any thread.
    pub(crate) fn memory_here(&self) -> Memory {
        Local::with(self, |local| self.memory(local))
    }

    /// Frees the memory of an event, on any thread.
    ///
    /// # Safety
    ///
    /// The memory is of this runtime.
    pub(crate) unsafe fn free_memory(&self, memory: Memory) {
        // SAFETY: the caller guarantees that the memory is of this runtime, and `memory` is its
        // only owner.
        unsafe { self.events.free_outside(memory.into_slot()) }
    }

    /// Takes what a new color starts with: its memory, its home and its number.
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
                // SAFETY: `take_outside` returns a free slot of the slab of cells to one taker,
                // which is this call.
                let memory = unsafe { CellMemory::of(self.cells.take_outside()) };
                Birth { memory, home: self.fleet.place(), serial: self.take_serials(1) }
            }
        })
    }

    /// Returns the time if an event that is posted now is to be sampled, otherwise 0.
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

    /// Makes a closure an event, on any thread.
    #[inline]
    pub(crate) fn make_event<F: FnOnce(&mut Cx) + Send + 'static>(
        &self,
        local: Option<&Local>,
        f: F,
        kind: Kind,
        site: Site,
    ) -> Owned {
        self.event_place::<F>(local).fill(f, kind, site)
    }

    /// Takes memory for an event with a closure of type `F`, on any thread.
    #[inline]
    pub(crate) fn event_place<F>(&self, local: Option<&Local>) -> EventMemory {
        EventMemory {
            posted: self.stamp(local),
            memory: self.memory(local),
            slot: Owned::needs_slot::<F>().then(|| self.memory(local)),
        }
    }
}

/// The memory for an event whose closure is put in later.
///
/// This is for callers that ask a worker for the memory in a closure. If the posted closure went
/// along, it would be moved through the stack, which costs more than all the rest of a post: a
/// processor that reads 16 bytes at once, just after they were written as two times eight, waits
/// until the writes have reached the cache.
#[must_use = "the memory of an event is not freed by itself"]
pub(crate) struct EventMemory {
    memory: Memory,
    /// The memory for the closure, if it does not fit into the event.
    slot: Option<Memory>,
    posted: u64,
}

impl EventMemory {
    /// Makes the event. `F` is the type for which the place was taken.
    #[inline(always)]
    pub(crate) fn fill<F>(self, f: F, kind: Kind, site: Site) -> Owned
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        let EventMemory { memory, slot, posted } = self;
        match slot {
            Some(slot) => Owned::closure_in_slot(memory, slot, f, kind, site, posted),
            None => Owned::closure(memory, f, kind, site, posted),
        }
    }
}

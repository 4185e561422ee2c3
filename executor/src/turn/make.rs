//! Making events and colors, on whatever thread: a worker has memory at hand.

use super::local::Local;
use crate::color::cell::{Birth, CellMemory};
use crate::cx::Cx;
use crate::event::{Kind, Memory, Owned};
use crate::metrics::Histogramming;
use crate::runtime::core::Core;
use crate::site::Site;
use crate::thread;

impl Core {
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
    /// The memory is of this runtime.
    pub(crate) unsafe fn free_memory(&self, memory: Memory) {
        // SAFETY: the caller says so, and the owner of the memory has it alone.
        unsafe { self.events.free_outside(memory.into_slot()) }
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
        site: Site,
    ) -> Owned {
        self.event_place::<F>(local).fill(f, kind, site)
    }

    /// Memory for an event with a closure of this type, on whatever thread this is.
    #[inline]
    pub(crate) fn event_place<F>(&self, local: Option<&Local>) -> EventPlace {
        EventPlace {
            posted: self.stamp(local),
            memory: self.memory(local),
            slot: Owned::needs_slot::<F>().then(|| self.memory(local)),
        }
    }
}

/// Memory for an event whose closure is put in later.
///
/// For callers that have to ask a worker for it: a closure that goes along is moved through the
/// stack, which costs more than all the rest of a post. A processor that reads 16 bytes at once
/// which were just written as two times eight waits until they have come to the cache.
#[must_use = "the memory of an event is not freed by itself"]
pub(crate) struct EventPlace {
    memory: Memory,
    /// For the closure, if it does not fit into the event.
    slot: Option<Memory>,
    posted: u64,
}

impl EventPlace {
    /// The event. The closure is of the type for which the place was taken.
    #[inline(always)]
    pub(crate) fn fill<F>(self, f: F, kind: Kind, site: Site) -> Owned
    where
        F: FnOnce(&mut Cx) + Send + 'static,
    {
        let EventPlace { memory, slot, posted } = self;
        match slot {
            Some(slot) => Owned::closure_in_slot(memory, slot, f, kind, site, posted),
            None => Owned::closure(memory, f, kind, site, posted),
        }
    }
}

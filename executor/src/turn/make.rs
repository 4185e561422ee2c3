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
        site: Site,
    ) -> Owned {
        let (posted, memory) = (self.stamp(local), self.memory(local));
        match Owned::needs_slot::<F>() {
            true => Owned::closure_in_slot(memory, self.memory(local), f, kind, site, posted),
            false => Owned::closure(memory, f, kind, site, posted),
        }
    }
}

//! Creating events, and taking out their steps.

use std::cell::Cell;

use super::payload::{Closure, InBox, InEvent, InSlot, Payload, Step, Stepping, Storage};
use super::{Header, Kind, Memory, Ops, Owned, SPENT};
use crate::color::queue::Link;
use crate::cx::Cx;
use crate::site::Site;
use crate::sync::{Sort, event_made};

impl Owned {
    /// Creates an event with a closure.
    #[inline]
    pub(crate) fn closure<F: FnOnce(&mut Cx) + Send + 'static>(
        memory: Memory,
        f: F,
        kind: Kind,
        site: Site,
        posted: u64,
    ) -> Owned {
        // SAFETY: a closure does not use its word.
        unsafe { Self::step(memory, Closure(f), kind, site, posted) }
    }

    /// Returns `true` if a closure should be put into [memory of its own](Self::closure_in_slot).
    #[inline(always)]
    pub(crate) const fn needs_slot<F>() -> bool {
        Payload::<Closure<F>>::IN_SLOT
    }

    /// Creates an event with a closure that does not fit into it. The closure goes into `slot`,
    /// which is memory for another event and is freed when the closure is taken out.
    #[inline]
    pub(crate) fn closure_in_slot<F: FnOnce(&mut Cx) + Send + 'static>(
        memory: Memory,
        slot: Memory,
        f: F,
        kind: Kind,
        site: Site,
        posted: u64,
    ) -> Owned {
        debug_assert!(Self::needs_slot::<F>());
        let place = slot.reuse_for(Closure(f));
        Self::write(memory, place, Stepping::<Closure<F>, InSlot>::as_kind(kind), site, posted)
    }

    /// Creates an event of the runtime's own, which drops `holds` whether it is run or discarded.
    pub(crate) fn housekeeping<T: Send + 'static>(memory: Memory, holds: T, site: Site) -> Owned {
        Self::closure(memory, move |_: &mut Cx| drop(holds), Kind::Housekeeping, site, 0)
    }

    /// Creates an event with a step.
    ///
    /// # Safety
    ///
    /// If the step uses its word, the event is put into no color's queue and gets the word that the
    /// step expects.
    #[inline]
    pub(crate) unsafe fn step<T: Step>(
        memory: Memory,
        step: T,
        kind: Kind,
        site: Site,
        posted: u64,
    ) -> Owned {
        let ops = match Payload::<T>::INLINE {
            true => Stepping::<T, InEvent>::as_kind(kind),
            false => Stepping::<T, InBox>::as_kind(kind),
        };
        Self::write(memory, step, ops, site, posted)
    }

    /// Writes an event into `memory`. `ops` belong to a `T`, or do not touch it.
    #[inline]
    fn write<T>(memory: Memory, payload: T, ops: &'static Ops, site: Site, posted: u64) -> Owned {
        let event = memory.0.as_ptr();
        // SAFETY: the caller owns the memory, which is large enough for an event. The writes are
        // raw, so that no reference to uninitialized memory is made.
        unsafe {
            (&raw mut (*event).header).write(Header { link: Link::new(), ops: Cell::new(ops) });
            (&raw mut (*event).site).write(site);
            (&raw mut (*event).posted).write(posted);
            Payload::<T>::write(payload, &raw mut (*event).payload);
        }
        event_made(event.addr(), &site, || match ops.kind {
            Kind::Housekeeping => Sort::Own,
            _ => Sort::Posted,
        });
        Owned(memory.0)
    }

    /// Returns the step of the event.
    ///
    /// # Safety
    ///
    /// The event contains a `T` that has not been consumed.
    #[inline]
    pub(crate) unsafe fn step_mut<T: Step>(&mut self) -> &mut T {
        // SAFETY: the caller guarantees that a T is there, and the owner of the event may change
        // it.
        unsafe {
            let payload = &raw mut (*self.0.as_ptr()).payload;
            match Payload::<T>::INLINE {
                true => &mut *payload.cast::<T>(),
                false => &mut *payload.cast::<Box<T>>(),
            }
        }
    }

    /// Takes out the step. The event is then spent.
    ///
    /// # Safety
    ///
    /// The event contains a `T` that has not been consumed.
    pub(crate) unsafe fn take_step<T: Step>(&mut self) -> T {
        self.get().header.ops.set(&SPENT);
        // SAFETY: the caller guarantees that a T is there. The event is spent now, so the T is read
        // once.
        unsafe {
            match Payload::<T>::INLINE {
                true => InEvent::read(self.0).0,
                false => InBox::read(self.0).0,
            }
        }
    }
}

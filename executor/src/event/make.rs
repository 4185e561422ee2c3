//! Making events, and taking out what they hold.

use std::cell::Cell;

use super::payload::{Closure, InBox, InEvent, InSlot, Payload, Step, Stepping, Storage};
use super::{Header, Kind, Memory, Ops, Owned, SPENT};
use crate::color::queue::Link;
use crate::cx::Cx;
use crate::site::Site;
use crate::sync::{Sort, event_made};

impl Owned {
    /// An event that holds a closure.
    #[inline]
    pub(crate) fn closure<F: FnOnce(&mut Cx) + Send + 'static>(
        memory: Memory,
        f: F,
        kind: Kind,
        site: Site,
        posted: u64,
    ) -> Owned {
        // SAFETY: a closure asks for no word.
        unsafe { Self::step(memory, Closure(f), kind, site, posted) }
    }

    /// Says whether a closure stands best in [memory of its own](Self::closure_in_slot).
    #[inline(always)]
    pub(crate) const fn needs_slot<F>() -> bool {
        Payload::<Closure<F>>::IN_SLOT
    }

    /// An event that holds a closure, which does not fit into it, in memory for another event. That
    /// goes back when the closure is taken out.
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
        let place = slot.hold(Closure(f));
        Self::write(memory, place, Stepping::<Closure<F>, InSlot>::as_kind(kind), site, posted)
    }

    /// An event of the runtime's own, which drops what it holds whether it is run or discarded.
    pub(crate) fn housekeeping<T: Send + 'static>(memory: Memory, holds: T, site: Site) -> Owned {
        Self::closure(memory, move |_: &mut Cx| drop(holds), Kind::Housekeeping, site, 0)
    }

    /// An event that holds a step.
    ///
    /// # Safety
    ///
    /// If the step asks for its word, the event is put into no color's queue, and gets the word
    /// that it expects.
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

    /// `ops` are those of a `T`, or do not touch it.
    #[inline]
    fn write<T>(memory: Memory, payload: T, ops: &'static Ops, site: Site, posted: u64) -> Owned {
        let event = memory.0.as_ptr();
        // SAFETY: the memory is the caller's and large enough; raw writes, so that no reference to
        // what is not initialised is made.
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

    /// The step that it holds.
    ///
    /// # Safety
    ///
    /// It holds a `T` that has not been consumed.
    #[inline]
    pub(crate) unsafe fn step_mut<T: Step>(&mut self) -> &mut T {
        // SAFETY: the caller says that a T stands there, which the owner may change.
        unsafe {
            let payload = &raw mut (*self.0.as_ptr()).payload;
            match Payload::<T>::INLINE {
                true => &mut *payload.cast::<T>(),
                false => &mut *payload.cast::<Box<T>>(),
            }
        }
    }

    /// Takes the step out; the event is spent then.
    ///
    /// # Safety
    ///
    /// As [`step_mut`](Self::step_mut).
    pub(crate) unsafe fn take_step<T: Step>(&mut self) -> T {
        self.get().header.ops.set(&SPENT);
        // SAFETY: the caller says that a T stands there; the event is spent, so it is read once.
        unsafe {
            match Payload::<T>::INLINE {
                true => InEvent::read(self.0).0,
                false => InBox::read(self.0).0,
            }
        }
    }
}

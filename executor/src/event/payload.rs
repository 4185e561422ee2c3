//! What an event holds, and what can be done with it: a closure of up to four words in the event
//! itself, one that is posted and has up to eight in memory for another event, any other in a box.

use std::marker::PhantomData;
use std::mem::{MaybeUninit, align_of, size_of};
use std::ptr::NonNull;

use super::word::Word;
use super::{Event, INLINE_WORDS, Kind, Memory, Ops};
use crate::cx::Cx;
use crate::slab::Slab;

/// What an event holds, in itself or elsewhere.
pub(super) struct Payload<T>(T);

impl<T> Payload<T> {
    pub(super) const INLINE: bool = size_of::<T>() <= size_of::<[usize; INLINE_WORDS]>()
        && align_of::<T>() <= align_of::<[usize; INLINE_WORDS]>();

    /// `T` does not fit into the event, but into memory for another one.
    pub(super) const IN_SLOT: bool = !Self::INLINE
        && size_of::<T>() <= size_of::<Event>()
        && align_of::<T>() <= align_of::<Event>();

    /// # Safety
    ///
    /// `slot` is valid for a write of the payload.
    #[inline]
    pub(super) unsafe fn write(value: T, slot: *mut MaybeUninit<[usize; INLINE_WORDS]>) {
        if Self::INLINE {
            // SAFETY: INLINE says that T fits in size and alignment.
            unsafe { slot.cast::<T>().write(value) }
        } else {
            // SAFETY: a box is one pointer, which fits into the first of the words.
            unsafe { slot.cast::<Box<T>>().write(Box::new(value)) }
        }
    }
}

/// Where an event holds something.
pub(super) trait Storage {
    /// Takes a T out; and the memory in which it stood, if that was not the event's.
    ///
    /// # Safety
    ///
    /// The event holds a T there, which is read once.
    unsafe fn read<T>(event: NonNull<Event>) -> (T, Option<Memory>);
}

/// What the event holds is in the event itself.
pub(super) struct InEvent;

/// What the event holds is in memory for another event.
pub(super) struct InSlot;

/// What the event holds is in a box.
pub(super) struct InBox;

impl Storage for InEvent {
    #[inline]
    unsafe fn read<T>(event: NonNull<Event>) -> (T, Option<Memory>) {
        // SAFETY: the caller says that a T stands there itself; it is read once.
        (unsafe { (&raw const (*event.as_ptr()).payload).cast::<T>().read() }, None)
    }
}

impl Storage for InSlot {
    #[inline]
    unsafe fn read<T>(event: NonNull<Event>) -> (T, Option<Memory>) {
        // SAFETY: the caller says that a pointer to a T stands there, which was put into memory for
        // an event; both are read once, and the memory is free then.
        unsafe {
            let slot = (&raw const (*event.as_ptr()).payload).cast::<NonNull<T>>().read();
            (slot.read(), Some(Memory::of(slot.cast())))
        }
    }
}

impl Storage for InBox {
    #[inline]
    unsafe fn read<T>(event: NonNull<Event>) -> (T, Option<Memory>) {
        // SAFETY: the caller says that a box stands there; it is read once.
        (*unsafe { (&raw const (*event.as_ptr()).payload).cast::<Box<T>>().read() }, None)
    }
}

/// What an event holds: a closure or, without a color, something that gets a word. The word stands
/// in the link, which such an event does not need, and the thread that queues it may
/// [set](super::Owned::set_word) it; [none](Word::NONE) if nobody did.
pub(crate) trait Step: Send + 'static {
    fn run(self, word: Word, cx: &mut Cx);
    /// Drops the step unrun.
    fn discard(self, word: Word);
}

pub(super) struct Closure<F>(pub(super) F);

impl<F: FnOnce(&mut Cx) + Send + 'static> Step for Closure<F> {
    #[inline]
    fn run(self, _: Word, cx: &mut Cx) {
        (self.0)(cx)
    }

    #[inline]
    fn discard(self, _: Word) {}
}

/// A step that an event holds in a place.
pub(super) struct Stepping<T, P>(PhantomData<(T, P)>);

impl<T: Step, P: Storage> Stepping<T, P> {
    const CLOSURE: Ops = Self::ops(Kind::Closure);
    const HOUSEKEEPING: Ops = Self::ops(Kind::Housekeeping);
    const SHARED: Ops = Self::ops(Kind::Shared);
    const SET: Ops = Self::ops(Kind::Set);

    /// What can be done with a step in an event of this kind, which must be one that holds a step.
    #[inline]
    pub(super) fn as_kind(kind: Kind) -> &'static Ops {
        match kind {
            Kind::Closure => &Self::CLOSURE,
            Kind::Housekeeping => &Self::HOUSEKEEPING,
            Kind::Shared => &Self::SHARED,
            Kind::Set => &Self::SET,
            Kind::Spent
            | Kind::Grave
            | Kind::Request
            | Kind::SharedRequest
            | Kind::SpentRequest => {
                unreachable!("these hold no step")
            }
        }
    }

    const fn ops(kind: Kind) -> Ops {
        Ops { run: Self::run, discard: Self::discard, ..Ops::of_nothing(kind) }
    }

    /// # Safety
    ///
    /// The event holds a T in this place, which has not been consumed, and is of the runtime of the
    /// worker that runs it.
    unsafe fn run(event: NonNull<Event>, cx: &mut Cx) {
        // SAFETY: passed on from the caller; the memory is of the event's runtime, too.
        let (word, step) = unsafe {
            let (step, memory) = P::read::<T>(event);
            if let Some(memory) = memory {
                cx.local().free_memory(memory);
            }
            (Event::word(event), step)
        };
        step.run(word, cx)
    }

    /// # Safety
    ///
    /// The event holds a T in this place, which has not been consumed. What drops it keeps the core
    /// of its runtime.
    unsafe fn discard(event: NonNull<Event>) {
        // SAFETY: passed on from the caller; the core has the slab in it.
        let (word, step) = unsafe {
            let (step, memory) = P::read::<T>(event);
            if let Some(memory) = memory {
                Slab::free(memory.into_slot());
            }
            (Event::word(event), step)
        };
        step.discard(word)
    }
}

//! The contents of an event and the operations on them.
//!
//! A closure of up to four words is stored in the event itself. A posted closure of up to eight
//! words is stored in the memory of another event. All others are boxed.

use std::marker::PhantomData;
use std::mem::{MaybeUninit, align_of, size_of};
use std::ptr::NonNull;

use super::word::Word;
use super::{Event, INLINE_WORDS, Kind, Memory, Ops};
use crate::cx::Cx;
use crate::slab::Slab;

/// The contents of an event, stored in the event or elsewhere.
pub(super) struct Payload<T>(T);

impl<T> Payload<T> {
    pub(super) const INLINE: bool = size_of::<T>() <= size_of::<[usize; INLINE_WORDS]>()
        && align_of::<T>() <= align_of::<[usize; INLINE_WORDS]>();

    /// `T` does not fit into the event, but fits into the memory of another one.
    pub(super) const IN_SLOT: bool = !Self::INLINE
        && size_of::<T>() <= size_of::<Event>()
        && align_of::<T>() <= align_of::<Event>();

    /// Writes the contents into an event, in a box if they do not fit.
    ///
    /// # Safety
    ///
    /// `slot` is valid for a write of the payload.
    #[inline]
    pub(super) unsafe fn write(value: T, slot: *mut MaybeUninit<[usize; INLINE_WORDS]>) {
        if Self::INLINE {
            // SAFETY: INLINE says that T fits, by size and alignment.
            unsafe { slot.cast::<T>().write(value) }
        } else {
            // SAFETY: a box is one pointer, which fits into the first word.
            unsafe { slot.cast::<Box<T>>().write(Box::new(value)) }
        }
    }
}

/// The storage in which an event keeps its contents.
pub(super) trait Storage {
    /// Takes a T out. Returns it with the memory in which it was, if that was not the event's own.
    ///
    /// # Safety
    ///
    /// The event contains a T in this storage, which is read once.
    unsafe fn read<T>(event: NonNull<Event>) -> (T, Option<Memory>);
}

/// The contents are in the event itself.
pub(super) struct InEvent;

/// The contents are in the memory of another event.
pub(super) struct InSlot;

/// The contents are in a box.
pub(super) struct InBox;

impl Storage for InEvent {
    #[inline]
    unsafe fn read<T>(event: NonNull<Event>) -> (T, Option<Memory>) {
        // SAFETY: the caller guarantees that the event contains a T itself, which is read once.
        (unsafe { (&raw const (*event.as_ptr()).payload).cast::<T>().read() }, None)
    }
}

impl Storage for InSlot {
    #[inline]
    unsafe fn read<T>(event: NonNull<Event>) -> (T, Option<Memory>) {
        // SAFETY: the caller guarantees that the event contains a pointer to a T in the memory of
        // another event. Both are read once, and that memory is free afterwards.
        unsafe {
            let slot = (&raw const (*event.as_ptr()).payload).cast::<NonNull<T>>().read();
            (slot.read(), Some(Memory::of(slot.cast())))
        }
    }
}

impl Storage for InBox {
    #[inline]
    unsafe fn read<T>(event: NonNull<Event>) -> (T, Option<Memory>) {
        // SAFETY: the caller guarantees that the event contains a box, which is read once.
        (*unsafe { (&raw const (*event.as_ptr()).payload).cast::<Box<T>>().read() }, None)
    }
}

/// The contents of an event: a closure, or, in an event without a color, something that gets a
/// word.
///
/// The word is in the link, which an event without a color does not need. The thread that queues
/// the event may [set](super::Owned::set_word) it; otherwise it is [`NONE`](Word::NONE).
pub(crate) trait Step: Send + 'static {
    fn run(self, word: Word, cx: &mut Cx);
    /// Drops the step without running it.
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

/// The operations on a step `T` that an event stores in `P`.
pub(super) struct Stepping<T, P>(PhantomData<(T, P)>);

impl<T: Step, P: Storage> Stepping<T, P> {
    const CLOSURE: Ops = Self::ops(Kind::Closure);
    const HOUSEKEEPING: Ops = Self::ops(Kind::Housekeeping);
    const SHARED: Ops = Self::ops(Kind::Shared);
    const SET: Ops = Self::ops(Kind::Set);

    /// Returns the operations of an event of this kind, which must be a kind that has a step.
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
                unreachable!("links of this kind have no step")
            }
        }
    }

    const fn ops(kind: Kind) -> Ops {
        Ops { run: Self::run, discard: Self::discard, ..Ops::of_nothing(kind) }
    }

    /// Runs the step.
    ///
    /// # Safety
    ///
    /// The event contains a T in this storage, which has not been consumed. The event belongs to
    /// the runtime of the worker that runs it.
    unsafe fn run(event: NonNull<Event>, cx: &mut Cx) {
        // SAFETY: the caller guarantees that a T is there. The memory is from the event's runtime
        // as well.
        let (word, step) = unsafe {
            let (step, memory) = P::read::<T>(event);
            if let Some(memory) = memory {
                cx.local().free_memory(memory);
            }
            (Event::word(event), step)
        };
        step.run(word, cx)
    }

    /// Drops the step without running it.
    ///
    /// # Safety
    ///
    /// The event contains a T in this storage, which has not been consumed. The caller keeps the
    /// core of the event's runtime alive.
    unsafe fn discard(event: NonNull<Event>) {
        // SAFETY: the caller guarantees that a T is there, and that the core, which contains the
        // slab, is alive.
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

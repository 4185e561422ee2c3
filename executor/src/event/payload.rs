//! What an event holds: a closure of up to four words in the event itself, a larger one in a box;
//! and what can be done with it.

use std::mem::{MaybeUninit, align_of, size_of};
use std::ptr::NonNull;

use super::word::Word;
use super::{Event, INLINE_WORDS, Kind, Ops};
use crate::cx::Cx;

/// What an event holds, in itself or in a box.
pub(super) struct Payload<T>(T);

impl<T> Payload<T> {
    pub(super) const INLINE: bool = size_of::<T>() <= size_of::<[usize; INLINE_WORDS]>()
        && align_of::<T>() <= align_of::<[usize; INLINE_WORDS]>();

    /// # Safety
    ///
    /// `slot` is valid for a write of the payload.
    #[inline]
    pub(super) unsafe fn write(value: T, slot: *mut MaybeUninit<[usize; INLINE_WORDS]>) {
        if Self::INLINE {
            // SAFETY: INLINE says that T fits in size and alignment.
            unsafe { slot.cast::<T>().write(value) }
        } else {
            // SAFETY: one pointer fits.
            unsafe { slot.cast::<Box<T>>().write(Box::new(value)) }
        }
    }

    /// # Safety
    ///
    /// For the two: the event holds a T written by `write`, read by the fitting one of them once.
    #[inline]
    pub(super) unsafe fn read_inline(event: NonNull<Event>) -> T {
        // SAFETY: the caller says that a T stands there itself; it is read once.
        unsafe { (&raw const (*event.as_ptr()).payload).cast::<T>().read() }
    }

    #[inline]
    pub(super) unsafe fn read_boxed(event: NonNull<Event>) -> Box<T> {
        // SAFETY: the caller says that a box stands there; it is read once.
        unsafe { (&raw const (*event.as_ptr()).payload).cast::<Box<T>>().read() }
    }
}

/// What an event holds: a closure or, without a color, something that gets a word. The word stands
/// in the link, which such an event does not need, and whoever queues it may
/// [set](super::Owned::set_word) it; [none](Word::NONE) if nobody did.
pub(crate) trait Step: Send + 'static {
    fn run(self, word: Word, cx: &mut Cx);
    /// It is dropped unrun.
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

pub(super) struct Stepping<T>(T);

impl<T: Step> Stepping<T> {
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
        if Payload::<T>::INLINE {
            Ops { run: Self::run_inline, discard: Self::discard_inline, ..Ops::of_nothing(kind) }
        } else {
            Ops { run: Self::run_boxed, discard: Self::discard_boxed, ..Ops::of_nothing(kind) }
        }
    }

    /// # Safety
    ///
    /// For the four: the event holds a T, and it has not been consumed.
    unsafe fn run_inline(event: NonNull<Event>, cx: &mut Cx) {
        // SAFETY: these are the ops of an event that holds a T itself.
        let (word, step) = unsafe { (Event::word(event), Payload::<T>::read_inline(event)) };
        step.run(word, cx)
    }

    unsafe fn discard_inline(event: NonNull<Event>) {
        // SAFETY: these are the ops of an event that holds a T itself.
        let (word, step) = unsafe { (Event::word(event), Payload::<T>::read_inline(event)) };
        step.discard(word)
    }

    unsafe fn run_boxed(event: NonNull<Event>, cx: &mut Cx) {
        // SAFETY: these are the ops of an event that holds a T in a box.
        let (word, step) = unsafe { (Event::word(event), Payload::<T>::read_boxed(event)) };
        (*step).run(word, cx)
    }

    unsafe fn discard_boxed(event: NonNull<Event>) {
        // SAFETY: these are the ops of an event that holds a T in a box.
        let (word, step) = unsafe { (Event::word(event), Payload::<T>::read_boxed(event)) };
        (*step).discard(word)
    }
}

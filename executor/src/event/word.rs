//! The word of an event that stands in no color's queue: what the thread that queues it tells its
//! step.

use std::ptr::NonNull;

/// A number, or an address with tags in its lowest bits. At first it is [`NONE`](Self::NONE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(*mut ());

impl Word {
    pub(crate) const NONE: Word = Word(std::ptr::null_mut());

    #[inline]
    pub(crate) const fn number(number: usize) -> Word {
        Word(std::ptr::without_provenance_mut(number))
    }

    #[inline]
    pub(crate) fn pointer<T>(pointer: NonNull<T>) -> Word {
        Word(pointer.as_ptr().cast())
    }

    /// Adds tags.
    #[inline]
    pub(crate) fn tagged(self, tags: usize) -> Word {
        Word(self.0.map_addr(|address| address | tags))
    }

    /// The number, or the address with its tags.
    #[inline]
    pub(crate) fn number_of(self) -> usize {
        self.0.addr()
    }

    /// The tags among `tags` that the word has.
    #[inline]
    pub(crate) fn tags(self, tags: usize) -> usize {
        self.0.addr() & tags
    }

    /// Without these tags.
    #[inline]
    pub(crate) fn without(self, tags: usize) -> Word {
        Word(self.0.map_addr(|address| address & !tags))
    }

    /// The pointer, which has no tags; `None` if the word says nothing.
    #[inline]
    pub(crate) fn as_pointer<T>(self) -> Option<NonNull<T>> {
        NonNull::new(self.0.cast())
    }

    #[inline]
    pub(super) fn raw(self) -> *mut () {
        self.0
    }

    #[inline]
    pub(super) fn of_raw(raw: *mut ()) -> Word {
        Word(raw)
    }
}

//! The word of an event that is in no color's queue: a message from the thread that queues the
//! event to its step.

use std::ptr::NonNull;

/// A number, or an address with tags in its lowest bits. The initial word is [`NONE`](Self::NONE).
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

    /// Returns the word with these tags added.
    #[inline]
    pub(crate) fn tagged(self, tags: usize) -> Word {
        Word(self.0.map_addr(|address| address | tags))
    }

    /// Returns the number, or the address with its tags.
    #[inline]
    pub(crate) fn number_of(self) -> usize {
        self.0.addr()
    }

    /// Returns the tags among `tags` that the word has.
    #[inline]
    pub(crate) fn tags(self, tags: usize) -> usize {
        self.0.addr() & tags
    }

    /// Returns the word without these tags.
    #[inline]
    pub(crate) fn without(self, tags: usize) -> Word {
        Word(self.0.map_addr(|address| address & !tags))
    }

    /// Returns the pointer of a word without tags, or `None` if the word is [`NONE`](Self::NONE).
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

//! A list of events that are in no queue.
//!
//! The events form a circle, linked by their words. The list stores its last event, whose word is
//! the address of the first. So a list is one word, and appending allocates nothing.

use super::{Event, Owned, Word};

/// A list of events that are in no queue. It must be empty when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    last: Option<Owned>,
}

impl Chain {
    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Appends an event, which must be in no color's queue.
    pub(crate) fn push(&mut self, mut event: Owned) {
        let alone = Word::pointer(event.as_raw());
        event.set_word(alone);
        self.append(Chain { last: Some(event) });
    }

    /// Appends all events of another list.
    pub(crate) fn append(&mut self, more: Chain) {
        let Some(mut new_last) = more.last else { return };
        if let Some(mut last) = self.last.take() {
            let (first, new_first) = (last.word(), new_last.word());
            last.set_word(new_first);
            new_last.set_word(first);
            // The circle owns the event from now on.
            let _ = last.into_raw();
        }
        self.last = Some(new_last);
    }

    /// Removes the first event and returns it.
    pub(crate) fn pop(&mut self) -> Option<Owned> {
        let mut last = self.last.take()?;
        let first = last.word().as_pointer::<Event>().filter(|first| *first != last.as_raw());
        let Some(first) = first else { return Some(last) };
        // SAFETY: the circle owns its events, and this one leaves the circle here.
        let first = unsafe { Owned::of_raw(first) };
        last.set_word(first.word());
        self.last = Some(last);
        Some(first)
    }
}

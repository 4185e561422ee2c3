//! A list of events that are not queued.
//!
//! The events are linked in a circle by their words: the list is the last one, whose word leads to
//! the first. So a list is one word, and appending costs no allocation.

use super::{Event, Owned, Word};

/// See the module. It is emptied, not dropped.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    last: Option<Owned>,
}

impl Chain {
    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Appends an event, which is in no color's queue.
    pub(crate) fn push(&mut self, mut event: Owned) {
        let alone = Word::pointer(event.as_raw());
        event.set_word(alone);
        self.append(Chain { last: Some(event) });
    }

    /// Appends another list.
    pub(crate) fn append(&mut self, more: Chain) {
        let Some(mut new_last) = more.last else { return };
        if let Some(mut last) = self.last.take() {
            let (first, new_first) = (last.word(), new_last.word());
            last.set_word(new_first);
            new_last.set_word(first);
            // From now on it belongs to the circle.
            let _ = last.into_raw();
        }
        self.last = Some(new_last);
    }

    /// Takes the first one out.
    pub(crate) fn pop(&mut self) -> Option<Owned> {
        let mut last = self.last.take()?;
        let first = last.word().as_pointer::<Event>().filter(|first| *first != last.as_raw());
        let Some(first) = first else { return Some(last) };
        // SAFETY: the circle owns its events, and this one leaves it here.
        let first = unsafe { Owned::of_raw(first) };
        last.set_word(first.word());
        self.last = Some(last);
        Some(first)
    }
}

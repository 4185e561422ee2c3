//! Commit order alone: places are reserved in order, completed in any, and released in order (rule
//! I14).

use std::collections::VecDeque;

/// Room for places that is kept, whatever was there.
const KEPT: usize = 1_024;

/// A reserved place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequencePlace(u64);

/// What has completed a place.
#[must_use = "the caller that is to release has to do so"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Completed {
    /// The caller releases: it asks for [`Sequence::release`] until there is none.
    Release,
    /// An earlier place is open, or somebody releases already.
    Wait,
}

/// Values in the order of their places.
///
/// # Examples
///
/// ```
/// use dapple_colors::{Completed, Sequence};
/// let mut s = Sequence::new();
/// let (a, b) = (s.reserve(), s.reserve());
/// assert_eq!(s.complete(b, Some("b")), Completed::Wait);
/// assert_eq!(s.complete(a, Some("a")), Completed::Release);
/// assert_eq!((s.release(), s.release(), s.release()), (Some(Some("a")), Some(Some("b")), None));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sequence<T> {
    base: u64,
    /// `None`: open. `Some(None)`: completed without a value.
    slots: VecDeque<Option<Option<T>>>,
    releasing: bool,
}

impl<T> Sequence<T> {
    /// An empty one.
    pub fn new() -> Self {
        Sequence { base: 0, slots: VecDeque::new(), releasing: false }
    }

    /// The place behind all others.
    pub fn reserve(&mut self) -> SequencePlace {
        let place = SequencePlace(self.base + self.slots.len() as u64);
        self.slots.push_back(None);
        place
    }

    /// Completes a place, with or without a value.
    ///
    /// # Panics
    ///
    /// When it is complete already.
    pub fn complete(&mut self, place: SequencePlace, value: Option<T>) -> Completed {
        let index = place.0.checked_sub(self.base).expect("the place has not been released");
        let slot = &mut self.slots[index as usize];
        assert!(slot.is_none(), "a place is completed once");
        *slot = Some(value);
        if index > 0 || self.releasing {
            return Completed::Wait;
        }
        self.releasing = true;
        Completed::Release
    }

    /// The next place, for the one who releases: its value, if it has one. `None`: it is open, and
    /// the caller releases no more.
    pub fn release(&mut self) -> Option<Option<T>> {
        if let Some(Some(_)) = self.slots.front() {
            self.base += 1;
            let value = self.slots.pop_front().flatten();
            let capacity = self.slots.capacity();
            if capacity > KEPT && self.slots.len() < capacity / 8 {
                self.slots.shrink_to((2 * self.slots.len()).max(KEPT));
            }
            return value;
        }
        self.releasing = false;
        None
    }

    /// Places that have not been released.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Says whether every place has been released.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Self::new()
    }
}

//! Commit order alone: places are reserved in order, completed in any order, and released in order
//! (rule I14).

use std::collections::VecDeque;

/// The number of places whose memory is always kept.
const KEPT: usize = 1_024;

/// A place that was reserved in a [`Sequence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequencePlace(u64);

/// The outcome of completing a place: whether the caller has to release.
#[must_use = "the caller that is to release has to do so"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Completed {
    /// The caller releases: it calls [`Sequence::release`] until that returns `None`.
    Release,
    /// An earlier place is still open, or another caller releases already.
    Wait,
}

/// A queue that releases values in the order of their places.
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
    /// Returns an empty sequence.
    pub fn new() -> Self {
        Sequence { base: 0, slots: VecDeque::new(), releasing: false }
    }

    /// Reserves the place behind all others.
    pub fn reserve(&mut self) -> SequencePlace {
        let place = SequencePlace(self.base + self.slots.len() as u64);
        self.slots.push_back(None);
        place
    }

    /// Completes a place, with or without a value.
    ///
    /// # Panics
    ///
    /// Panics if the place has been completed already.
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

    /// Releases the next place, for the caller that got [`Completed::Release`].
    ///
    /// Returns the value of the place, or `Some(None)` if it was completed without one. Returns
    /// `None` if the next place is open or there is none; then the caller releases no more.
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

    /// Returns the number of places that have not been released.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns `true` if every place has been released.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Self::new()
    }
}

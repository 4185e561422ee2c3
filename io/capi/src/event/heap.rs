//! The events that time out, the earliest first: a binary heap in which each event knows its index.
//!
//! Among events with the same timeout, the order is that of a plain binary heap. libevent has such
//! a heap, so programs see the same order on both.

use super::layout::{Event, Place, Timeval};
use super::time::is_before;

/// A heap of events, which must not move while they are in it.
#[derive(Default)]
pub(super) struct Heap(Vec<*mut Event>);

fn timeout(event: *mut Event) -> Timeval {
    // SAFETY: an event in the heap is live, and so is an event that is about to be put into it.
    unsafe { (*event).timeout }
}

/// Returns `true` if `a` times out after `b`.
fn is_later(a: *mut Event, b: *mut Event) -> bool {
    is_before(timeout(b), timeout(a))
}

impl Heap {
    /// Returns the event that times out first, or null if there is none.
    pub(super) fn first(&self) -> *mut Event {
        self.0.first().copied().unwrap_or(std::ptr::null_mut())
    }

    pub(super) fn all(&self) -> &[*mut Event] {
        &self.0
    }

    /// Reserves room for one more event. Returns `false` if there is no memory.
    pub(super) fn reserve(&mut self) -> bool {
        self.0.try_reserve(1).is_ok()
    }

    fn put(&mut self, at: usize, event: *mut Event) {
        self.0[at] = event;
        // SAFETY: an event in the heap is live, and only the heap writes its `place`.
        unsafe { (*event).place = Place { heap: at as isize } };
    }

    /// # Safety
    ///
    /// The event is not in the heap, its `timeout` is set, and it does not move while it is in the
    /// heap.
    pub(super) unsafe fn push(&mut self, event: *mut Event) {
        self.0.push(event);
        self.rise(self.0.len() - 1, event);
    }

    /// # Safety
    ///
    /// The event is in the heap.
    pub(super) unsafe fn remove(&mut self, event: *mut Event) {
        // SAFETY: the event is in the heap, so `place` is its index.
        let at = unsafe { (*event).place.heap } as usize;
        debug_assert!(self.0.get(at) == Some(&event), "the event's index is right");
        let last = self.0.pop().expect("the event is in the heap");
        if last != event {
            match at > 0 && is_later(self.0[(at - 1) / 2], last) {
                true => self.rise(at, last),
                false => self.sink(at, last),
            }
        }
        // SAFETY: the event is live, and is no longer in the heap.
        unsafe { (*event).place = Place { heap: -1 } };
    }

    /// Puts an event at index `at`, or above it while the events there time out later.
    fn rise(&mut self, mut at: usize, event: *mut Event) {
        while at > 0 && is_later(self.0[(at - 1) / 2], event) {
            self.put(at, self.0[(at - 1) / 2]);
            at = (at - 1) / 2;
        }
        self.put(at, event);
    }

    /// Puts an event at index `at`, or below it while the events there time out earlier.
    fn sink(&mut self, mut at: usize, event: *mut Event) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= self.0.len() {
                break;
            }
            // The right child wins a tie.
            let child = match right < self.0.len() && !is_later(self.0[right], self.0[left]) {
                true => right,
                false => left,
            };
            if !is_later(event, self.0[child]) {
                break;
            }
            self.put(at, self.0[child]);
            at = child;
        }
        self.put(at, event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seconds: i64) -> Box<Event> {
        // SAFETY: an all-zero event is valid: null pointers, no functions, zero numbers.
        let mut event: Box<Event> = unsafe { Box::new(std::mem::zeroed()) };
        event.timeout.tv_sec = seconds;
        event
    }

    #[test]
    fn events_come_out_by_time_whatever_was_taken_out_before() {
        let mut heap = Heap::default();
        let mut all: Vec<_> = (0..200).map(|n: i64| event((n * 7919) % 101)).collect();
        for event in &mut all {
            // SAFETY: the boxes outlive the heap, and each event is pushed once.
            unsafe { heap.push(&raw mut **event) };
        }
        for n in (0..200).step_by(3) {
            // SAFETY: the event is in the heap.
            unsafe { heap.remove(&raw mut *all[n]) };
        }
        let mut last = -1;
        while !heap.first().is_null() {
            let first = heap.first();
            assert!(timeout(first).tv_sec >= last);
            last = timeout(first).tv_sec;
            // SAFETY: the event is in the heap.
            unsafe { heap.remove(first) };
        }
        // SAFETY: no event is in a common list, so `heap` is the field of the union that was
        // written last.
        assert!(all.iter().all(|event| unsafe { event.place.heap } == -1));
    }
}

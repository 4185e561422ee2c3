//! The events that time out, the next one first: a binary heap that knows where each one stands.
//!
//! Of events that time out at the same time the one is first that a plain binary heap has first.
//! libevent has such a heap, so programs see the same order on both.

use super::layout::{Event, Place, Timeval};
use super::time::is_before;

/// See the module. What stands in it stays where it is until it has been taken out.
#[derive(Default)]
pub(super) struct Heap(Vec<*mut Event>);

fn timeout(event: *mut Event) -> Timeval {
    // SAFETY: what stands in the heap is there.
    unsafe { (*event).timeout }
}

/// Says whether `a` times out after `b`.
fn is_later(a: *mut Event, b: *mut Event) -> bool {
    is_before(timeout(b), timeout(a))
}

impl Heap {
    /// The next one; null: there is none.
    pub(super) fn first(&self) -> *mut Event {
        self.0.first().copied().unwrap_or(std::ptr::null_mut())
    }

    pub(super) fn all(&self) -> &[*mut Event] {
        &self.0
    }

    /// Says whether there is room for one more, or makes it.
    pub(super) fn reserve(&mut self) -> bool {
        self.0.try_reserve(1).is_ok()
    }

    fn put(&mut self, at: usize, event: *mut Event) {
        self.0[at] = event;
        // SAFETY: what stands in the heap is there, and its place is the heap's to write.
        unsafe { (*event).place = Place { heap: at as isize } };
    }

    /// # Safety
    ///
    /// It is not in the heap, its time stands in it, and it stays where it is.
    pub(super) unsafe fn push(&mut self, event: *mut Event) {
        self.0.push(event);
        self.rise(self.0.len() - 1, event);
    }

    /// # Safety
    ///
    /// It is in the heap.
    pub(super) unsafe fn remove(&mut self, event: *mut Event) {
        // SAFETY: it is in the heap, so its place is a number.
        let at = unsafe { (*event).place.heap } as usize;
        debug_assert!(self.0.get(at) == Some(&event), "an event stands where it says");
        let last = self.0.pop().expect("it is in the heap");
        if last != event {
            match at > 0 && is_later(self.0[(at - 1) / 2], last) {
                true => self.rise(at, last),
                false => self.sink(at, last),
            }
        }
        // SAFETY: it is there, and in no heap any more.
        unsafe { (*event).place = Place { heap: -1 } };
    }

    /// Puts an event at a place, or above it, as far as those there are later.
    fn rise(&mut self, mut at: usize, event: *mut Event) {
        while at > 0 && is_later(self.0[(at - 1) / 2], event) {
            self.put(at, self.0[(at - 1) / 2]);
            at = (at - 1) / 2;
        }
        self.put(at, event);
    }

    /// Puts an event at a place, or below it, as far as those there are earlier.
    fn sink(&mut self, mut at: usize, event: *mut Event) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= self.0.len() {
                break;
            }
            // Of two that are equal, the right one.
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
        // SAFETY: all zeroes are an event: null pointers, no functions, zero numbers.
        let mut event: Box<Event> = unsafe { Box::new(std::mem::zeroed()) };
        event.timeout.tv_sec = seconds;
        event
    }

    #[test]
    fn events_come_out_by_time_whatever_was_taken_out_before() {
        let mut heap = Heap::default();
        let mut all: Vec<_> = (0..200).map(|n: i64| event((n * 7919) % 101)).collect();
        for event in &mut all {
            // SAFETY: the boxes outlive the heap, and each is pushed once.
            unsafe { heap.push(&raw mut **event) };
        }
        for n in (0..200).step_by(3) {
            // SAFETY: it is there.
            unsafe { heap.remove(&raw mut *all[n]) };
        }
        let mut last = -1;
        while !heap.first().is_null() {
            let first = heap.first();
            assert!(timeout(first).tv_sec >= last);
            last = timeout(first).tv_sec;
            // SAFETY: it is there.
            unsafe { heap.remove(first) };
        }
        // SAFETY: the boxes are there.
        assert!(all.iter().all(|event| unsafe { event.place.heap } == -1));
    }
}

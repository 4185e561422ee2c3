//! Queues of what is active, one per priority: lists whose links stand in the callbacks, which
//! belong to programs.

use std::ptr::null_mut;

use super::layout::Callback;

/// A queue. What stands in it stays where it is until it has been taken out.
pub(super) struct Queue {
    first: *mut Callback,
    last: *mut Callback,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Queue { first: null_mut(), last: null_mut() }
    }

    /// The first one; null: there is none.
    pub(super) fn first(&self) -> *mut Callback {
        self.first
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Says whether something that stands in it is so.
    pub(super) fn any(&self, is_so: impl Fn(*mut Callback) -> bool) -> bool {
        let mut at = self.first;
        while !at.is_null() {
            if is_so(at) {
                return true;
            }
            // SAFETY: what is in the queue is there.
            at = unsafe { (*at).next };
        }
        false
    }

    /// # Safety
    ///
    /// It is in no queue, and stays where it is while it is in this one.
    pub(super) unsafe fn push(&mut self, callback: *mut Callback) {
        // SAFETY: the caller says so; what is in the queue is there, by the same promise.
        unsafe {
            (*callback).next = null_mut();
            (*callback).previous = self.last;
            match self.last.is_null() {
                true => self.first = callback,
                false => (*self.last).next = callback,
            }
        }
        self.last = callback;
    }

    /// # Safety
    ///
    /// It is in this queue.
    pub(super) unsafe fn remove(&mut self, callback: *mut Callback) {
        // SAFETY: it and its neighbours are in the queue, so they are there.
        unsafe {
            let (next, previous) = ((*callback).next, (*callback).previous);
            match previous.is_null() {
                true => self.first = next,
                false => (*previous).next = next,
            }
            match next.is_null() {
                true => self.last = previous,
                false => (*next).previous = previous,
            }
        }
    }
}

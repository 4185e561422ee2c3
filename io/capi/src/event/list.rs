//! A queue of active callbacks, one for each priority: a list whose links are in the callbacks
//! themselves, which belong to programs.

use std::ptr::null_mut;

use super::layout::Callback;

/// A queue of callbacks, which must not move while they are in it.
pub(super) struct Queue {
    first: *mut Callback,
    last: *mut Callback,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Queue { first: null_mut(), last: null_mut() }
    }

    /// Returns the first callback, or null if the queue is empty.
    pub(super) fn first(&self) -> *mut Callback {
        self.first
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Returns `true` if a callback in the queue satisfies `is_so`.
    pub(super) fn any(&self, is_so: impl Fn(*mut Callback) -> bool) -> bool {
        let mut at = self.first;
        while !at.is_null() {
            if is_so(at) {
                return true;
            }
            // SAFETY: a callback in the queue is live.
            at = unsafe { (*at).next };
        }
        false
    }

    /// # Safety
    ///
    /// The callback is in no queue, and stays live and in place while it is in this one.
    pub(super) unsafe fn push(&mut self, callback: *mut Callback) {
        // SAFETY: the caller guarantees that `callback` is live. The callbacks in the queue were
        // pushed with the same guarantee.
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
    /// The callback is in this queue.
    pub(super) unsafe fn remove(&mut self, callback: *mut Callback) {
        // SAFETY: the callback and its neighbours are in the queue, so they are live.
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

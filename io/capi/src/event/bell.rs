//! The wakeup of a base's loop: an eventfd, and the base's own event that waits for it.
//!
//! Another thread, or the handler of a signal, writes to the descriptor.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::base::BaseState;
use super::core::{Even, assign_internal};
use super::layout::{EV_PERSIST, EV_READ, Event, EventFn, flags};

/// An eventfd and its event in the base.
pub(super) struct Bell {
    fd: OwnedFd,
    /// The event, on the heap and reached by pointers only, because the base has it among its
    /// events.
    event: *mut Event,
}

// SAFETY: the event is used only under the lock of its base.
unsafe impl Send for Bell {}

impl Bell {
    /// Makes a bell that calls `call` in the loop of the base when it has been rung.
    ///
    /// Returns `None` if the system refuses the descriptor.
    pub(super) fn new(state: &mut BaseState, call: EventFn) -> Option<Bell> {
        let fd = open()?;
        // SAFETY: an all-zero `Event` is valid: null pointers, no functions, zero numbers.
        let event = Box::into_raw(unsafe { Box::<Event>::new(std::mem::zeroed()) });
        let (base, number) = (state.own_base, fd.as_raw_fd());
        // SAFETY: the event is a fresh box of ours, so it is neither pending nor active.
        unsafe { assign_internal(event, base, number, EV_READ | EV_PERSIST, call, base.cast()) };
        Some(Bell { fd, event })
    }

    /// Returns the event, which is to be added after the base has stored the bell.
    pub(super) fn event(&self) -> *mut Event {
        self.event
    }

    /// Deletes the event, so that the loop no longer waits for it.
    pub(super) fn delete(&self, state: &mut BaseState) {
        // SAFETY: the box of the event lives as long as the bell.
        if unsafe { (*self.event).has(flags::STANDS) } {
            state.delete(self.event, Even::IfFinalizing);
        }
    }

    /// Gives a forked child a descriptor of its own. The event must have been deleted.
    ///
    /// Returns the old descriptor, to be closed when nobody rings it any longer, or `None` if the
    /// system refuses a new one.
    pub(super) fn renew(&mut self) -> Option<OwnedFd> {
        let fd = open()?;
        // SAFETY: the box of the event lives as long as the bell, and the event is neither pending
        // nor active.
        unsafe { (*self.event).fd = fd.as_raw_fd() };
        Some(std::mem::replace(&mut self.fd, fd))
    }

    /// Returns the descriptor, for [`ring`].
    pub(super) fn fd(&self) -> c_int {
        self.fd.as_raw_fd()
    }
}

impl Drop for Bell {
    /// Frees the event, which must have been deleted.
    fn drop(&mut self) {
        // SAFETY: `new` made the box, and after the deletion no one else has the pointer.
        drop(unsafe { Box::from_raw(self.event) });
    }
}

fn open() -> Option<OwnedFd> {
    // SAFETY: the call takes only numbers. Nobody else has the descriptor that it returns.
    unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    }
}

/// Rings the bell of a descriptor. Signal handlers may call it.
///
/// If the counter is at its maximum the write fails, but then the bell is ringing already.
pub(super) fn ring(fd: c_int) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the 8 bytes are a local array, and `write` may be called in a signal handler.
    unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
}

/// Resets the counter of a bell that has been heard, so that it can ring again.
pub(super) fn heard(fd: c_int) {
    let mut count = [0u8; 8];
    // SAFETY: the 8 bytes are a local array.
    unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) };
}

//! What wakes the loop of a base: a descriptor that is written to from elsewhere, by another thread
//! or the handler of a signal, and the base's own event that waits for it.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::base::State;
use super::core::{Even, assign_internal};
use super::layout::{EV_PERSIST, EV_READ, Event, EventFn, flags};

/// See the module.
pub(super) struct Bell {
    fd: OwnedFd,
    /// On the heap, and reached by pointers only: the base has it among its events.
    event: *mut Event,
}

// SAFETY: the event is used under the lock of its base only.
unsafe impl Send for Bell {}

impl Bell {
    /// One that calls `call` in the loop of a base when it has been rung. `None`: the system
    /// refuses the descriptor.
    pub(super) fn new(state: &mut State, call: EventFn) -> Option<Bell> {
        let fd = open()?;
        // SAFETY: all zeroes are an event.
        let event = Box::into_raw(unsafe { Box::<Event>::new(std::mem::zeroed()) });
        let (base, number) = (state.own_base, fd.as_raw_fd());
        // SAFETY: it is ours, and stands nowhere.
        unsafe { assign_internal(event, base, number, EV_READ | EV_PERSIST, call, base.cast()) };
        Some(Bell { fd, event })
    }

    /// The event, to be added once the base has the bell.
    pub(super) fn event(&self) -> *mut Event {
        self.event
    }

    /// The loop of its base waits for it no more.
    pub(super) fn delete(&self, state: &mut State) {
        // SAFETY: it is there as long as this is.
        if unsafe { (*self.event).has(flags::STANDS) } {
            state.delete(self.event, Even::IfFinalizing);
        }
    }

    /// A forked child gets a descriptor of its own; it has been deleted. Answers the one before, to
    /// be closed when nobody rings it any more. `None`: the system refuses it.
    pub(super) fn renew(&mut self) -> Option<OwnedFd> {
        let fd = open()?;
        // SAFETY: it is there as long as this is, and stands nowhere.
        unsafe { (*self.event).fd = fd.as_raw_fd() };
        Some(std::mem::replace(&mut self.fd, fd))
    }

    /// The descriptor, for [`ring`].
    pub(super) fn fd(&self) -> c_int {
        self.fd.as_raw_fd()
    }
}

impl Drop for Bell {
    /// It has been deleted.
    fn drop(&mut self) {
        // SAFETY: it is from `Box::into_raw`, and nobody else has it any more.
        drop(unsafe { Box::from_raw(self.event) });
    }
}

fn open() -> Option<OwnedFd> {
    // SAFETY: the call takes numbers; its answer is a descriptor that nobody else has.
    unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    }
}

/// Rings the bell of a descriptor; it may be called in the handler of a signal. A bell that has
/// been rung very often without an answer rings all the same.
pub(super) fn ring(fd: c_int) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the bytes are ours; the call may be made in a handler.
    unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
}

/// A bell has been heard: it rings again when it is rung again.
pub(super) fn heard(fd: c_int) {
    let mut count = [0u8; 8];
    // SAFETY: the bytes are ours.
    unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) };
}

//! The structures of the core that programs and libevent's upper layers have in memory.
//!
//! `struct event` has libevent's size, because programs embed it. `struct event_callback` has
//! libevent's size, too, and is the first field of an event. Fields that programs are known to read
//! have the offsets of libevent 2.1; the other fields are ours. A test compares sizes and offsets
//! with the installed header.

use std::ffi::{c_int, c_short, c_void};
use std::ptr::null_mut;

use super::base::Base;
use super::time;

/// `struct timeval`: on 64-bit systems, two numbers of eight bytes.
pub(super) type Timeval = libc::timeval;

/// A callback of a program: `event_callback_fn`.
pub(super) type EventFn = unsafe extern "C" fn(c_int, c_short, *mut c_void);
/// A callback of the upper layers, or its finalizer.
pub(super) type SelfFn = unsafe extern "C" fn(*mut Callback, *mut c_void);
/// The finalizer of an event.
pub(super) type FinalizeFn = unsafe extern "C" fn(*mut Event, *mut c_void);

pub(super) const EV_TIMEOUT: c_short = 0x01;
pub(super) const EV_READ: c_short = 0x02;
pub(super) const EV_WRITE: c_short = 0x04;
pub(super) const EV_SIGNAL: c_short = 0x08;
pub(super) const EV_PERSIST: c_short = 0x10;
pub(super) const EV_ET: c_short = 0x20;
pub(super) const EV_FINALIZE: c_short = 0x40;
pub(super) const EV_CLOSED: c_short = 0x80;
/// The flags for what an event can wait for at a descriptor.
pub(super) const EV_IO: c_short = EV_READ | EV_WRITE | EV_CLOSED;

/// The states of an event or callback: `ev_flags`.
pub(super) mod flags {
    use std::ffi::c_short;
    pub(crate) const TIMEOUT: c_short = 0x01;
    pub(crate) const INSERTED: c_short = 0x02;
    pub(crate) const ACTIVE: c_short = 0x08;
    pub(crate) const INTERNAL: c_short = 0x10;
    pub(crate) const ACTIVE_LATER: c_short = 0x20;
    pub(crate) const FINALIZING: c_short = 0x40;
    pub(crate) const INIT: c_short = 0x80;
    /// The event is pending or active.
    pub(crate) const STANDS: c_short = INSERTED | TIMEOUT | ACTIVE | ACTIVE_LATER;
}

/// The kind of function that an active callback calls: `evcb_closure`.
pub(super) mod closure {
    pub(crate) const EVENT: u8 = 0;
    pub(crate) const SIGNAL: u8 = 1;
    pub(crate) const PERSIST: u8 = 2;
    pub(crate) const CALLBACK_SELF: u8 = 3;
    pub(crate) const CALLBACK_FINALIZE: u8 = 4;
    pub(crate) const EVENT_FINALIZE: u8 = 5;
    pub(crate) const EVENT_FINALIZE_FREE: u8 = 6;
}

/// A callback that can be active, which is also the start of every event: `struct event_callback`.
#[repr(C)]
pub(crate) struct Callback {
    /// The neighbours in the queue of its priority.
    pub(super) next: *mut Callback,
    pub(super) previous: *mut Callback,
    pub(super) flags: c_short,
    pub(super) priority: u8,
    pub(super) closure: u8,
    pub(super) call: Call,
    pub(super) arg: *mut c_void,
}

/// The function to call; `Callback::closure` says which field is set.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union Call {
    pub(super) event: Option<EventFn>,
    pub(super) callback: Option<SelfFn>,
    pub(super) finalize: Option<FinalizeFn>,
}

/// `struct event`.
#[repr(C)]
pub(crate) struct Event {
    pub(super) callback: Callback,
    pub(super) place: Place,
    pub(super) fd: c_int,
    pub(super) base: *mut Base,
    /// Reserved for colors.
    _reserved: [usize; 2],
    pub(super) kind: OfKind,
    /// The flags for what the event waits for.
    pub(super) events: c_short,
    /// The flags for why the event is active.
    pub(super) result: c_short,
    /// The time at which the event times out. For a common timeout, the upper bits of its
    /// microseconds are the number of the list.
    pub(super) timeout: Timeval,
}

/// The start of `struct bufferevent`, which is libevent's.
#[repr(C)]
pub struct Bufferevent {
    pub(super) base: *mut Base,
    _operations: *const c_void,
    pub(super) read: Event,
    pub(super) write: Event,
    /// The two buffers: `struct evbuffer`.
    pub(super) input: *mut c_void,
    pub(super) output: *mut c_void,
}

/// `struct evconnlistener`, which is libevent's.
pub struct Listener {
    _opaque: [u8; 0],
}

/// The place of an event among the timeouts.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union Place {
    /// The index in the heap; -1 if the event is not there.
    pub(super) heap: isize,
    /// The neighbours in the list of a common timeout.
    pub(super) common: Neighbours,
}

/// The neighbours of an event in the list of a common timeout.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Neighbours {
    pub(super) next: *mut Event,
    pub(super) previous: *mut Event,
}

/// The data that only some kinds of events have.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union OfKind {
    /// How long a persistent event waits each time; zero if it does not time out.
    pub(super) interval: Timeval,
    pub(super) signal: Calls,
}

/// The calls that are still to be made for a signal.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Calls {
    pub(super) left: c_short,
    /// The counter of the loop that makes these calls now; null if no loop does.
    pub(super) counter: *mut c_short,
}

const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Callback>() == 40 && size_of::<Event>() == 128);
    assert!(offset_of!(Event, callback) == 0 && offset_of!(Event, place) == 40);
    assert!(offset_of!(Event, fd) == 56 && offset_of!(Event, base) == 64);
    assert!(offset_of!(Event, kind) == 88 && offset_of!(Event, events) == 104);
    assert!(offset_of!(Event, result) == 106 && offset_of!(Event, timeout) == 112);
    assert!(offset_of!(Callback, flags) == 16 && offset_of!(Callback, priority) == 18);
    assert!(offset_of!(Callback, call) == 24 && offset_of!(Callback, arg) == 32);
    assert!(offset_of!(Bufferevent, read) == 16 && offset_of!(Bufferevent, write) == 144);
    assert!(offset_of!(Bufferevent, input) == 272 && offset_of!(Bufferevent, output) == 280);
};

impl Callback {
    /// Returns `true` if one of these flags is set.
    pub(super) fn has(&self, flags: c_short) -> bool {
        self.flags & flags != 0
    }
}

impl Event {
    /// Writes the fields of an event that is neither pending nor active, with priority 0. The
    /// reserved field is not written.
    ///
    /// # Safety
    ///
    /// The caller may write to the memory.
    pub(super) unsafe fn write_fresh(
        event: *mut Event,
        base: *mut Base,
        fd: c_int,
        events: c_short,
        closure: u8,
        call: Option<EventFn>,
        arg: *mut c_void,
    ) {
        // SAFETY: the caller guarantees that the memory may be written to.
        unsafe {
            (*event).callback = Callback {
                next: null_mut(),
                previous: null_mut(),
                flags: flags::INIT,
                priority: 0,
                closure,
                call: Call { event: call },
                arg,
            };
            (*event).place = Place { heap: -1 };
            (*event).fd = fd;
            (*event).base = base;
            (*event).kind = OfKind { interval: time::ZERO };
            (*event).events = events;
            (*event).result = 0;
            (*event).timeout = time::ZERO;
        }
    }

    pub(super) fn has(&self, flags: c_short) -> bool {
        self.callback.has(flags)
    }

    /// Returns the flags for what the event waits for, or is active for.
    pub(super) fn pending(&self) -> c_short {
        let of = |stands, what| if self.has(stands) { what } else { 0 };
        of(flags::INSERTED, self.events & (EV_IO | EV_SIGNAL))
            | of(flags::ACTIVE | flags::ACTIVE_LATER, self.result)
            | of(flags::TIMEOUT, EV_TIMEOUT)
    }

    /// Returns `true` if the event waits for one of these.
    pub(super) fn waits_for(&self, what: c_short) -> bool {
        self.events & what != 0
    }
}

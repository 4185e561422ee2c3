//! Signals: the handler counts, and writes to a descriptor that the loop waits for.
//!
//! One base of the process has the signals, as in libevent: the last one that has added one, or
//! whose loop has begun with some.

use std::ffi::{c_int, c_short, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

use super::base::{Base, State};
use super::core::{Done, assign_internal};
use super::layout::{EV_PERSIST, EV_READ, EV_SIGNAL, Event, flags};
use super::libevent::warn;
use crate::door::set_errno;

/// Numbers of signals are below this.
const SIGNALS: usize = 65;

/// How often each has come since the loop last asked.
static CAUGHT: [AtomicU32; SIGNALS] = [const { AtomicU32::new(0) }; SIGNALS];

/// What the handler writes to; -1: nothing.
static WAKES: AtomicI32 = AtomicI32::new(-1);

/// The base that has the signals.
static OWNER: AtomicPtr<Base> = AtomicPtr::new(null_mut());

/// A base's descriptor for signals, its event, and the handlers that it has replaced.
pub(super) struct SignalPipe {
    fd: OwnedFd,
    event: Box<Event>,
    replaced: Vec<(c_int, libc::sigaction)>,
}

/// The handler.
extern "C" fn caught(signal: c_int) {
    // SAFETY: the place is this thread's; what is called may be called in a handler. The program
    // that was interrupted finds its error number as it was.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        if let Some(count) = CAUGHT.get(signal as usize) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        let one = 1u64.to_ne_bytes();
        libc::write(WAKES.load(Ordering::SeqCst), one.as_ptr().cast(), one.len());
        *errno = before;
    }
}

impl State {
    /// The signals of the process are this base's from now on.
    pub(super) fn own_signals(&mut self) {
        let Some(pipe) = &self.signal_pipe else { return };
        let before = OWNER.swap(self.own_base, Ordering::SeqCst);
        WAKES.store(pipe.fd.as_raw_fd(), Ordering::SeqCst);
        if !before.is_null() && before != self.own_base {
            warn(&format!(
                "Added a signal to event base {:p} with signals already added to event_base \
                 {before:p}.  Only one can have signals at a time with the {} backend.  The base \
                 with the most recently added signal or the most recent event_base_loop() call \
                 gets preference; do not rely on this behavior in future Libevent versions.",
                self.own_base,
                self.poller.method().name().to_string_lossy()
            ));
        }
    }

    /// Has the process's signals of this number told to an event.
    pub(super) fn watch_signal(&mut self, event: *mut Event) -> Done {
        // SAFETY: see `core`.
        let signal = unsafe { (*event).fd };
        if !(0..SIGNALS as c_int).contains(&signal) || self.signal_pipe.is_none() && !self.open() {
            return Done::Refused;
        }
        let Some(slot) = self.signals.slot(signal) else { return Done::Refused };
        let is_first = slot.is_empty();
        slot.push(event);
        if is_first {
            self.own_signals();
        }
        if is_first && !self.handle(signal) {
            if let Some(slot) = self.signals.slot(signal) {
                slot.remove(event);
            }
            return Done::Refused;
        }
        Done::Yes
    }

    pub(super) fn unwatch_signal(&mut self, event: *mut Event) {
        // SAFETY: see `core`.
        let signal = unsafe { (*event).fd };
        let Some(slot) = self.signals.slot(signal) else { return };
        slot.remove(event);
        if slot.is_empty()
            && let Some(pipe) = &mut self.signal_pipe
            && let Some(at) = pipe.replaced.iter().position(|(number, _)| *number == signal)
        {
            let (_, before) = pipe.replaced.swap_remove(at);
            // SAFETY: it is what the system has answered before.
            unsafe { libc::sigaction(signal, &before, null_mut()) };
        }
    }

    /// Opens the descriptor. False: the system refuses it.
    fn open(&mut self) -> bool {
        // SAFETY: the call takes numbers; its answer is a descriptor that nobody else has.
        let fd = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd < 0 {
                return false;
            }
            OwnedFd::from_raw_fd(fd)
        };
        // SAFETY: all zeroes are an event; it is ours, and the base outlives it.
        let mut event: Box<Event> = unsafe { Box::new(std::mem::zeroed()) };
        let (at, base, number): (*mut Event, _, _) =
            (&raw mut *event, self.own_base, fd.as_raw_fd());
        // SAFETY: see above.
        unsafe { assign_internal(at, base, number, EV_READ | EV_PERSIST, tell, base.cast()) };
        self.signal_pipe = Some(SignalPipe { fd, event, replaced: Vec::new() });
        self.add(at, None) == Done::Yes
    }

    /// Installs the handler of a signal. False: the system refuses it.
    fn handle(&mut self, signal: c_int) -> bool {
        let Some(pipe) = &mut self.signal_pipe else { return false };
        // SAFETY: all zeroes are an action; the set is filled, and the handler is one that takes a
        // number. What was there is written to memory of ours.
        let before = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = caught as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            libc::sigfillset(&mut action.sa_mask);
            let mut before = MaybeUninit::<libc::sigaction>::uninit();
            if libc::sigaction(signal, &action, before.as_mut_ptr()) != 0 {
                let error = std::io::Error::last_os_error();
                warn(&format!("sigaction: {error}"));
                set_errno(error.raw_os_error().unwrap_or(0));
                return false;
            }
            before.assume_init()
        };
        pipe.replaced.push((signal, before));
        true
    }

    /// Activates what waits for a signal.
    pub(super) fn signal_came(&mut self, signal: c_int, calls: c_short) {
        let waiting: Vec<_> = match self.signals.get(signal) {
            Some(slot) => slot.latest_first().collect(),
            None => return,
        };
        waiting.into_iter().for_each(|event| self.activate(event, EV_SIGNAL, calls));
    }

    /// The base ends: the handlers that were there before are there again.
    pub(super) fn close_signals(&mut self) {
        let Some(mut pipe) = self.signal_pipe.take() else { return };
        for (signal, before) in pipe.replaced.drain(..) {
            // SAFETY: it is what the system has answered before.
            unsafe { libc::sigaction(signal, &before, null_mut()) };
        }
        let own = self.own_base;
        if OWNER.compare_exchange(own, null_mut(), Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            WAKES.store(-1, Ordering::SeqCst);
            forget_caught();
        }
        if pipe.event.has(flags::INSERTED) {
            self.delete(&raw mut *pipe.event, super::core::Even::IfFinalizing);
        }
    }

    /// A forked child has a descriptor of its own.
    pub(super) fn renew_signals(&mut self) -> bool {
        let Some(pipe) = &mut self.signal_pipe else { return true };
        // What came before the fork is the parent's.
        forget_caught();
        let at = &raw mut *pipe.event;
        self.delete(at, super::core::Even::IfFinalizing);
        let Some(pipe) = &mut self.signal_pipe else { return true };
        // SAFETY: the call takes numbers; its answer is a descriptor that nobody else has.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return false;
        }
        // SAFETY: see above.
        pipe.fd = unsafe { OwnedFd::from_raw_fd(fd) };
        pipe.event.fd = fd;
        if OWNER.load(Ordering::SeqCst) == self.own_base {
            WAKES.store(fd, Ordering::SeqCst);
        }
        self.add(at, None) == Done::Yes
    }
}

/// Nothing has come.
fn forget_caught() {
    CAUGHT.iter().for_each(|caught| caught.store(0, Ordering::SeqCst));
}

/// Signals have come.
unsafe extern "C" fn tell(fd: c_int, _: c_short, base: *mut c_void) {
    let mut count = [0u8; 8];
    // SAFETY: the bytes are ours; the base is there while its loop runs.
    let mut state = unsafe {
        // Before the counts are read: what comes after that is told by another write.
        libc::read(fd, count.as_mut_ptr().cast(), count.len());
        (*base.cast::<Base>()).lock()
    };
    if OWNER.load(Ordering::SeqCst) != base.cast() {
        // They are another base's by now.
        return;
    }
    for (signal, caught) in CAUGHT.iter().enumerate() {
        let calls = caught.swap(0, Ordering::SeqCst);
        if calls > 0 {
            state.signal_came(signal as c_int, calls.min(c_short::MAX as u32) as c_short);
        }
    }
}

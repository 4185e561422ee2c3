//! Signals: the handler counts, and writes to a descriptor that the loop waits for.
//!
//! One base of the process has the signals, as in libevent: the last one that has added one, or
//! whose loop has begun with some.

use std::ffi::{c_int, c_short, c_void};
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

use super::base::{Base, State};
use super::bell::{Bell, heard, ring};
use super::core::Done;
use super::layout::{EV_SIGNAL, Event};
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
    bell: Bell,
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
        ring(WAKES.load(Ordering::SeqCst));
        *errno = before;
    }
}

impl State {
    /// The signals of the process are this base's from now on.
    pub(super) fn own_signals(&mut self) {
        let Some(pipe) = &self.signal_pipe else { return };
        let before = OWNER.swap(self.own_base, Ordering::SeqCst);
        WAKES.store(pipe.bell.fd(), Ordering::SeqCst);
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
        let Some(bell) = Bell::new(self, tell) else { return false };
        let event = bell.event();
        self.signal_pipe = Some(SignalPipe { bell, replaced: Vec::new() });
        self.add(event, None) == Done::Yes
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
        pipe.bell.delete(self);
    }

    /// A forked child has a descriptor of its own.
    pub(super) fn renew_signals(&mut self) -> bool {
        let Some(mut pipe) = self.signal_pipe.take() else { return true };
        // What came before the fork is the parent's.
        forget_caught();
        pipe.bell.delete(self);
        let before = pipe.bell.renew();
        let is_whole = before.is_some();
        if OWNER.load(Ordering::SeqCst) == self.own_base {
            WAKES.store(if is_whole { pipe.bell.fd() } else { -1 }, Ordering::SeqCst);
        }
        drop(before);
        // For a signal that has come meanwhile.
        ring(pipe.bell.fd());
        let event = pipe.bell.event();
        self.signal_pipe = Some(pipe);
        is_whole && self.add(event, None) == Done::Yes
    }
}

/// Nothing has come.
fn forget_caught() {
    CAUGHT.iter().for_each(|caught| caught.store(0, Ordering::SeqCst));
}

/// Signals have come.
unsafe extern "C" fn tell(fd: c_int, _: c_short, base: *mut c_void) {
    // Before the counts are read: what comes after that rings again.
    heard(fd);
    // SAFETY: the base is there while its loop runs.
    let mut state = unsafe { (*base.cast::<Base>()).lock() };
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

//! Signals: the handler counts them, and writes to a descriptor that the loop waits for.
//!
//! One base of the process owns the signals, as in libevent: the one that last added the first
//! event for a signal, or whose loop last began with signal events.

use std::ffi::{c_int, c_short, c_void};
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

use super::base::{Base, BaseState};
use super::bell::{Bell, heard, ring};
use super::core::Done;
use super::layout::{EV_SIGNAL, Event};
use super::libevent::warn;
use crate::door::set_errno;

/// The limit of signal numbers: all are below it.
const SIGNALS: usize = 65;

/// How often each signal has come since the loop last read its count.
static CAUGHT: [AtomicU32; SIGNALS] = [const { AtomicU32::new(0) }; SIGNALS];

/// The descriptor that the handler writes to; -1 if there is none.
static WAKES: AtomicI32 = AtomicI32::new(-1);

/// The base that owns the signals.
static OWNER: AtomicPtr<Base> = AtomicPtr::new(null_mut());

/// A base's descriptor for signals with its event, and the handlers that the base has replaced.
pub(super) struct SignalPipe {
    bell: Bell,
    replaced: Vec<(c_int, libc::sigaction)>,
}

/// The handler of all signals that a base watches.
extern "C" fn caught(signal: c_int) {
    // SAFETY: `errno` is this thread's own, and `ring` may be called in a signal handler. `errno`
    // is restored, because the handler may interrupt any code of the program.
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

impl BaseState {
    /// Makes this base the owner of the process's signals.
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

    /// Has a signal activate an event.
    pub(super) fn watch_signal(&mut self, event: *mut Event) -> Done {
        // SAFETY: the event is live and of this base (see the header of `core`).
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
        // SAFETY: the event is live and of this base (see the header of `core`).
        let signal = unsafe { (*event).fd };
        let Some(slot) = self.signals.slot(signal) else { return };
        slot.remove(event);
        if slot.is_empty()
            && let Some(pipe) = &mut self.signal_pipe
            && let Some(at) = pipe.replaced.iter().position(|(number, _)| *number == signal)
        {
            let (_, before) = pipe.replaced.swap_remove(at);
            // SAFETY: `before` is an action that `sigaction` returned for this signal.
            unsafe { libc::sigaction(signal, &before, null_mut()) };
        }
    }

    /// Makes the descriptor for signals. Returns `false` if the system refuses it.
    fn open(&mut self) -> bool {
        let Some(bell) = Bell::new(self, tell) else { return false };
        let event = bell.event();
        self.signal_pipe = Some(SignalPipe { bell, replaced: Vec::new() });
        self.add(event, None) == Done::Yes
    }

    /// Installs the handler of a signal. Returns `false` if the system refuses it.
    fn handle(&mut self, signal: c_int) -> bool {
        let Some(pipe) = &mut self.signal_pipe else { return false };
        // SAFETY: an all-zero action is valid. Its mask is filled, and the handler takes one
        // number, as an action without SA_SIGINFO demands. `before` is local memory, which the call
        // has written if it returned 0.
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

    /// Activates the events that wait for a signal.
    pub(super) fn signal_came(&mut self, signal: c_int, calls: c_short) {
        let waiting: Vec<_> = match self.signals.get(signal) {
            Some(slot) => slot.latest_first().collect(),
            None => return,
        };
        waiting.into_iter().for_each(|event| self.activate(event, EV_SIGNAL, calls));
    }

    /// Restores the handlers that were there before, because the base ends.
    pub(super) fn close_signals(&mut self) {
        let Some(mut pipe) = self.signal_pipe.take() else { return };
        for (signal, before) in pipe.replaced.drain(..) {
            // SAFETY: `before` is an action that `sigaction` returned for this signal.
            unsafe { libc::sigaction(signal, &before, null_mut()) };
        }
        let own = self.own_base;
        if OWNER.compare_exchange(own, null_mut(), Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            WAKES.store(-1, Ordering::SeqCst);
            forget_caught();
        }
        pipe.bell.delete(self);
    }

    /// Gives a forked child a descriptor of its own. Returns `false` if the system refuses it.
    pub(super) fn renew_signals(&mut self) -> bool {
        let Some(mut pipe) = self.signal_pipe.take() else { return true };
        // Signals that came before the fork belong to the parent.
        forget_caught();
        pipe.bell.delete(self);
        let before = pipe.bell.renew();
        let is_whole = before.is_some();
        if OWNER.load(Ordering::SeqCst) == self.own_base {
            WAKES.store(if is_whole { pipe.bell.fd() } else { -1 }, Ordering::SeqCst);
        }
        drop(before);
        // A signal may have come since the descriptor was replaced.
        ring(pipe.bell.fd());
        let event = pipe.bell.event();
        self.signal_pipe = Some(pipe);
        is_whole && self.add(event, None) == Done::Yes
    }
}

/// Resets the counts of all signals.
fn forget_caught() {
    CAUGHT.iter().for_each(|caught| caught.store(0, Ordering::SeqCst));
}

/// The callback of the descriptor: activates the events of the signals that have come.
unsafe extern "C" fn tell(fd: c_int, _: c_short, base: *mut c_void) {
    // The bell is reset before the counts are read, so a later signal rings it again.
    heard(fd);
    // SAFETY: the loop of the base calls this, and the base lives while its loop runs.
    let mut state = unsafe { (*base.cast::<Base>()).lock() };
    if OWNER.load(Ordering::SeqCst) != base.cast() {
        // Another base owns the signals by now.
        return;
    }
    for (signal, caught) in CAUGHT.iter().enumerate() {
        let calls = caught.swap(0, Ordering::SeqCst);
        if calls > 0 {
            state.signal_came(signal as c_int, calls.min(c_short::MAX as u32) as c_short);
        }
    }
}

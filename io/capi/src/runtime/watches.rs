//! Descriptors and signals.

#![allow(clippy::missing_safety_doc, reason = "`runtime` says what all of them rely on")]

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use dapple::Cx;
use dapple_io::{Interest, Ready, Registration, SignalRegistration};

use super::callee::{Callee, Colored, Function, Tell, WatchFunction, on_color};
use super::colors::Color;
use super::site::site;
use crate::door::{answer, door, number_of, pointer};

/// Bytes can be read, a connection can be accepted, or the other side has ended.
pub const DAPPLE_READABLE: c_int = 1;
/// Bytes can be written, or a connection is made.
pub const DAPPLE_WRITABLE: c_int = 2;
/// As an interest: the function is called when that begins, and not again as long as it stays.
pub const DAPPLE_EDGE: c_int = 4;
/// As what a function is told: the other side has ended.
pub const DAPPLE_CLOSED: c_int = 8;
/// As what a function is told: the descriptor has an error.
pub const DAPPLE_ERROR: c_int = 16;

/// A function that waits for a descriptor, or for a signal.
pub struct Watch(Registered);

enum Registered {
    Descriptor(Registration),
    Signal(SignalRegistration),
}

/// A descriptor of the program's, which is open as long as it is watched, as the header demands.
struct Watched(c_int);

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the program keeps it open until the watch has ended: see `dapple_watch_end`.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

/// What a program waits for, as the reactor has it.
fn interest_of(interest: c_int) -> Result<Interest, c_int> {
    let kinds = match interest & !DAPPLE_EDGE {
        DAPPLE_READABLE => Interest::READABLE,
        DAPPLE_WRITABLE => Interest::WRITABLE,
        kinds if kinds == DAPPLE_READABLE | DAPPLE_WRITABLE => {
            Interest::READABLE | Interest::WRITABLE
        }
        _ => return Err(libc::EINVAL),
    };
    Ok(if interest & DAPPLE_EDGE != 0 { kinds.edge_triggered() } else { kinds })
}

/// What the reactor says, as a program has it.
fn bits_of(ready: Ready) -> c_int {
    let says = [
        (ready.is_readable(), DAPPLE_READABLE),
        (ready.is_writable(), DAPPLE_WRITABLE),
        (ready.is_closed(), DAPPLE_CLOSED),
        (ready.is_error(), DAPPLE_ERROR),
    ];
    says.into_iter().filter(|(is, _)| *is).fold(0, |bits, (_, bit)| bits | bit)
}

/// The watch of what was registered; if that was refused, the argument stays the program's.
fn give(
    registered: std::io::Result<Registered>,
    callee: Arc<Colored<Tell>>,
) -> Result<*mut Watch, c_int> {
    match registered {
        Ok(registered) => Ok(Box::into_raw(Box::new(Watch(registered)))),
        Err(error) => {
            Callee::forget_shared(callee);
            Err(number_of(&error))
        }
    }
}

/// Calls a function on a color when a descriptor is ready: again and again as long as it is, with
/// one call queued at most. The function gets what the descriptor is ready for, and the argument.
///
/// The descriptor stays the program's: it should not block, and must stay open until the watch has
/// ended. The argument is freed by drop, if that is not NULL, on the color, when the watch has
/// ended and the function does not run any more. dapple_on_ready has no drop. The function may be
/// called before this returns, unless the caller is a callback of the color itself.
///
/// NULL: nothing is called; errno is EINVAL for a color or function that is NULL or a number that
/// is no interest, ESHUTDOWN when the runtime has ended, ECHILD in a forked child, or what the
/// system says (EPERM: a regular file).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_on_ready_from(
    color: *mut Color,
    descriptor: c_int,
    interest: c_int,
    function: WatchFunction,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> *mut Watch {
    // SAFETY: see `runtime`.
    pointer("dapple_on_ready", || unsafe {
        let interest = interest_of(interest)?;
        if descriptor < 0 {
            return Err(libc::EBADF);
        }
        let (owner, to, callee) = on_color(color, function, argument, drop)?;
        let callee = Arc::new(callee);
        let tells = Arc::clone(&callee);
        let calls = move |ready: Ready, _: &mut Cx| {
            tells.tell("a descriptor's function", bits_of(ready));
        };
        let (site, fd) = (site(file, line), Watched(descriptor));
        let registered = owner.io.on_ready_from(site, fd, interest, &to, calls);
        give(registered.map(Registered::Descriptor), callee)
    })
}

/// Calls a function on a color when the process gets a signal. Signals that come before the
/// function begins are one. The function gets the number of the signal, and the argument. What the
/// process does by default it does not do any more.
///
/// As dapple_on_ready_from otherwise. EINVAL also: it is no signal, or one that cannot be handled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_on_signal_from(
    color: *mut Color,
    signal: c_int,
    function: WatchFunction,
    argument: *mut c_void,
    drop: Function,
    file: *const c_char,
    line: c_int,
) -> *mut Watch {
    // SAFETY: see `runtime`.
    pointer("dapple_on_signal", || unsafe {
        let (owner, to, callee) = on_color(color, function, argument, drop)?;
        let callee = Arc::new(callee);
        let tells = Arc::clone(&callee);
        let calls = move |_: &mut Cx| tells.tell("a signal's function", signal);
        let registered = owner.io.on_signal_from(site(file, line), signal, &to, calls);
        give(registered.map(Registered::Signal), callee)
    })
}

/// The registration of a descriptor.
unsafe fn of_descriptor<'a>(watch: *mut Watch) -> Result<&'a Registration, c_int> {
    // SAFETY: see `runtime`.
    match unsafe { watch.as_ref() } {
        Some(Watch(Registered::Descriptor(registration))) => Ok(registration),
        _ => Err(libc::EINVAL),
    }
}

/// Has the function of a descriptor not called any more, until dapple_watch_resume.
///
/// 0: done. -1: errno is EINVAL for NULL, and for a signal's watch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_watch_pause(watch: *mut Watch) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_watch_pause", || unsafe {
        of_descriptor(watch)?.pause();
        Ok(())
    })
}

/// Has the function of a descriptor called again. What came meanwhile is told.
///
/// 0: done. -1: errno is EINVAL for NULL, and for a signal's watch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_watch_resume(watch: *mut Watch) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_watch_resume", || unsafe {
        of_descriptor(watch)?.resume();
        Ok(())
    })
}

/// Has the function of a descriptor called for something else.
///
/// 0: done. -1: errno is EINVAL for NULL, for a signal's watch, and for a number that is no
/// interest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_watch_set_interest(watch: *mut Watch, interest: c_int) -> c_int {
    // SAFETY: see `runtime`.
    answer("dapple_watch_set_interest", || unsafe {
        of_descriptor(watch)?.set_interest(interest_of(interest)?);
        Ok(())
    })
}

/// Ends a watch, and frees it: its function is no longer called, but for a call that runs at
/// this moment on another thread. The descriptor may be closed in the drop of the watch, and in a
/// callback of its color. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_watch_end(watch: *mut Watch) {
    if watch.is_null() {
        return;
    }
    // SAFETY: it is from `give`, and not used again: see `runtime`.
    door("dapple_watch_end", || match unsafe { Box::from_raw(watch) }.0 {
        Registered::Descriptor(registration) => drop(registration),
        Registered::Signal(registration) => drop(registration),
    });
}

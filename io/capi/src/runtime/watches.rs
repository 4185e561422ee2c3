//! The exported functions of descriptors and signals.

#![allow(clippy::missing_safety_doc, reason = "`runtime/mod.rs` states the safety rules")]

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use dapple::Cx;
use dapple_io::{Interest, Ready, Registration, SignalRegistration};

use super::callee::{Callee, Colored, Function, Tell, WatchFunction, on_color};
use super::colors::Color;
use super::site::site;
use crate::door::{answer, door, number_of, pointer};

/// Bytes can be read, a connection can be accepted, or the peer has ended.
pub const DAPPLE_READABLE: c_int = 1;
/// Bytes can be written, or a connection is established.
pub const DAPPLE_WRITABLE: c_int = 2;
/// As an interest: the function is called when a readiness begins, and not again while it lasts.
pub const DAPPLE_EDGE: c_int = 4;
/// In what a function is told: the peer has ended.
pub const DAPPLE_CLOSED: c_int = 8;
/// In what a function is told: the descriptor has an error.
pub const DAPPLE_ERROR: c_int = 16;

/// The registration of a function for a descriptor or a signal.
pub struct Watch(Registered);

enum Registered {
    Descriptor(Registration),
    Signal(SignalRegistration),
}

/// A descriptor of the program. It stays open while it is watched, as the header demands.
struct Watched(c_int);

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the program keeps it open until the watch has ended, as `dapple_on_ready_from`
        // demands.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

/// Translates an interest from C to that of the reactor.
///
/// # Errors
///
/// EINVAL if the number is not an interest.
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

/// Translates the readiness that the reactor reports to the bits of C.
fn bits_of(ready: Ready) -> c_int {
    let says = [
        (ready.is_readable(), DAPPLE_READABLE),
        (ready.is_writable(), DAPPLE_WRITABLE),
        (ready.is_closed(), DAPPLE_CLOSED),
        (ready.is_error(), DAPPLE_ERROR),
    ];
    says.into_iter().filter(|(is, _)| *is).fold(0, |bits, (_, bit)| bits | bit)
}

/// Returns the watch of a registration. If the registration was refused, the argument stays the
/// program's.
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

/// Calls a function on a color whenever a descriptor is ready.
///
/// The function is called again and again as long as the descriptor is ready, with at most one call
/// queued. It gets the bits for what the descriptor is ready for, and the argument. It may be
/// called before this call returns, unless the caller is a callback of the same color.
///
/// The descriptor stays the program's. It should be non-blocking, and must stay open until the
/// watch has ended. The argument is freed by drop, if that is not NULL, on the color, after the
/// watch has ended and the function no longer runs. dapple_on_ready has no drop.
///
/// Returns NULL with errno set on failure, and then calls nothing: EINVAL if the color or the
/// function is NULL or interest is not an interest, EBADF if the descriptor is negative, ESHUTDOWN
/// if the runtime has ended, ECHILD in a forked child, or the system's error (EPERM for a regular
/// file).
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
    // SAFETY: the caller guarantees that all pointers are null or lead to what their types say (see
    // `runtime/mod.rs`).
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

/// Calls a function on a color whenever the process gets a signal.
///
/// Signals that come before the function begins count as one. The function gets the number of the
/// signal, and the argument. The default action of the signal is no longer taken. The argument is
/// that of dapple_on_ready_from.
///
/// Returns NULL with errno set on failure, and then calls nothing: EINVAL if the color or the
/// function is NULL or the number is not that of a signal that can be handled, ESHUTDOWN if the
/// runtime has ended, ECHILD in a forked child, or the system's error.
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
    // SAFETY: the caller guarantees that all pointers are null or lead to what their types say (see
    // `runtime/mod.rs`).
    pointer("dapple_on_signal", || unsafe {
        let (owner, to, callee) = on_color(color, function, argument, drop)?;
        let callee = Arc::new(callee);
        let tells = Arc::clone(&callee);
        let calls = move |_: &mut Cx| tells.tell("a signal's function", signal);
        let registered = owner.io.on_signal_from(site(file, line), signal, &to, calls);
        give(registered.map(Registered::Signal), callee)
    })
}

/// Returns the registration of a descriptor's watch.
///
/// # Errors
///
/// EINVAL if the watch is null or that of a signal.
unsafe fn of_descriptor<'a>(watch: *mut Watch) -> Result<&'a Registration, c_int> {
    // SAFETY: the caller guarantees that the watch is null or live (see `runtime/mod.rs`).
    match unsafe { watch.as_ref() } {
        Some(Watch(Registered::Descriptor(registration))) => Ok(registration),
        _ => Err(libc::EINVAL),
    }
}

/// Pauses the watch of a descriptor: its function is not called until dapple_watch_resume.
///
/// Returns 0, or -1 with errno set to EINVAL if the watch is NULL or that of a signal.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_watch_pause(watch: *mut Watch) -> c_int {
    // SAFETY: the caller guarantees that the watch is null or live (see `runtime/mod.rs`).
    answer("dapple_watch_pause", || unsafe {
        of_descriptor(watch)?.pause();
        Ok(())
    })
}

/// Ends the pause of a watch.
///
/// If the descriptor is ready, its function is called. Returns 0, or -1 with errno set to EINVAL if
/// the watch is NULL or that of a signal.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_watch_resume(watch: *mut Watch) -> c_int {
    // SAFETY: the caller guarantees that the watch is null or live (see `runtime/mod.rs`).
    answer("dapple_watch_resume", || unsafe {
        of_descriptor(watch)?.resume();
        Ok(())
    })
}

/// Changes what the function of a descriptor is called for.
///
/// Returns 0, or -1 with errno set to EINVAL if the watch is NULL or that of a signal, or if
/// interest is not an interest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_watch_set_interest(watch: *mut Watch, interest: c_int) -> c_int {
    // SAFETY: the caller guarantees that the watch is null or live (see `runtime/mod.rs`).
    answer("dapple_watch_set_interest", || unsafe {
        of_descriptor(watch)?.set_interest(interest_of(interest)?);
        Ok(())
    })
}

/// Ends a watch, and frees it. NULL is ignored.
///
/// Its function is no longer called; only a call that runs at this moment on another thread goes
/// on. The descriptor may be closed in the drop function of the watch, or after this call in a
/// callback of its color.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dapple_watch_end(watch: *mut Watch) {
    if watch.is_null() {
        return;
    }
    // SAFETY: `give` made the box, and the caller does not use it again (see `runtime/mod.rs`).
    door("dapple_watch_end", || match unsafe { Box::from_raw(watch) }.0 {
        Registered::Descriptor(registration) => drop(registration),
        Registered::Signal(registration) => drop(registration),
    });
}

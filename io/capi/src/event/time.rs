//! Times in libevent's format: seconds and microseconds of a monotonic clock.

use std::mem::MaybeUninit;

use super::layout::Timeval;

const MICROS: i64 = 1_000_000;

pub(super) const ZERO: Timeval = Timeval { tv_sec: 0, tv_usec: 0 };

/// Reads a clock.
fn read(clock: libc::clockid_t) -> Timeval {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: `time` is local memory, which the call fills. It fails only for a clock that does not
    // exist.
    let time = unsafe {
        libc::clock_gettime(clock, time.as_mut_ptr());
        time.assume_init()
    };
    Timeval { tv_sec: time.tv_sec, tv_usec: time.tv_nsec / 1_000 }
}

/// The precision of timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// By a clock that is cheap to read and ticks a few hundred times per second. Events that are
    /// added within one tick, with the same timeout, are due at the same time, as in libevent.
    Coarse,
    /// To the microsecond.
    Fine,
}

/// Returns the time of the clock that all timeouts use.
pub(super) fn now(precision: Precision) -> Timeval {
    read(match precision {
        Precision::Coarse => libc::CLOCK_MONOTONIC_COARSE,
        Precision::Fine => libc::CLOCK_MONOTONIC,
    })
}

/// Returns the time of day.
pub(super) fn wall() -> Timeval {
    read(libc::CLOCK_REALTIME)
}

pub(super) fn add(a: Timeval, b: Timeval) -> Timeval {
    let micros = a.tv_usec + b.tv_usec;
    let carry = i64::from(micros >= MICROS);
    Timeval {
        tv_sec: a.tv_sec.saturating_add(b.tv_sec).saturating_add(carry),
        tv_usec: micros - carry * MICROS,
    }
}

pub(super) fn subtract(a: Timeval, b: Timeval) -> Timeval {
    let micros = a.tv_usec - b.tv_usec;
    let borrow = i64::from(micros < 0);
    Timeval {
        tv_sec: a.tv_sec.saturating_sub(b.tv_sec).saturating_sub(borrow),
        tv_usec: micros + borrow * MICROS,
    }
}

/// Returns `true` if `a` is before `b`.
pub(super) fn is_before(a: Timeval, b: Timeval) -> bool {
    (a.tv_sec, a.tv_usec) < (b.tv_sec, b.tv_usec)
}

pub(super) fn is_zero(time: Timeval) -> bool {
    time.tv_sec == 0 && time.tv_usec == 0
}

/// Returns the time at a pointer, or `None` if it is null.
///
/// # Safety
///
/// `time` is null, or leads to a time.
pub(super) unsafe fn read_time(time: *const Timeval) -> Option<Timeval> {
    // SAFETY: the caller guarantees that `time` is null or leads to a time.
    unsafe { time.as_ref().copied() }
}

//! Times as libevent has them: seconds and microseconds of a clock that does not go back.

use std::mem::MaybeUninit;

use super::layout::Timeval;

const MICROS: i64 = 1_000_000;

pub(super) const ZERO: Timeval = Timeval { tv_sec: 0, tv_usec: 0 };

/// Reads a clock.
fn read(clock: libc::clockid_t) -> Timeval {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is to memory of ours, which the call fills; it fails for a clock that
    // does not exist only.
    let time = unsafe {
        libc::clock_gettime(clock, time.as_mut_ptr());
        time.assume_init()
    };
    Timeval { tv_sec: time.tv_sec, tv_usec: time.tv_nsec / 1_000 }
}

/// How finely timeouts are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// By a clock that ticks some hundred times a second, and is read in no time. What is added
    /// between two ticks for the same time is due at once, as in libevent.
    Coarse,
    /// To the microsecond.
    Fine,
}

/// Now, by the clock of all timeouts.
pub(super) fn now(precision: Precision) -> Timeval {
    read(match precision {
        Precision::Coarse => libc::CLOCK_MONOTONIC_COARSE,
        Precision::Fine => libc::CLOCK_MONOTONIC,
    })
}

/// The time of day.
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

/// Says whether `a` is before `b`.
pub(super) fn is_before(a: Timeval, b: Timeval) -> bool {
    (a.tv_sec, a.tv_usec) < (b.tv_sec, b.tv_usec)
}

pub(super) fn is_zero(time: Timeval) -> bool {
    time.tv_sec == 0 && time.tv_usec == 0
}

/// The time that a pointer leads to; `None`: it is null.
///
/// # Safety
///
/// It is null, or leads to a time.
pub(super) unsafe fn read_time(time: *const Timeval) -> Option<Timeval> {
    // SAFETY: the caller says so.
    unsafe { time.as_ref().copied() }
}

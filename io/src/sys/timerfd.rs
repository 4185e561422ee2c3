//! Timers by clocks that the executor's own do not go by (timerfd_create(2)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The clock that a timer goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerClock {
    /// The time of day.
    Wall,
    /// The time since the machine was started, the time included in which it was suspended.
    Boot,
}

/// When a timer is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimerAt {
    /// After so long.
    After(Duration),
    /// At a time, since 1970.
    At(Duration),
    /// Far away; and when the clock is set.
    ClockIsSet,
}

/// What a timer that is readable tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerTells {
    /// The time is over.
    Over,
    /// The clock was set.
    ClockWasSet,
    Nothing,
}

/// A timer, which is readable when it is over.
///
/// # Errors
///
/// Those of timerfd_create(2) and timerfd_settime(2); `Unsupported` on other systems.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn timer(clock: TimerClock, at: TimerAt) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;

    let clock = match clock {
        TimerClock::Wall => libc::CLOCK_REALTIME,
        TimerClock::Boot => libc::CLOCK_BOOTTIME,
    };
    // SAFETY: the call takes numbers only; what it gives is a descriptor that nobody else owns.
    let timer = unsafe {
        match libc::timerfd_create(clock, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) {
            -1 => return Err(io::Error::last_os_error()),
            fd => OwnedFd::from_raw_fd(fd),
        }
    };
    set(timer.as_raw_fd(), at)?;
    Ok(timer)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set(timer: std::os::fd::RawFd, at: TimerAt) -> io::Result<()> {
    /// A time that nobody lives to see, and that the system takes: in about 2^33 seconds.
    const FAR: Duration = Duration::from_secs(1 << 33);
    let (time, flags) = match at {
        TimerAt::After(time) => (time.min(FAR), 0),
        TimerAt::At(time) => (time.min(FAR), libc::TFD_TIMER_ABSTIME),
        TimerAt::ClockIsSet => (FAR, libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET),
    };
    // Zero would be no timer.
    let time = time.max(Duration::from_nanos(1));
    let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let value = libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: time.subsec_nanos() as libc::c_long,
    };
    let new = libc::itimerspec { it_interval: none, it_value: value };
    // SAFETY: the pointer is to a value of ours, and a null one asks for no answer.
    match unsafe { libc::timerfd_settime(timer, flags, &new, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Other systems have none.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn timer(_: TimerClock, _: TimerAt) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Asks a timer what it tells; then it is no longer readable.
///
/// # Errors
///
/// Those of read(2).
pub(crate) fn read_timer(timer: BorrowedFd<'_>) -> io::Result<TimerTells> {
    let mut times = [0u8; 8];
    // SAFETY: the descriptor is open while it is borrowed, and the buffer is ours, of the length
    // that is said.
    let read = unsafe { libc::read(timer.as_raw_fd(), times.as_mut_ptr().cast(), times.len()) };
    match super::check(read) {
        Ok(_) => Ok(TimerTells::Over),
        Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => Ok(TimerTells::ClockWasSet),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(TimerTells::Nothing),
        Err(error) => Err(error),
    }
}

//! Timers by clocks that the executor's own timers do not use (timerfd_create(2)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The clock that a timer follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerClock {
    /// The time of day.
    Wall,
    /// The time since the machine was started, including the time for which it was suspended.
    Boot,
}

/// The event that makes a timer readable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimerAt {
    /// A duration from now has passed.
    After(Duration),
    /// A time has come, given as the duration since 1970.
    At(Duration),
    /// The clock has been set. The timer itself expires only in the year 2242.
    ClockIsSet,
}

/// The answer that a read of a timer gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerTells {
    /// The time has come.
    Over,
    /// The clock was set.
    ClockWasSet,
    Nothing,
}

/// Returns a timer, whose descriptor becomes readable when `at` happens.
///
/// # Errors
///
/// Returns the errors of timerfd_create(2) and timerfd_settime(2), and `Unsupported` on other
/// systems.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn timer(clock: TimerClock, at: TimerAt) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;

    let clock = match clock {
        TimerClock::Wall => libc::CLOCK_REALTIME,
        TimerClock::Boot => libc::CLOCK_BOOTTIME,
    };
    // SAFETY: the call takes numbers only. The descriptor that it returns is new, so nothing else
    // owns it.
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
    /// The longest time that is asked for, 2^33 seconds or about 272 years, which the system
    /// accepts.
    const FAR: Duration = Duration::from_secs(1 << 33);
    let (time, flags) = match at {
        TimerAt::After(time) => (time.min(FAR), 0),
        TimerAt::At(time) => (time.min(FAR), libc::TFD_TIMER_ABSTIME),
        TimerAt::ClockIsSet => (FAR, libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET),
    };
    // A time of zero would disarm the timer.
    let time = time.max(Duration::from_nanos(1));
    let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let value = libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: time.subsec_nanos() as libc::c_long,
    };
    let new = libc::itimerspec { it_interval: none, it_value: value };
    // SAFETY: `new` is a local. The null pointer means that the old setting is not returned.
    match unsafe { libc::timerfd_settime(timer, flags, &new, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns `Unsupported`, as other systems have no such descriptors.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn timer(_: TimerClock, _: TimerAt) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Reads a timer, and returns what has happened. The timer is no longer readable after that.
///
/// # Errors
///
/// Returns the errors of read(2).
pub(crate) fn read_timer(timer: BorrowedFd<'_>) -> io::Result<TimerTells> {
    let mut times = [0u8; 8];
    // SAFETY: the descriptor is borrowed, so it is open. The buffer is a local, and the length is
    // its own.
    let read = unsafe { libc::read(timer.as_raw_fd(), times.as_mut_ptr().cast(), times.len()) };
    match super::check(read) {
        Ok(_) => Ok(TimerTells::Over),
        Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => Ok(TimerTells::ClockWasSet),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(TimerTells::Nothing),
        Err(error) => Err(error),
    }
}

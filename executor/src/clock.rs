//! Time: the seam through which this crate and the crates that build on it read every clock.
//!
//! A runtime counts nanoseconds since its start, plus one, so that 0 can mean "not measured". A
//! simulation replaces the clocks here by a virtual one, without a change to their callers.

use std::time::{Duration, Instant, SystemTime};

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Returns the time that timers go by.
#[inline]
#[allow(clippy::disallowed_methods, reason = "the one allowed call")]
pub fn now() -> Instant {
    #[cfg(feature = "sim")]
    if let Some(now) = crate::sync::seam::with(|simulation| simulation.now()) {
        return now;
    }
    Instant::now()
}

/// Returns the time of day.
#[allow(clippy::disallowed_methods, reason = "the one allowed call")]
pub fn wall() -> SystemTime {
    #[cfg(feature = "sim")]
    if let Some(now) = crate::sync::seam::with(|simulation| simulation.wall()) {
        return now;
    }
    SystemTime::now()
}

/// The clock of a runtime, which counts nanoseconds since it was made.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Clock { start: now() }
    }

    /// Returns the nanoseconds since the start, plus one: never 0.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        now().saturating_duration_since(self.start).as_nanos() as u64 + 1
    }

    /// Returns the time of an instant on this clock; 1 if the instant precedes the start.
    pub(crate) fn nanos_at(&self, at: Instant) -> u64 {
        let since = at.checked_duration_since(self.start).unwrap_or_default();
        saturating_nanos(since).saturating_add(1)
    }
}

/// Returns the nanoseconds of a duration, at most 2^62 (146 years).
pub(crate) fn saturating_nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX).min(1 << 62)
}

/// Returns the CPU time of this thread so far, in nanoseconds; `None` if the system does not report
/// it.
#[cfg(unix)]
pub(crate) fn thread_cpu_nanos() -> Option<u64> {
    if crate::sync::is_simulated() {
        return None;
    }
    clock_nanos(libc::CLOCK_THREAD_CPUTIME_ID)
}

#[cfg(not(unix))]
pub(crate) fn thread_cpu_nanos() -> Option<u64> {
    None
}

/// The CPU time of a worker's thread: that thread calls `begin` and `end`, and any thread may read.
///
/// On Linux each thread has a CPU clock that other threads can read by its number, so the thread
/// itself does nothing for a reading. The system may reuse the number as soon as the thread has
/// ended. So `end` clears the number before that, and a reading counts only if the number is still
/// the same after it.
#[derive(Default)]
pub(crate) struct CpuTime {
    /// The number of the thread's CPU clock. 0, which is the number of the wall clock, means that
    /// there is none.
    clock: AtomicU32,
    /// The reading of the clock in `begin`, in nanoseconds.
    base: AtomicU64,
    /// The CPU time between `begin` and `end` in nanoseconds, once the thread has called `end`.
    used: AtomicU64,
}

impl CpuTime {
    /// Makes the calling thread the one that is measured.
    pub(crate) fn begin(&self) {
        let Some((now, clock)) = thread_cpu_nanos().zip(thread_clock()) else { return };
        self.base.store(now, Ordering::Relaxed);
        // Release: partner of the first load in `nanos`, which then sees this base.
        self.clock.store(clock.cast_unsigned(), Ordering::Release);
    }

    /// Ends the measurement. The calling thread, which has called `begin`, is about to end.
    pub(crate) fn end(&self) {
        let Some(now) = thread_cpu_nanos() else { return };
        let used = now.saturating_sub(self.base.load(Ordering::Relaxed));
        self.used.store(used, Ordering::Relaxed);
        // Release: partner of both loads in `nanos`; a reader that finds 0 here sees `used`.
        self.clock.store(0, Ordering::Release);
    }

    /// Returns the CPU time so far, in nanoseconds; 0 if the thread has not begun, or the system
    /// does not report it.
    pub(crate) fn nanos(&self) -> u64 {
        let clock = self.clock.load(Ordering::Acquire);
        if clock != 0 {
            let base = self.base.load(Ordering::Relaxed);
            let used = clock_nanos(clock.cast_signed() as _).map(|now| now.saturating_sub(base));
            if self.clock.load(Ordering::Acquire) == clock {
                return used.unwrap_or_default();
            }
        }
        self.used.load(Ordering::Relaxed)
    }
}

/// Returns the number of this thread's CPU clock, if the system has one.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn thread_clock() -> Option<i32> {
    let mut clock = 0;
    // SAFETY: the thread is the calling one, so it is alive, and the pointer is to a local
    // variable.
    let status = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
    (status == 0).then_some(clock)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn thread_clock() -> Option<i32> {
    None
}

#[cfg(unix)]
fn clock_nanos(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local variable; for a clock that does not exist the call returns
    // an error.
    let status = unsafe { libc::clock_gettime(clock, &mut time) };
    (status == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(not(unix))]
fn clock_nanos(_: i32) -> Option<u64> {
    None
}

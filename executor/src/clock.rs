//! Time: the seam through which every reading of a clock goes, of this crate and of those that
//! build on it.
//!
//! A runtime counts nanoseconds since its start, plus one, so that 0 can mean "not measured". A
//! virtual clock can take the place of what is here without a change to its callers.

use std::time::{Duration, Instant, SystemTime};

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The time that timers go by.
#[inline]
#[allow(clippy::disallowed_methods, reason = "this is where it goes through")]
pub fn now() -> Instant {
    #[cfg(feature = "sim")]
    if let Some(now) = crate::sync::seam::with(|simulation| simulation.now()) {
        return now;
    }
    Instant::now()
}

/// The time of day.
#[allow(clippy::disallowed_methods, reason = "this is where it goes through")]
pub fn wall() -> SystemTime {
    #[cfg(feature = "sim")]
    if let Some(now) = crate::sync::seam::with(|simulation| simulation.wall()) {
        return now;
    }
    SystemTime::now()
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Clock { start: now() }
    }

    /// Now. Never 0.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        now().saturating_duration_since(self.start).as_nanos() as u64 + 1
    }

    /// The time of an instant; 1 if it is before the start.
    pub(crate) fn nanos_at(&self, at: Instant) -> u64 {
        let since = at.checked_duration_since(self.start).unwrap_or_default();
        saturating_nanos(since).saturating_add(1)
    }
}

/// Nanoseconds of a duration, at most 2^62 (146 years).
pub(crate) fn saturating_nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX).min(1 << 62)
}

/// The CPU time of this thread so far, in nanoseconds; `None` where the system does not tell.
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

/// The CPU time of a worker's thread, which that thread begins and ends, and any thread reads.
///
/// On Linux a thread has a clock that others can read, with a number of its own, so that the thread
/// itself does nothing for it. The number may be another thread's as soon as the thread has ended;
/// so it is taken back before that, and a reading counts if the number is still there after it.
#[derive(Default)]
pub(crate) struct CpuTime {
    /// The number of the clock; 0, which is the wall clock's: there is none.
    clock: AtomicU32,
    /// What the clock told at the beginning.
    base: AtomicU64,
    /// The time between beginning and end, when the thread has ended.
    used: AtomicU64,
}

impl CpuTime {
    /// The calling thread is the worker from now on.
    pub(crate) fn begin(&self) {
        let Some((now, clock)) = thread_cpu_nanos().zip(thread_clock()) else { return };
        self.base.store(now, Ordering::Relaxed);
        // Partner: the first load in `nanos`, after which the base is this one.
        self.clock.store(clock.cast_unsigned(), Ordering::Release);
    }

    /// The calling thread, which has begun, is about to end.
    pub(crate) fn end(&self) {
        let Some(now) = thread_cpu_nanos() else { return };
        let used = now.saturating_sub(self.base.load(Ordering::Relaxed));
        self.used.store(used, Ordering::Relaxed);
        // Partner: both loads in `nanos`; who finds the clock gone sees the time.
        self.clock.store(0, Ordering::Release);
    }

    /// CPU time so far, in nanoseconds; 0: the thread has not begun, or the system does not tell.
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

/// The number of the clock of this thread's CPU time.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn thread_clock() -> Option<i32> {
    let mut clock = 0;
    // SAFETY: the thread is this one, and the pointer is to a number of ours.
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
    // SAFETY: the pointer is to a timespec of ours; a clock that is not there is an error.
    let status = unsafe { libc::clock_gettime(clock, &mut time) };
    (status == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(not(unix))]
fn clock_nanos(_: i32) -> Option<u64> {
    None
}

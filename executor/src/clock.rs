//! Time: the seam through which every reading of a clock goes, of this crate and of those that
//! build on it.
//!
//! A runtime counts nanoseconds since its start, plus one, so that 0 can mean "not measured". A
//! virtual clock can take the place of what is here without a change to its callers.

use std::time::{Duration, Instant, SystemTime};

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
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    (status == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(not(unix))]
pub(crate) fn thread_cpu_nanos() -> Option<u64> {
    None
}

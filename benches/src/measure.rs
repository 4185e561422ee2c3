//! Clocks, wall and CPU time of a run, medians.

use std::time::Instant;

/// The time that one run took per event.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// The wall time, in nanoseconds per event.
    pub wall: f64,
    /// The CPU time of the whole process, in nanoseconds per event.
    pub cpu: f64,
}

/// Returns the CPU time of this process so far, in nanoseconds.
pub fn process_cpu_nanos() -> u64 {
    read_clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Returns the CPU time of the calling thread so far, in nanoseconds.
pub fn thread_cpu_nanos() -> u64 {
    read_clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Returns the time since a fixed moment in the past, in nanoseconds. [`sleep_until`] uses the same
/// clock.
pub fn monotonic_nanos() -> u64 {
    read_clock(libc::CLOCK_MONOTONIC)
}

#[inline]
fn read_clock(clock: libc::clockid_t) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is live and of the type that the call writes.
    let ok = unsafe { libc::clock_gettime(clock, &mut t) };
    assert_eq!(ok, 0, "the system has this clock");
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Sleeps until [`monotonic_nanos`] is at least `nanos`, or until a signal arrives.
pub fn sleep_until(nanos: u64) {
    let until = libc::timespec {
        tv_sec: (nanos / 1_000_000_000) as libc::time_t,
        tv_nsec: (nanos % 1_000_000_000) as libc::c_long,
    };
    let (clock, how) = (libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME);
    // SAFETY: `until` is live during the call. With an absolute time, nothing is written back, so
    // the last pointer may be null.
    unsafe { libc::clock_nanosleep(clock, how, &until, std::ptr::null_mut()) };
}

/// Makes the calling thread's sleeps end as soon as the system can end them.
///
/// By default the kernel delays the end of a sleep by up to 50 us, to combine it with other
/// wakeups.
///
/// # Panics
///
/// Panics if the system refuses.
pub fn sleep_exactly() {
    // SAFETY: the call takes only numbers, and changes only the calling thread's timer slack.
    let ok = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
    assert_eq!(ok, 0, "a thread may set its timer slack");
}

/// Makes the calling thread run as soon as it wakes, whatever else runs (`SCHED_FIFO`).
///
/// Returns `false` if the process may not request this.
pub fn run_first() -> bool {
    let param = libc::sched_param { sched_priority: 1 };
    // SAFETY: `param` is live during the call. The id 0 means the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &param) == 0 }
}

/// Returns the CPU time of everything on this machine so far, in nanoseconds.
///
/// This includes the time that a hypervisor gave to other machines. The resolution is a tick of 10
/// ms. Returns `None` if the system does not report the times.
pub fn machine_cpu_nanos() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    // The fields are user, nice, system, idle, iowait, irq, softirq, steal. The times of guests are
    // part of user.
    let ticks = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
    let ticks: Vec<u64> = ticks.map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let busy = ticks.iter().sum::<u64>() - ticks.get(3)? - ticks.get(4)?;
    // SAFETY: `sysconf` takes only a number.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
    Some(busy * (1_000_000_000 / per_second))
}

/// Returns the resident memory of this process, in bytes, or 0 if the system does not report it.
pub fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}

/// Measures `run`, which handles `events` events.
pub fn time(events: u64, run: impl FnOnce()) -> Took {
    let (wall, cpu) = (Instant::now(), process_cpu_nanos());
    run();
    let wall = wall.elapsed().as_nanos() as f64;
    let cpu = (process_cpu_nanos() - cpu) as f64;
    Took { wall: wall / events as f64, cpu: cpu / events as f64 }
}

/// Returns the middle value, or the mean of the two middle values if their number is even.
///
/// # Panics
///
/// Panics if there is no value.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

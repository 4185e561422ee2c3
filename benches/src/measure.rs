//! Wall and CPU time of a run.

use std::time::Instant;

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Wall time, in nanoseconds per event.
    pub wall: f64,
    /// CPU time of the whole process, in nanoseconds per event.
    pub cpu: f64,
}

/// CPU time of this process so far, in nanoseconds.
pub fn process_cpu_nanos() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours.
    let ok = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    assert_eq!(ok, 0, "the system has a CPU clock for the process");
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Measures `run`, which handles `events` events.
pub fn time(events: u64, run: impl FnOnce()) -> Took {
    let (wall, cpu) = (Instant::now(), process_cpu_nanos());
    run();
    let wall = wall.elapsed().as_nanos() as f64;
    let cpu = (process_cpu_nanos() - cpu) as f64;
    Took { wall: wall / events as f64, cpu: cpu / events as f64 }
}

/// The middle value; the mean of the two middle ones if their number is even.
///
/// # Panics
///
/// When there is no value.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

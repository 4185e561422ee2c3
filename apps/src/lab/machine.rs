//! The machine that an experiment runs on.

use std::fs;

use dapple::clock;

/// Describes the machine in one line: the number of usable cores, their model, and the load.
pub(super) fn describe() -> String {
    let cores = cores();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, model)| model.trim());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!("{cores} cores ({model}), load {load}")
}

/// Describes the system, the build and the time.
pub(super) fn circumstances() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let profile = if cfg!(debug_assertions) { "a debug build" } else { "an optimized build" };
    let now = httpdate::fmt_http_date(clock::wall());
    format!("{} {}, {profile}, {now}", std::env::consts::OS, kernel.trim())
}

/// Returns the number of cores that the process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Returns the CPU time that the process has used, in nanoseconds.
pub(super) fn cpu_nanos() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

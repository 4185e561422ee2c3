//! Which cores the process may use, and pinning (E1).
//!
//! A thin wrapper, so that the rest does not depend on the crate behind it.

pub(crate) use core_affinity::CoreId;

/// The cores that the process may use: its affinity mask (`taskset`, cpusets).
pub(crate) fn usable() -> Vec<CoreId> {
    core_affinity::get_core_ids().unwrap_or_default()
}

/// How many workers a runtime has that was not told: one per usable core, but no more than the
/// quota of the process's control group.
pub(crate) fn default_workers() -> usize {
    let quota = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match usable().len() {
        0 => quota,
        cores => cores.min(quota),
    }
}

/// Pins the calling thread; false if the system refuses.
pub(crate) fn pin(core: CoreId) -> bool {
    core_affinity::set_for_current(core)
}

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

/// The cores that a thread may use.
#[derive(Clone, Copy)]
pub(crate) struct Mask(#[cfg(target_os = "linux")] libc::cpu_set_t);

impl Mask {
    /// Those of the calling thread; `None` if the system does not say.
    pub(crate) fn of_this_thread() -> Option<Mask> {
        #[cfg(target_os = "linux")]
        {
            // SAFETY: a zeroed set is a valid one, and it is ours; so many bytes are written at most.
            unsafe {
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                let got = libc::sched_getaffinity(0, size_of_val(&set), &mut set);
                (got == 0).then_some(Mask(set))
            }
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Lets the calling thread use them: a thread begins with those of the thread that has started it, which may be pinned.
    pub(crate) fn apply(&self) {
        #[cfg(target_os = "linux")]
        // SAFETY: the set is ours, and so many bytes are read. If the system refuses, the thread stays where it is.
        unsafe {
            libc::sched_setaffinity(0, size_of_val(&self.0), &self.0);
        }
    }
}

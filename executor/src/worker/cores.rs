//! The cores that the process may use, and pinning (E1).
//!
//! A worker's thread is pinned, and a thread or child process inherits the cores of the thread that
//! starts it. So the usable cores are asked of the process, that is, of its first thread, never of
//! the calling thread. The threads that this crate starts get the cores of the process again, or
//! are pinned elsewhere.
//!
//! If nobody tells the runtimes of one process where to run, they keep out of each other's way: the
//! number of workers that are pinned to each core is counted, and a new runtime takes the cores
//! with the fewest.

use std::collections::BTreeMap;

pub(crate) use core_affinity::CoreId;

use crate::sync::{Mutex, available_parallelism, lock};

/// Returns the cores that the process may use: its affinity mask (`taskset`, cpusets).
pub(crate) fn usable() -> Vec<CoreId> {
    match Mask::of_the_process() {
        Some(mask) => mask.cores(),
        None => core_affinity::get_core_ids().unwrap_or_default(),
    }
}

/// Returns the default number of workers: one per usable core, but at most the quota of the
/// process's control group.
pub(crate) fn default_workers() -> usize {
    let quota = unpinned(available_parallelism);
    let quota = quota.map_or(1, std::num::NonZero::get);
    match usable().len() {
        0 => quota,
        cores => cores.min(quota),
    }
}

/// Pins the calling thread to a core. Returns `false` if the system refuses.
pub(crate) fn pin(core: CoreId) -> bool {
    core_affinity::set_for_current(core)
}

/// The number of workers that are pinned to each core, in this process.
static PINNED: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

/// A core that a worker is to be pinned to. It counts as used until this value is dropped.
pub(crate) struct Pin(CoreId);

impl Pin {
    /// Takes the first `n` of these cores.
    pub(crate) fn first(cores: &[CoreId], n: usize) -> Vec<Pin> {
        let mut pinned = lock(&PINNED);
        cores.iter().take(n).map(|core| Pin::count(&mut pinned, *core)).collect()
    }

    /// Takes those `n` of these cores that have the fewest workers, in the order in which the cores
    /// are given.
    pub(crate) fn spread(cores: &[CoreId], n: usize) -> Vec<Pin> {
        let mut pinned = lock(&PINNED);
        let mut by_load: Vec<usize> = (0..cores.len()).collect();
        // The sort is stable, so of equally loaded cores the first ones are taken.
        by_load.sort_by_key(|&at| pinned.get(&cores[at].id).copied().unwrap_or(0));
        by_load.truncate(n);
        by_load.sort_unstable();
        by_load.into_iter().map(|at| Pin::count(&mut pinned, cores[at])).collect()
    }

    fn count(pinned: &mut BTreeMap<usize, usize>, core: CoreId) -> Pin {
        *pinned.entry(core.id).or_default() += 1;
        Pin(core)
    }

    pub(crate) fn core(&self) -> CoreId {
        self.0
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = lock(&PINNED);
        if let Some(count) = pinned.get_mut(&self.0.id) {
            *count -= 1;
            if *count == 0 {
                pinned.remove(&self.0.id);
            }
        }
    }
}

/// Runs `f` while the calling thread may use all cores of the process.
///
/// The threads and child processes that `f` starts may then use all of them, too.
///
/// A callback runs on a worker, whose thread is pinned to one core, and a thread or child process
/// inherits the cores of the thread that starts it. So a `Command` that a callback spawns would
/// have only one core, and share it with the worker. A [`Runtime`](crate::Runtime) and [blocking
/// work](crate::Handle::offload) need no such care.
///
/// This takes five system calls of about 1 us each. Where the system does not tell or change the
/// cores of a thread, this function only runs `f`.
///
/// # Examples
///
/// ```
/// let rt = dapple::Runtime::new()?;
/// let output = rt.handle().new_color().call(|_| {
///     dapple::unpinned(|| std::process::Command::new("nproc").output())
/// });
/// println!("a child may use {} cores", String::from_utf8_lossy(&output.join().unwrap()?.stdout));
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "affinity")]
#[doc(alias = "Command")]
pub fn unpinned<R>(f: impl FnOnce() -> R) -> R {
    /// Restores the thread's own cores, also if `f` panics.
    struct Back(Mask);
    impl Drop for Back {
        fn drop(&mut self) {
            self.0.apply();
        }
    }
    let _back = Mask::of_this_thread().zip(Mask::of_the_process()).map(|(own, all)| {
        all.apply();
        Back(own)
    });
    f()
}

/// The set of cores that a thread may use.
#[derive(Clone, Copy)]
pub(crate) struct Mask(#[cfg(target_os = "linux")] libc::cpu_set_t);

impl Mask {
    /// Returns the cores of the process, that is, of its first thread. `None` if the system does
    /// not say.
    pub(crate) fn of_the_process() -> Option<Mask> {
        // SAFETY: `getpid` takes no arguments, touches no memory of ours and cannot fail.
        #[cfg(target_os = "linux")]
        return Mask::of(unsafe { libc::getpid() }).or_else(Mask::of_this_thread);
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Returns the cores of the calling thread.
    fn of_this_thread() -> Option<Mask> {
        #[cfg(target_os = "linux")]
        return Mask::of(0);
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Returns the cores of a thread; 0 means the calling thread.
    #[cfg(target_os = "linux")]
    fn of(thread: libc::pid_t) -> Option<Mask> {
        // SAFETY: `cpu_set_t` is an array of integers, so a zeroed one is valid. The kernel writes
        // at most `size_of_val(&set)` bytes to `set`, which is a local variable.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            let got = libc::sched_getaffinity(thread, size_of_val(&set), &mut set);
            (got == 0).then_some(Mask(set))
        }
    }

    /// Returns the cores of the set.
    fn cores(&self) -> Vec<CoreId> {
        #[cfg(target_os = "linux")]
        {
            // SAFETY: `CPU_ISSET` needs a number that is below the size of the set, and `id` is
            // below `CPU_SETSIZE`.
            let has = |id: &usize| unsafe { libc::CPU_ISSET(*id, &self.0) };
            let all = 0..libc::CPU_SETSIZE as usize;
            all.filter(has).map(|id| CoreId { id }).collect()
        }
        #[cfg(not(target_os = "linux"))]
        Vec::new()
    }

    /// Lets the calling thread use these cores. A thread starts with the cores of the thread that
    /// has started it, which may be pinned.
    pub(crate) fn apply(&self) {
        #[cfg(target_os = "linux")]
        // SAFETY: the kernel reads at most `size_of_val(&self.0)` bytes of the set, which `self`
        // owns. If the system refuses, the thread keeps its cores.
        unsafe {
            libc::sched_setaffinity(0, size_of_val(&self.0), &self.0);
        }
    }
}

//! Which cores the process may use, and pinning (E1).
//!
//! A worker's thread is pinned, and what a thread starts (threads, children) begins with the cores
//! of the thread that starts it. So the cores are asked of the process, that is, of its first
//! thread, never of the calling one; and what this crate starts is given the process's cores again,
//! or is pinned elsewhere.
//!
//! Runtimes of one process that are not told where to run keep out of each other's way: how many
//! workers are pinned to a core is counted, and a new runtime takes those cores that have the
//! fewest.

use std::collections::BTreeMap;

pub(crate) use core_affinity::CoreId;

use crate::sync::{Mutex, available_parallelism, lock};

/// The cores that the process may use: its affinity mask (`taskset`, cpusets).
pub(crate) fn usable() -> Vec<CoreId> {
    match Mask::of_the_process() {
        Some(mask) => mask.cores(),
        None => core_affinity::get_core_ids().unwrap_or_default(),
    }
}

/// How many workers a runtime has that was not told: one per usable core, but no more than the
/// quota of the process's control group.
pub(crate) fn default_workers() -> usize {
    let quota = unpinned(available_parallelism);
    let quota = quota.map_or(1, std::num::NonZero::get);
    match usable().len() {
        0 => quota,
        cores => cores.min(quota),
    }
}

/// Pins the calling thread; false if the system refuses.
pub(crate) fn pin(core: CoreId) -> bool {
    core_affinity::set_for_current(core)
}

/// Workers that are pinned to each core, in this process.
static PINNED: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

/// A core that a worker is to be pinned to. It counts until this is dropped.
pub(crate) struct Pin(CoreId);

impl Pin {
    /// The first `n` of these cores.
    pub(crate) fn first(cores: &[CoreId], n: usize) -> Vec<Pin> {
        let mut pinned = lock(&PINNED);
        cores.iter().take(n).map(|core| Pin::count(&mut pinned, *core)).collect()
    }

    /// The `n` of these cores that have the fewest workers; in the order in which they are given.
    pub(crate) fn spread(cores: &[CoreId], n: usize) -> Vec<Pin> {
        let mut pinned = lock(&PINNED);
        let mut by_load: Vec<usize> = (0..cores.len()).collect();
        // Stable: of equally loaded ones the first.
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

/// Runs `f` while the calling thread may use all cores of the process: what `f` starts, threads and
/// child processes, may then do so, too.
///
/// A callback runs on a worker, whose thread is pinned to one core, and a thread or a child begins
/// with the cores of the thread that starts it. So a `Command` that a callback spawns would have
/// one core, which it shares with the worker. (A [`Runtime`](crate::Runtime), and [blocking
/// work](crate::Handle::offload), need no such care.)
///
/// It takes three system calls of about a microsecond. Where the system does not tell or change the
/// cores of a thread, `f` just runs.
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
    /// The thread's own cores again, also if `f` panics.
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

/// The cores that a thread may use.
#[derive(Clone, Copy)]
pub(crate) struct Mask(#[cfg(target_os = "linux")] libc::cpu_set_t);

impl Mask {
    /// Those of the process: of its first thread. `None` if the system does not say.
    pub(crate) fn of_the_process() -> Option<Mask> {
        // SAFETY: the call has no conditions.
        #[cfg(target_os = "linux")]
        return Mask::of(unsafe { libc::getpid() }).or_else(Mask::of_this_thread);
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// The cores of the calling thread.
    fn of_this_thread() -> Option<Mask> {
        #[cfg(target_os = "linux")]
        return Mask::of(0);
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// The cores of a thread; 0: the calling one.
    #[cfg(target_os = "linux")]
    fn of(thread: libc::pid_t) -> Option<Mask> {
        // SAFETY: a zeroed set is a valid one, and it is ours; so many bytes are written at most.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            let got = libc::sched_getaffinity(thread, size_of_val(&set), &mut set);
            (got == 0).then_some(Mask(set))
        }
    }

    /// Their numbers.
    fn cores(&self) -> Vec<CoreId> {
        #[cfg(target_os = "linux")]
        {
            // SAFETY: the numbers are below the size of a set.
            let has = |id: &usize| unsafe { libc::CPU_ISSET(*id, &self.0) };
            let all = 0..libc::CPU_SETSIZE as usize;
            all.filter(has).map(|id| CoreId { id }).collect()
        }
        #[cfg(not(target_os = "linux"))]
        Vec::new()
    }

    /// Lets the calling thread use them: a thread begins with those of the thread that has started
    /// it, which may be pinned.
    pub(crate) fn apply(&self) {
        #[cfg(target_os = "linux")]
        // SAFETY: the set is ours, and so many bytes are read. If the system refuses, the thread
        // stays where it is.
        unsafe {
            libc::sched_setaffinity(0, size_of_val(&self.0), &self.0);
        }
    }
}

//! E1: the cores of workers, and of the threads and child processes that workers start.
#![cfg(target_os = "linux")]
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use dapple::{Handle, Runtime};

/// Serializes the tests: runtimes of one process choose their cores by what other runtimes use.
static ALONE: Mutex<()> = Mutex::new(());

/// Returns the cores that the calling thread may use.
fn cores() -> BTreeSet<usize> {
    // SAFETY: all zeros is a valid `cpu_set_t`, and the call writes at most `size_of_val(&set)`
    // bytes.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &mut set), 0);
        (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &set)).collect()
    }
}

fn on_a_worker<R: Send + 'static>(h: &Handle, f: impl FnOnce() -> R + Send + 'static) -> R {
    h.new_color().call(move |_| f()).join().unwrap()
}

#[test]
fn e1_a_runtime_made_in_a_callback_has_the_cores_of_the_process() {
    let _alone = ALONE.lock();
    let all = cores();
    let rt = Runtime::builder().workers(1).build().unwrap();
    let h = rt.handle();
    assert_eq!(on_a_worker(&h, cores).len(), 1, "the worker is pinned");
    let workers = || Runtime::new().unwrap().workers();
    let expected = workers();
    assert_eq!(on_a_worker(&h, workers), expected);
    // In a thread that a callback has started, which inherits the worker's pinning.
    assert_eq!(on_a_worker(&h, move || thread::spawn(workers).join().unwrap()), expected);
    assert_eq!(h.offload(workers).join(), Ok(expected));
    // Cores that are named.
    let last = *all.last().unwrap();
    let named = move || Runtime::builder().cores([last]).build().unwrap();
    assert_eq!(on_a_worker(&on_a_worker(&h, named).handle(), cores), BTreeSet::from([last]));
    // Workers that are not pinned.
    let free = || Runtime::builder().workers(1).pin_cores(false).build().unwrap();
    assert_eq!(on_a_worker(&on_a_worker(&h, free).handle(), cores), all);
    // Blocking work of such a runtime.
    let inner = on_a_worker(&h, free);
    assert_eq!(inner.handle().offload(cores).join(), Ok(all));
}

#[test]
fn e1_runtimes_take_cores_that_others_do_not_use() {
    let _alone = ALONE.lock();
    let all = cores();
    let one = || Runtime::builder().workers(1).build().unwrap();
    for _ in 0..3 {
        let rts: Vec<_> = all.iter().map(|_| one()).collect();
        let used: BTreeSet<_> =
            rts.iter().flat_map(|rt| on_a_worker(&rt.handle(), cores)).collect();
        assert_eq!(used, all, "a core each");
    }
    // Named cores count as used too.
    let first = *all.first().unwrap();
    let _named = Runtime::builder().cores([first]).build().unwrap();
    if all.len() > 1 {
        assert!(!on_a_worker(&one().handle(), cores).contains(&first));
    }
}

#[test]
fn e1_what_is_started_unpinned_has_the_cores_of_the_process() {
    let _alone = ALONE.lock();
    let all = cores();
    let rt = Runtime::builder().workers(1).build().unwrap();
    let h = rt.handle();
    let thread = on_a_worker(&h, || dapple::unpinned(|| thread::spawn(cores)).join().unwrap());
    assert_eq!(thread, all);
    let child =
        || dapple::unpinned(|| Command::new("nproc").env_remove("OMP_NUM_THREADS").output());
    let output = on_a_worker(&h, child).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), all.len().to_string());
    assert_eq!(on_a_worker(&h, cores).len(), 1, "the worker is pinned again");
    let panics = || {
        let caught = std::panic::catch_unwind(|| {
            dapple::unpinned(|| std::panic::resume_unwind(Box::new(1)))
        });
        (caught.is_err(), cores().len())
    };
    assert_eq!(on_a_worker(&h, panics), (true, 1), "also after a panic");
}

//! E18: a forked child drops its copy of a runtime, and builds one of its own. A program by itself,
//! as only the thread that forks goes on in the child.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dapple::{Here, Runtime};

/// Has a runtime run events by all its ways in.
fn works(rt: &Runtime) {
    let (h, sum) = (rt.handle(), Arc::new(AtomicU32::new(0)));
    for i in 0..100 {
        let sum = Arc::clone(&sum);
        h.post(&h.new_color(), move |_| _ = sum.fetch_add(i, Relaxed));
    }
    rt.wait_idle();
    assert_eq!(sum.load(Relaxed), 4950);
    assert_eq!(h.offload(|| 7).join().unwrap(), 7);
    rt.block_on(h.sleep(Duration::from_millis(2)));
}

fn child(parents: Runtime, by_shutdown: bool) {
    let start = Instant::now();
    match by_shutdown {
        true => _ = parents.shutdown(Duration::from_secs(60)),
        false => drop(parents),
    }
    assert!(start.elapsed() < Duration::from_secs(30), "it waited for threads that are not there");
    let own = Runtime::builder().workers(2).build().unwrap();
    works(&own);
    assert!(own.shutdown(Duration::from_secs(60)).drained);
}

/// As [`child`], of a runtime whose first worker is the thread that forks.
fn child_here(parents: Here) {
    let start = Instant::now();
    drop(parents);
    assert!(start.elapsed() < Duration::from_secs(30), "it waited for threads that are not there");
    works_here(&Runtime::builder().workers(1).build_here().unwrap());
}

fn works_here(here: &Here) {
    let (h, sum) = (here.handle(), Arc::new(AtomicU32::new(0)));
    let bound = h.color_builder().on_worker(0).build();
    for i in 0..100 {
        let sum = Arc::clone(&sum);
        let color = if i % 2 == 0 { bound.clone() } else { h.new_color() };
        h.post(&color, move |_| _ = sum.fetch_add(i, Relaxed));
    }
    here.wait_idle();
    assert_eq!(sum.load(Relaxed), 4950);
    here.block_on(h.sleep(Duration::from_millis(2)));
}

/// Runs `f` in a child, and waits for its end.
fn in_a_child(f: impl FnOnce()) {
    // SAFETY: the child uses nothing of what the other threads of this process, which are at rest,
    // may have had under way, and ends by `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: the call takes a number. One that waits for ever is ended by the signal.
        unsafe { libc::alarm(60) };
        let status = i32::from(std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err());
        // SAFETY: it ends the process, and runs nothing of what is left of the parent's.
        unsafe { libc::_exit(status) }
    }
    let mut status = 0;
    // SAFETY: the pointer is to a number of ours.
    let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!((waited, status), (pid, 0), "the child failed");
}

/// The parent's value, and the one that a child gets to drop.
fn copy_of<T>(value: &T) -> T {
    // SAFETY: the child's copy of the memory is another one than the parent's; the child uses only
    // what this answers, and ends without dropping the original.
    unsafe { std::ptr::read(value) }
}

fn main() {
    for by_shutdown in [false, true] {
        let rt = Runtime::builder().workers(2).build().unwrap();
        works(&rt);
        in_a_child(|| child(copy_of(&rt), by_shutdown));
        works(&rt);
        assert!(rt.shutdown(Duration::from_secs(60)).drained);
    }
    for workers in [1, 2] {
        let here = Runtime::builder().workers(workers).build_here().unwrap();
        works_here(&here);
        in_a_child(|| child_here(copy_of(&here)));
        works_here(&here);
        assert!(here.shutdown(Duration::from_secs(60)).drained);
    }
    println!("ok");
}

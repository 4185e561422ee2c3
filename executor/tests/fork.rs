//! E18: a forked child drops its copy of a runtime, and builds a runtime of its own.
//!
//! This test is a program of its own, because only the thread that forks goes on in the child.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dapple::{Here, Runtime};

/// Checks that a runtime runs events, blocking work and timers.
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

/// Does the same as [`child`] with a runtime whose worker 0 is the thread that forks.
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

/// Runs `f` in a child process, and waits for its end.
fn in_a_child(f: impl FnOnce()) {
    // SAFETY: the other threads of this process are idle at the fork, so they hold no lock that the
    // child needs. The child ends by `_exit`, which runs no code of the parent.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: the call takes only a number. Its signal ends a child that hangs after 60 s.
        unsafe { libc::alarm(60) };
        let status = i32::from(std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err());
        // SAFETY: `_exit` ends the process at once and runs no destructors or exit handlers.
        unsafe { libc::_exit(status) }
    }
    let mut status = 0;
    // SAFETY: the pointer is valid for writes of a `c_int` during the call.
    let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!((waited, status), (pid, 0), "the child failed");
}

/// Copies the parent's value for a child to drop.
fn copy_of<T>(value: &T) -> T {
    // SAFETY: `value` is valid for reads. Only the child calls this, in its own copy of the memory,
    // and it ends by `_exit` without dropping the original, so the value is dropped once per
    // process.
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

//! E1, E9: the threads of a runtime: names, stacks, niceness, hooks.

use std::sync::mpsc;
use std::time::Duration;

use dapple::{Runtime, ThreadKind};

#[test]
fn e9_each_thread_tells_of_its_start_and_of_its_end() {
    let (tx, rx) = mpsc::channel();
    let also = tx.clone();
    let rt = Runtime::builder()
        .workers(2)
        .on_thread_start(move |kind| tx.send((kind, 1)).unwrap())
        .on_thread_stop(move |kind| also.send((kind, -1)).unwrap())
        .build()
        .unwrap();
    assert_eq!(rt.handle().offload(|| 5).join().unwrap(), 5);
    rt.shutdown(Duration::from_secs(60));
    // The hooks are dropped with the runtime and its last thread, so the channel ends.
    let mut balance = std::collections::HashMap::new();
    for (kind, change) in rx {
        *balance.entry(kind).or_insert(0) += change;
    }
    let zero = [ThreadKind::Worker(0), ThreadKind::Worker(1), ThreadKind::Blocking];
    assert_eq!(balance, zero.into_iter().map(|kind| (kind, 0)).collect());
}

#[test]
fn e9_a_hook_that_panics_ends_nothing() {
    let rt = Runtime::builder()
        .workers(1)
        .on_thread_start(|_| panic!("on purpose"))
        .on_thread_stop(|_| panic!("on purpose"))
        .build()
        .unwrap();
    assert_eq!(rt.handle().offload(|| 5).join().unwrap(), 5);
    assert_eq!(rt.handle().new_color().call(|_| 6).join().unwrap(), 6);
    assert!(rt.shutdown(Duration::from_secs(60)).drained);
}

#[test]
fn e9_threads_for_blocking_work_have_a_stack_of_their_own() {
    let rt = Runtime::builder()
        .workers(1)
        .stack_size(128 << 10)
        .offload_stack_size(16 << 20)
        .build()
        .unwrap();
    /// Uses at least this many KiB of stack.
    fn deep(kib: usize) -> usize {
        let page = std::hint::black_box([kib as u8; 1024]);
        if kib == 0 { 0 } else { deep(kib - 1) + usize::from(page[5] == kib as u8) }
    }
    assert_eq!(rt.handle().offload(|| deep(4_000)).join().unwrap(), 4_000);
    let refused = Runtime::builder().offload_stack_size(usize::MAX).build();
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    let refused = Runtime::builder().offload_thread_name("a\0b").build();
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}

/// Returns the field `number`, counted from 1, of the calling thread's line in /proc.
#[cfg(target_os = "linux")]
fn stat_of_this_thread(number: usize) -> String {
    let line = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let after_name = line.rsplit(") ").next().unwrap();
    after_name.split(' ').nth(number - 3).unwrap().to_owned()
}

#[test]
#[cfg(target_os = "linux")]
fn e9_niceness_is_of_the_threads_for_blocking_work_only() {
    let rt =
        Runtime::builder().workers(1).offload_nice(7).offload_thread_name("x").build().unwrap();
    let nice = || stat_of_this_thread(19);
    assert_eq!(rt.handle().offload(nice).join().unwrap(), "7");
    assert_eq!(rt.handle().new_color().call(move |_| nice()).join().unwrap(), nice());
}

//! E9: blocking work on the blocking pool.
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use dapple::{Colored, Runtime};

const LONG: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    Runtime::builder().workers(1).offload_threads(4).on_panic(|_| {}).build().unwrap()
}

#[test]
fn e9_blocking_work_does_not_hold_up_a_worker() {
    let rt = runtime();
    let h = rt.handle();
    let (go, gone) = mpsc::channel::<()>();
    let work = h.offload(move || gone.recv_timeout(LONG).is_err());
    assert_eq!(h.new_color().call(|_| 5).join(), Ok(5), "the only worker is free");
    assert!(!work.is_finished());
    drop(go);
    assert_eq!(work.join(), Ok(true));
}

#[test]
fn e9_the_outcome_comes_to_the_color() {
    let rt = runtime();
    let h = rt.handle();
    let total = Colored::new(&h.new_color(), 0);
    let worker = h.new_color().call(|_| thread::current().id()).join().unwrap();
    for n in 1..=100 {
        let total = total.clone();
        h.offload_then(
            &total.color().clone(),
            move || (n, thread::current().id()),
            move |outcome, cx| {
                let (n, thread) = outcome.unwrap();
                assert_ne!(thread, worker, "it ran on the blocking pool");
                *total.get_mut(cx) += n;
            },
        );
    }
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
    assert_eq!(total.call(|t, _| *t).join(), Ok(5_050), "E16: what was offloaded has ended");
}

#[test]
fn e9_the_pool_is_bounded_and_takes_work_in_order() {
    let rt = runtime();
    let h = rt.handle();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let all_four = Arc::new(Barrier::new(4));
    let begun = Arc::new(Mutex::new(Vec::new()));
    let work: Vec<_> = (0..40)
        .map(|n| {
            let (running, most, all_four, begun) =
                (running.clone(), most.clone(), all_four.clone(), begun.clone());
            h.offload(move || {
                begun.lock().unwrap().push(n / 4);
                most.fetch_max(1 + running.fetch_add(1, SeqCst), SeqCst);
                // Unless four run at the same time, this never ends.
                all_four.wait();
                running.fetch_sub(1, SeqCst);
            })
        })
        .collect();
    work.into_iter().for_each(|work| work.join().unwrap());
    assert_eq!(most.load(SeqCst), 4);
    assert!(begun.lock().unwrap().is_sorted(), "the first four, then the next");
}

#[test]
fn c11_e9_a_panic_in_blocking_work_is_told_and_counted() {
    let rt = runtime();
    let h = rt.handle();
    assert!(h.offload(|| -> u8 { panic!("blocking work's") }).join().unwrap_err().is_panic());
    let (tell, told) = mpsc::channel();
    let panics = || -> u8 { panic!("blocking work's") };
    h.offload_then(&h.new_color(), panics, move |outcome, _| tell.send(outcome).unwrap());
    assert!(told.recv_timeout(LONG).unwrap().unwrap_err().is_panic());
    assert_eq!(h.offload(|| 3).join(), Ok(3), "the pool goes on");
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 2);
}

#[test]
fn e11_a_shutdown_waits_for_blocking_work_and_drops_what_has_not_begun() {
    let rt = runtime();
    let h = rt.handle();
    let work: Vec<_> =
        (0..8).map(|_| h.offload(|| thread::sleep(Duration::from_millis(10)))).collect();
    let report = rt.shutdown(LONG);
    assert!(report.drained && report.dropped_events == 0, "{report:?}");
    assert!(work.into_iter().all(|work| work.join().is_ok()));

    let rt = runtime();
    let h = rt.handle();
    let (go, gone) = mpsc::channel::<()>();
    let gone = Arc::new(Mutex::new(gone));
    let begun = Arc::new(Barrier::new(5));
    let work: Vec<_> = (0..10)
        .map(|n| {
            let (gone, begun) = (Arc::clone(&gone), Arc::clone(&begun));
            h.offload(move || {
                if n < 4 {
                    begun.wait();
                }
                let _ = gone.lock().unwrap().recv_timeout(LONG);
            })
        })
        .collect();
    begun.wait();
    let then = h.new_color();
    h.offload_then(&then, || (), |_, _| unreachable!("nobody runs it"));
    let report = rt.shutdown(Duration::ZERO);
    assert!(!report.drained, "{report:?}");
    drop(go);
    let outcomes: Vec<_> = work.into_iter().map(|work| work.join()).collect();
    assert!(outcomes[..4].iter().all(Result::is_ok), "what has begun ends");
    assert!(outcomes[4..].iter().all(|o| o.unwrap_err().is_cancelled()), "what has not is dropped");
    assert!(h.offload(|| unreachable!("refused")).join().unwrap_err().is_cancelled());
    // Six pieces of work, the one with a closure for its outcome, that closure, and the refused
    // one.
    assert_eq!(h.metrics().dropped(), 9);
}

#[test]
fn e11_e9_blocking_work_may_post_while_the_runtime_drains() {
    let rt = runtime();
    let h = rt.handle();
    let (also, color) = (h.clone(), h.new_color());
    let (began, begins) = mpsc::channel();
    let work = h.offload(move || {
        began.send(()).unwrap();
        // Waits until the shutdown has begun.
        while also.is_running() {
            thread::sleep(Duration::from_millis(1));
        }
        let posted = also.new_color().call(|_| 7);
        let more = also.offload(|| 8);
        (posted, more, color.call(|_| 9))
    });
    begins.recv_timeout(LONG).unwrap();
    let report = rt.shutdown(LONG);
    assert!(report.drained && report.dropped_events == 0, "{report:?}");
    let (posted, more, called) = work.join().unwrap();
    assert_eq!((posted.join(), more.join(), called.join()), (Ok(7), Ok(8), Ok(9)));
}

#[test]
fn e16_waiting_for_itself_in_blocking_work_panics_with_a_message() {
    let rt = Arc::new(runtime());
    let also = Arc::clone(&rt);
    let message = rt.handle().offload(move || {
        let wait = std::panic::AssertUnwindSafe(|| also.wait_idle());
        *std::panic::catch_unwind(wait).unwrap_err().downcast::<&str>().unwrap()
    });
    assert_eq!(message.join(), Ok("wait_idle in offloaded work would wait for itself"));
}

#[test]
fn e9_blocking_work_is_not_pinned_where_a_worker_is() {
    let rt = Runtime::builder().workers(1).build().unwrap();
    let h = rt.handle();
    let cores = || {
        // SAFETY: all zeros is a valid `cpu_set_t`, and the call writes at most `size_of_val(&set)`
        // bytes.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &mut set), 0);
            (0..1024).filter(|core| libc::CPU_ISSET(*core, &set)).count()
        }
    };
    let mine = cores();
    let also = h.clone();
    // A pinned worker starts the thread.
    let (tell, told) = mpsc::channel();
    h.post_default(move |_| tell.send((cores(), also.offload(cores))).unwrap());
    let (on_the_worker, beside) = told.recv_timeout(LONG).unwrap();
    assert_eq!((on_the_worker, beside.join()), (1, Ok(mine)));
}

#[test]
fn e1_no_thread_for_blocking_work_is_a_clear_error() {
    let error = Runtime::builder().offload_threads(0).build().unwrap_err();
    assert_eq!(error.to_string(), "blocking work needs at least one thread");
}

/// Work may wait for other work, nested deeper than there are threads.
#[test]
fn e9_work_may_wait_for_work() {
    fn nest(h: dapple::Handle, depth: usize) -> usize {
        if depth == 0 {
            return 0;
        }
        let inner = h.clone();
        let joined = h.offload(move || nest(inner, depth - 1));
        1 + match depth % 2 {
            0 => joined.join().unwrap(),
            // A piece of work that joins another one behaves the same.
            _ => h.offload(move || joined.join().unwrap()).join().unwrap(),
        }
    }
    let rt = runtime();
    let h = rt.handle();
    let begin = std::time::Instant::now();
    let many: Vec<_> = (0..8)
        .map(|_| {
            let inner = h.clone();
            h.offload(move || nest(inner, 20))
        })
        .collect();
    for one in many {
        assert_eq!(one.join(), Ok(20));
    }
    // A surplus thread exits, and queued work does not wait for it.
    let few = Runtime::builder().workers(1).offload_threads(2).build().unwrap();
    let inner = few.handle();
    let waits = few.handle().offload(move || {
        for _ in 0..3 {
            let two = [(); 2].map(|()| inner.offload(|| thread::sleep(Duration::from_millis(5))));
            two.into_iter().for_each(|one| one.join().unwrap());
            let queued = inner.offload(|| ());
            // Gives the thread that is woken for the work 2 ms to start before this one waits.
            thread::sleep(Duration::from_millis(2));
            queued.join().unwrap();
        }
    });
    assert_eq!(waits.join(), Ok(()));
    assert!(begin.elapsed() < Duration::from_secs(9), "work has waited for an idle thread to end");
    // The limit applies again.
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let work: Vec<_> = (0..64)
        .map(|_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            h.offload(move || {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                thread::sleep(Duration::from_millis(1));
                now.fetch_sub(1, SeqCst);
            })
        })
        .collect();
    work.into_iter().for_each(|work| work.join().unwrap());
    assert!(most.load(SeqCst) <= 4, "{most:?}");
}

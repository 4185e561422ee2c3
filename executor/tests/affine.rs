//! E17: colors that are bound to a worker.
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use dapple::{Colored, Priority, Runtime, StealPolicy};

/// Returns the message with which `f` panics.
fn panics(f: impl FnOnce()) -> String {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_err();
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn e17_events_run_on_their_worker_from_every_poster() {
    for policy in [StealPolicy::CostAware, StealPolicy::Eager, StealPolicy::Off] {
        let rt = Runtime::builder().workers(3).pin_cores(false).steal_policy(policy).build();
        let rt = rt.unwrap();
        let h = rt.handle();
        let wrong = Arc::new(AtomicUsize::new(0));
        let ran = Arc::new(AtomicUsize::new(0));
        let bound: Vec<_> = (0..3)
            .flat_map(|w| (0..4).map(move |_| w))
            .map(|w| h.color_builder().on_worker(w).build())
            .collect();
        let free: Vec<_> = (0..4).map(|_| h.new_color()).collect();
        for round in 0..2_000usize {
            let (color, at) = (bound[round % 12].clone(), round % 12 / 4);
            let (wrong, ran) = (Arc::clone(&wrong), Arc::clone(&ran));
            let check = move |cx: &mut dapple::Cx| {
                wrong.fetch_add(usize::from(cx.worker() != at), SeqCst);
                assert!(cx.is_on(&color));
                ran.fetch_add(1, SeqCst);
            };
            let color = bound[round % 12].clone();
            match round % 4 {
                0 => h.post(&color, check),
                1 => free[round % 4].post(move |cx| cx.post(&color, check)),
                2 => h.post_shared(&color, check),
                _ => h.post_set(&[free[0].exclusive(), color.exclusive(), free[1].shared()], check),
            }
        }
        rt.wait_idle();
        assert_eq!((wrong.load(SeqCst), ran.load(SeqCst)), (0, 2_000), "{policy:?}");
        assert_eq!(rt.metrics().panics(), 0);
    }
}

#[test]
fn c2_e17_posts_from_several_threads_keep_their_order() {
    let rt = Runtime::builder().workers(2).steal_policy(StealPolicy::Eager).build().unwrap();
    let color = rt.handle().color_builder().on_worker(1).build();
    let seen = Arc::new(Mutex::new(vec![Vec::new(); 3]));
    thread::scope(|scope| {
        for thread in 0..3 {
            let (color, seen) = (&color, &seen);
            scope.spawn(move || {
                for n in 0..1_000 {
                    let seen = Arc::clone(seen);
                    color.post(move |_| seen.lock().unwrap()[thread].push(n));
                }
            });
        }
    });
    rt.wait_idle();
    for of_one in &*seen.lock().unwrap() {
        assert_eq!(*of_one, (0..1_000).collect::<Vec<_>>());
    }
}

#[test]
fn e17_e4_behind_a_stuck_event_only_what_is_bound_waits_and_the_stall_is_reported() {
    let (stalls, stalled) = mpsc::channel();
    let rt = Runtime::builder()
        .workers(2)
        .stall_after(Duration::from_millis(10))
        .on_stall(move |stall| stalls.send(stall.site.line()).unwrap_or(()))
        .build()
        .unwrap();
    let h = rt.handle();
    let (bound, free) = (h.color_builder().on_worker(0).build(), h.new_color());
    let (release, released) = mpsc::channel::<()>();
    let is_stuck = Arc::new(Barrier::new(2));
    let also_stuck = Arc::clone(&is_stuck);
    let line = line!() + 1;
    bound.post(move |_| {
        also_stuck.wait();
        released.recv().unwrap();
    });
    is_stuck.wait();
    let ran_bound = Arc::new(AtomicBool::new(false));
    let also_ran = Arc::clone(&ran_bound);
    h.color_builder().on_worker(0).build().post(move |_| also_ran.store(true, SeqCst));
    // Free work behind the stuck event is taken over.
    let (tx, rx) = mpsc::channel();
    free.post(move |cx| tx.send(cx.worker()).unwrap());
    assert_eq!(rx.recv_timeout(Duration::from_secs(20)), Ok(1));
    assert_eq!(stalled.recv_timeout(Duration::from_secs(20)), Ok(line));
    assert!(!ran_bound.load(SeqCst));
    release.send(()).unwrap();
    rt.wait_idle();
    assert!(ran_bound.load(SeqCst));
}

#[test]
fn e17_c6_a_set_has_colors_of_one_worker_only() {
    let rt = Runtime::builder().workers(2).build().unwrap();
    let h = rt.handle();
    let [a, b] = [0, 1].map(|worker| h.color_builder().on_worker(worker).build());
    let message = panics(|| h.post_set(&[a.exclusive(), b.shared()], |_| {}));
    assert_eq!(message, "a set must not have colors of worker 0 and of worker 1");
    let also_b = h.color_builder().on_worker(1).build();
    h.post_set(&[b.exclusive(), also_b.exclusive()], |cx| assert_eq!(cx.worker(), 1));
    let values = [&b, &also_b].map(|color| Colored::new(color, 1u64));
    let set = (values[0].exclusive(), values[1].exclusive());
    h.post_set(&[h.new_color().exclusive(), b.exclusive()], |cx| assert_eq!(cx.worker(), 1));
    dapple::ColoredSet::post(set, |(a, b), cx| {
        assert_eq!(cx.worker(), 1);
        *a += *b;
    });
    assert_eq!(values[0].call(|a, _| *a).join(), Ok(2));
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
    let message = panics(|| drop(h.color_builder().on_worker(2)));
    assert_eq!(message, "there is no worker 2: the runtime has 2");
}

#[test]
fn e17_c7_a_class_decides_between_colors_of_one_worker() {
    let rt = Runtime::builder().workers(1).build().unwrap();
    let h = rt.handle();
    let order = Arc::new(Mutex::new(Vec::new()));
    let (begin, begun) = mpsc::channel::<()>();
    let first = h.color_builder().on_worker(0).build();
    first.post(move |_| begun.recv().unwrap());
    for (name, class) in
        [("low", Priority::Low), ("normal", Priority::Normal), ("high", Priority::High)]
    {
        let order = Arc::clone(&order);
        let color = h.color_builder().priority(class).on_worker(0).build();
        color.post(move |_| order.lock().unwrap().push(name));
    }
    begin.send(()).unwrap();
    rt.wait_idle();
    assert_eq!(*order.lock().unwrap(), ["high", "normal", "low"]);
}

#[test]
fn e17_e11_what_a_worker_leaves_is_dropped_and_counted() {
    let rt = Runtime::builder().workers(2).build().unwrap();
    let color = rt.handle().color_builder().on_worker(1).build();
    let kept = Arc::new(());
    let (tx, rx) = mpsc::channel();
    color.post(move |_| {
        tx.send(()).unwrap();
        thread::sleep(Duration::from_millis(100));
    });
    rx.recv().unwrap();
    for _ in 0..10 {
        let kept = Arc::clone(&kept);
        color.post(move |_| drop(kept));
        let also_color = color.clone();
        color.post(move |_| drop(also_color));
    }
    let report = rt.shutdown(Duration::ZERO);
    assert_eq!((report.dropped_events, Arc::strong_count(&kept)), (20, 1));
    color.post(move |_| drop(kept));
    assert_eq!(color.runtime().metrics().dropped(), 21);
}

#[test]
fn e17_c10_bound_colors_leave_no_trace() {
    let rt = Runtime::builder().workers(2).build().unwrap();
    let h = rt.handle();
    let palette = h.color_builder().on_worker(1).palette::<u32>();
    for key in 0..100_000 {
        palette.color(&key).post(|cx| assert_eq!(cx.worker(), 1));
        if key % 1_000 == 0 {
            rt.wait_idle();
            assert_eq!(palette.len(), 0);
        }
    }
    rt.wait_idle();
    assert_eq!((palette.len(), rt.metrics().panics()), (0, 0));
}

#[test]
fn e18_local_tasks_stay_on_their_thread_to_their_drop() {
    struct Place(Rc<()>, ThreadId, Arc<AtomicUsize>);
    impl Drop for Place {
        fn drop(&mut self) {
            let _ = &self.0;
            assert_eq!(thread::current().id(), self.1);
            self.2.fetch_add(1, SeqCst);
        }
    }
    let rt = Runtime::builder().workers(2).steal_policy(StealPolicy::Eager).build().unwrap();
    let h = rt.handle();
    let color = h.color_builder().on_worker(1).build();
    let drops = Arc::new(AtomicUsize::new(0));
    let (also_color, also_drops, also_h) = (color.clone(), Arc::clone(&drops), h.clone());
    let spawned = color.call(move |cx| {
        (0..4)
            .map(|n| {
                let place = Place(Rc::new(()), thread::current().id(), Arc::clone(&also_drops));
                let h = also_h.clone();
                cx.spawn_local(&also_color, async move {
                    let place = place;
                    for _ in 0..=n {
                        h.sleep(Duration::from_millis(1)).await;
                        assert_eq!(thread::current().id(), place.1);
                    }
                    match n {
                        // This task is aborted, or left until the runtime ends.
                        2 | 3 => std::future::pending().await,
                        _ => n,
                    }
                })
            })
            .collect::<Vec<_>>()
    });
    let mut tasks = spawned.join().unwrap();
    let left = tasks.pop();
    let aborted = tasks.pop().unwrap();
    let outputs: Vec<_> = tasks.into_iter().map(|task| task.join().unwrap()).collect();
    assert_eq!(outputs, [0, 1]);
    aborted.abort();
    assert!(aborted.join().unwrap_err().is_cancelled());
    let until = Instant::now() + Duration::from_secs(20);
    while drops.load(SeqCst) < 3 && Instant::now() < until {
        thread::yield_now();
    }
    assert_eq!(drops.load(SeqCst), 3);
    drop(left);
    drop(rt);
    assert_eq!(drops.load(SeqCst), 4);
    assert_eq!(h.metrics().panics(), 0);
}

#[test]
fn e18_a_local_task_is_spawned_where_its_color_is_bound() {
    let rt = Runtime::builder().workers(2).build().unwrap();
    let h = rt.handle();
    let [a, b] = [0, 1].map(|worker| h.color_builder().on_worker(worker).build());
    for color in [b, h.new_color()] {
        let called = a.call(move |cx| panics(|| drop(cx.spawn_local(&color, async {}))));
        let message = called.join().unwrap();
        assert!(message.contains("not bound to this worker (0)"), "{message}");
    }
}

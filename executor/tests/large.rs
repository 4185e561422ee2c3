//! C16, E2: large values are not moved over a worker's stack more often than needed.
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::Duration;

use dapple::{Colored, ColoredSet, Context, Cx, Domain, Runtime, yield_now};

/// The size of a value of which a few copies fill a stack of the usual size in a debug build.
const LARGE: usize = 1 << 20;

/// Runs `f` as an event that has a large value on its stack, on a worker with the default stack.
fn on_a_worker(events: usize, f: impl FnOnce(&mut Cx, Arc<AtomicUsize>) + Send + 'static) {
    let rt = Runtime::builder().workers(1).build().unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let also = Arc::clone(&ran);
    rt.handle().post_default(move |cx| f(cx, also));
    while ran.load(Acquire) < events {
        std::thread::sleep(Duration::from_millis(1));
    }
    rt.wait_idle();
    assert_eq!((ran.load(Acquire), rt.metrics().panics()), (events, 0));
}

/// Defines each case as a function of its own, so that no frame contains the values of several.
macro_rules! cases {
    ($($(#[$doc:meta])* $name:ident($size:expr, $cx:ident, $large:ident, $ran:ident) $body:block)*) => {
        $($(#[$doc])*
        #[test]
        fn $name() {
            on_a_worker(1, |$cx, $ran| {
                let $large = [7u8; $size];
                $body
            });
        })*
    };
}

/// Records that an event has run and has its value.
fn seen(large: &[u8], ran: &AtomicUsize) {
    assert_eq!(black_box(large)[large.len() / 2], 7);
    ran.fetch_add(1, Release);
}

cases! {
    c16_a_large_post(LARGE, cx, large, ran) {
        let c = cx.new_color();
        cx.post(&c, move |_| seen(&large, &ran));
    }
    c16_a_large_post_by_a_handle(LARGE, cx, large, ran) {
        cx.handle().post(&cx.handle().new_color(), move |_| seen(&large, &ran));
    }
    c16_a_large_post_here(LARGE, cx, large, ran) {
        cx.post_here(move |_| seen(&large, &ran));
    }
    c16_a_large_uncolored_post(LARGE, cx, large, ran) {
        cx.post_uncolored(move |_| seen(&large, &ran));
    }
    c16_a_large_shared_post(LARGE, cx, large, ran) {
        let c = cx.new_color();
        cx.post_shared(&c, move |_| seen(&large, &ran));
    }
    c16_a_large_set(LARGE, cx, large, ran) {
        let (c, d) = (cx.new_color(), cx.new_color());
        cx.post_set(&[c.exclusive(), d.shared()], move |_| seen(&large, &ran));
    }
    c16_a_large_typed_set(LARGE / 2, cx, large, ran) {
        let (a, b) = (Colored::new(&cx.new_color(), 1), Colored::new(&cx.new_color(), 2));
        (a.exclusive(), b.shared()).post(move |_, _| seen(&large, &ran));
    }
    c8_a_large_try_post(LARGE / 2, cx, large, ran) {
        let c = cx.new_color();
        assert!(cx.try_post(&c, move |_| seen(&large, &ran)).is_ok());
    }
    c13_a_large_post_to_a_value(LARGE, cx, large, ran) {
        Colored::new(&cx.new_color(), 1).post(move |_, _| seen(&large, &ran));
    }
    c13_a_large_value(LARGE, cx, large, ran) {
        Colored::new(&cx.new_color(), large).post(move |large, _| seen(large, &ran));
    }
    e8_a_large_timer(LARGE, cx, large, ran) {
        let c = cx.new_color();
        cx.post_after(Duration::from_millis(1), &c, move |_| seen(&large, &ran));
    }
    e9_large_work(LARGE, cx, large, ran) {
        cx.handle().offload(move || seen(&large, &ran)).detach();
    }
    e9_large_work_and_what_follows(LARGE / 2, cx, large, ran) {
        let c = cx.new_color();
        let then = move |outcome: Result<(), _>, _: &mut Cx| {
            outcome.unwrap();
            seen(&large, &ran);
        };
        cx.handle().offload_then(&c, || (), then);
    }
    c12_a_large_call(LARGE, cx, large, ran) {
        cx.new_color().call(move |_| seen(&large, &ran)).detach();
    }
    c12_a_large_task(LARGE, cx, large, ran) {
        let c = cx.new_color();
        cx.spawn(&c, async move {
            yield_now().await;
            seen(&large, &ran);
        }).detach();
    }
    i1_a_large_event_of_a_domain(LARGE, cx, large, ran) {
        Domain::snapshot(&cx.handle(), 0).global(move |_| seen(&large, &ran));
    }
    i2_a_large_step(LARGE, cx, large, ran) {
        Domain::read_write(&cx.handle(), 0).event(move |n| n.upgrade_anon_then(move |a| {
            seen(&large, &ran);
            a.commit()
        }));
    }
    i2_a_large_step_of_the_dynamic_form(LARGE / 2, cx, large, ran) {
        Domain::read_write(&cx.handle(), 0).event_dyn(Context::Global, move |e| {
            e.enter_then(Context::Global, move |e| {
                seen(&large, &ran);
                e.commit()
            }).unwrap()
        });
    }
    i7_a_large_deferred_action(LARGE, cx, large, ran) {
        Domain::read_write(&cx.handle(), 0).none(move |n| n.defer(move |_| seen(&large, &ran)));
    }
    i10_a_large_task_of_a_domain(LARGE / 2, cx, large, ran) {
        Domain::read_write(&cx.handle(), 0).spawn(move |n| async move {
            let (_, a) = n.global(|_| ()).await.unwrap();
            yield_now().await;
            seen(&large, &ran);
            let _ = a.commit().await;
        }).detach();
    }
    i11_a_large_state(LARGE / 2, cx, large, ran) {
        Domain::read_write(&cx.handle(), large).anon(move |a| seen(a.state(), &ran));
    }
    e15_a_large_waiter(LARGE / 2, cx, large, ran) {
        let place = dapple::Rendezvous::<(), ()>::new(&cx.new_color());
        place.all(move |_, _| seen(&large, &ran));
    }
}

#[test]
fn e1_the_size_of_stacks_is_a_setting() {
    let rt = Runtime::builder().workers(1).stack_size(64 << 20).build().unwrap();
    let h = rt.handle();
    let deep = || {
        let large = [1u8; 24 << 20];
        black_box(&large)[12 << 20]
    };
    assert_eq!(h.new_color().call(move |_| deep()).join(), Ok(1));
    assert_eq!(h.offload(deep).join(), Ok(1));
    let error = Runtime::builder().stack_size(usize::MAX).build().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    let error = Runtime::builder().thread_name("a\0b").build().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Posts events that contain `N` words, in all ways that store a closure in an event. Some panic,
/// and some are dropped unrun. The content of each is intact, and dropped once.
fn hold_words<const N: usize>() {
    const EACH: usize = 200;
    let drops = Arc::new(AtomicUsize::new(0));
    let rt = Runtime::builder().workers(2).on_panic(|_| {}).build().unwrap();
    let h = rt.handle();
    let (a, b) = (h.new_color(), h.new_color());
    let sum = Arc::new(AtomicUsize::new(0));
    let event = |n: usize| {
        let (counted, sum, words) = (Counted(Arc::clone(&drops)), Arc::clone(&sum), [n; N]);
        move |_: &mut Cx| {
            let words = black_box(words);
            assert!(words.iter().all(|word| *word == n));
            sum.fetch_add(words.iter().sum::<usize>(), Relaxed);
            assert!(!n.is_multiple_of(7), "the panic of a test");
            drop(counted);
        }
    };
    for n in 0..EACH {
        h.post(&a, event(n));
        h.post_shared(&a, event(n));
        h.post_uncolored(event(n));
        h.post_set(&[a.exclusive(), b.exclusive()], event(n));
    }
    rt.wait_idle();
    assert_eq!(drops.load(Relaxed), 4 * EACH);
    assert_eq!(sum.load(Relaxed), 4 * N * EACH * (EACH - 1) / 2);
    assert_eq!(rt.metrics().panics(), 4 * EACH.div_ceil(7) as u64);
    // Events that are queued behind a stuck worker are dropped unrun at the end.
    let once = Duration::from_millis(10);
    let rt = Runtime::builder().workers(1).stuck_after(once).build().unwrap();
    let h = rt.handle();
    let ((go, gone), (began, begins)) =
        (std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel());
    h.post(&h.new_color(), move |_| {
        began.send(()).unwrap();
        let _ = gone.recv_timeout(Duration::from_secs(60));
    });
    begins.recv_timeout(Duration::from_secs(60)).unwrap();
    let (a, b) = (h.new_color(), h.new_color());
    for n in 0..EACH {
        h.post(&a, event(n));
        h.post_shared(&b, event(n));
        h.post_uncolored(event(n));
        h.post_set(&[a.exclusive(), b.exclusive()], event(n));
    }
    let report = rt.shutdown(Duration::ZERO);
    assert_eq!(report.dropped_events, 4 * EACH as u64);
    assert_eq!(drops.load(Relaxed), 8 * EACH);
    drop(go);
}

/// C11, E2: small closures are stored in their event, larger ones in the memory of another event or
/// in a box.
#[test]
fn e2_closures_of_all_sizes_are_run_or_dropped_once() {
    hold_words::<1>();
    hold_words::<2>();
    hold_words::<4>();
    hold_words::<6>();
    hold_words::<8>();
    hold_words::<20>();
}

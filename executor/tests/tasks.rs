//! C12: async tasks.
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use dapple::{Color, Colored, JoinHandle, Palette, Runtime, yield_now};

const LONG: Duration = Duration::from_secs(60);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).on_panic(|_| {}).build().unwrap()
}

/// Returns a future whose value a thread provides after `delay`.
fn from_a_thread(delay: Duration) -> impl Future<Output = u32> + Send {
    let shared = Arc::new(Mutex::new((false, None::<Waker>)));
    let also = Arc::clone(&shared);
    thread::spawn(move || {
        thread::sleep(delay);
        let waker = {
            let mut shared = also.lock().unwrap();
            shared.0 = true;
            shared.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    });
    poll_fn(move |cx| {
        let mut shared = shared.lock().unwrap();
        shared.1 = Some(cx.waker().clone());
        if shared.0 { Poll::Ready(7) } else { Poll::Pending }
    })
}

#[test]
fn c12_polls_are_events_of_the_color() {
    let rt = runtime(2);
    let h = rt.handle();
    let value = Colored::new(&h.new_color(), 0u64);
    let tasks: Vec<JoinHandle<()>> = (0..100)
        .map(|_| {
            let value = value.clone();
            h.spawn(&value.color().clone(), async move {
                for _ in 0..100 {
                    // The task has the value to itself, without a lock, and other events get it in
                    // between.
                    let before = value.with(|v| *v);
                    value.with(|v| *v = before + 1);
                    yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.join().unwrap();
    }
    assert_eq!(value.call(|v, _| *v).join(), Ok(10_000));
    rt.wait_idle();
    assert_eq!(rt.metrics().events(), 100 * 101 + 1);
}

#[test]
fn c12_the_color_is_free_while_a_task_waits() {
    let rt = runtime(1);
    let h = rt.handle();
    let color = h.new_color();
    let (tell, told) = mpsc::channel();
    let task = h.spawn(&color, async move {
        let value = from_a_thread(Duration::from_millis(30)).await;
        tell.send("woken").unwrap();
        value
    });
    assert_eq!(color.call(|_| "an event of the color").join(), Ok("an event of the color"));
    assert!(told.try_recv().is_err(), "the task still waits");
    assert_eq!((task.join(), told.recv().unwrap()), (Ok(7), "woken"));
}

#[test]
fn c12_yield_now_lets_everything_go_first_that_was_posted_before() {
    let rt = runtime(1);
    let h = rt.handle();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |what| {
        let seen = Arc::clone(&seen);
        move || seen.lock().unwrap().push(what)
    };
    let color = h.new_color();
    let (first, second, third) = (note("first"), note("second"), note("third"));
    let also = color.clone();
    let task = h.spawn(&color, async move {
        first();
        also.post(move |_| second());
        yield_now().await;
        third();
    });
    task.join().unwrap();
    assert_eq!(*seen.lock().unwrap(), ["first", "second", "third"]);
}

#[test]
fn c12_a_dropped_handle_detaches() {
    let rt = runtime(2);
    let h = rt.handle();
    let (tell, told) = mpsc::channel();
    drop(h.spawn(&h.new_color(), async move {
        let value = from_a_thread(Duration::from_millis(5)).await;
        tell.send(value).unwrap();
    }));
    assert_eq!(told.recv_timeout(LONG), Ok(7));
}

/// Reports on drop whether it was dropped on its color.
struct Dropped(Colored<u32>, mpsc::Sender<bool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let on_its_color = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.0.with(|n| *n += 1);
        }));
        let _ = self.1.send(on_its_color.is_ok());
    }
}

#[test]
fn c11_c12_a_future_is_dropped_on_its_color_however_it_ends() {
    let rt = runtime(2);
    let h = rt.handle();
    let value = Colored::new(&h.new_color(), 0);
    let (tell, told) = mpsc::channel();
    let guard = || Dropped(value.clone(), tell.clone());
    let spawn = |future: Pin<Box<dyn Future<Output = ()> + Send>>| h.spawn(value.color(), future);
    let is_dropped_on_its_color = || told.recv_timeout(LONG).expect("it is dropped");

    let held = guard();
    spawn(Box::pin(async move { drop(held) })).join().unwrap();
    assert!(is_dropped_on_its_color(), "at its end");

    let held = guard();
    let task = spawn(Box::pin(async move {
        let _held = held;
        pending().await
    }));
    rt.wait_idle();
    assert!(!task.is_finished());
    task.abort();
    assert!(task.join().unwrap_err().is_cancelled());
    assert!(is_dropped_on_its_color(), "aborted while it waits");

    let held = guard();
    let task = spawn(Box::pin(async move {
        let _held = held;
        panic!("a task's")
    }));
    assert!(task.join().unwrap_err().is_panic());
    assert!(is_dropped_on_its_color(), "after a panic");

    let held = guard();
    let task = spawn(Box::pin(async move {
        let _held = held;
        pending().await
    }));
    rt.wait_idle();
    drop(rt);
    assert!(task.join().unwrap_err().is_cancelled());
    assert!(is_dropped_on_its_color(), "at the end of the runtime");
    assert_eq!(h.metrics().panics(), 1);
}

#[test]
fn c12_abort_of_a_task_that_has_ended_or_begins_again_does_no_harm() {
    let rt = runtime(2);
    let h = rt.handle();
    for n in 0..2_000 {
        let task = h.spawn(&h.new_color(), async move {
            for _ in 0..n % 5 {
                yield_now().await;
            }
            n
        });
        // Another task may have taken its place in a list of tasks.
        let other = h.spawn(&h.new_color(), async move { n });
        if n % 3 == 0 {
            thread::yield_now();
        }
        task.abort();
        assert_eq!(other.join(), Ok(n));
        task.abort();
        let outcome = task.join();
        assert!(outcome == Ok(n) || outcome.unwrap_err().is_cancelled());
    }
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn c11_panics_of_a_task_are_counted_and_go_no_further() {
    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("a drop's");
        }
    }
    let messages = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&messages);
    let rt = Runtime::builder()
        .workers(1)
        .on_panic(move |p| {
            let site = p.site.expect("a task has a site").file().to_owned();
            heard.lock().unwrap().push((p.message().unwrap().to_owned(), site));
        })
        .build()
        .unwrap();
    let color = rt.handle().new_color();
    // Its poll does not panic, but the drop of its future does when it is aborted.
    let task = color.spawn(async {
        let _bomb = std::mem::ManuallyDrop::new(());
        let _held = Holder(Some(PanicsWhenDropped));
        yield_now().await;
        pending::<()>().await
    });
    rt.wait_idle();
    task.abort();
    assert!(task.join().unwrap_err().is_cancelled());
    // The task drops its output, because the handle has been dropped when it ends.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    color.post(move |_| {
        let _ = wait.recv();
    });
    drop(color.spawn(async { PanicsWhenDropped }));
    go.send(()).unwrap();
    assert!(color.spawn(async { panic!("a poll's") }).join().unwrap_err().is_panic());
    assert_eq!(color.spawn(async { 1 }).join(), Ok(1), "the color goes on");
    let messages: Vec<_> = messages.lock().unwrap().drain(..).collect();
    let texts: Vec<_> = messages.iter().map(|m| m.0.as_str()).collect();
    assert_eq!(texts, ["a drop's", "a drop's", "a poll's"]);
    assert!(messages.iter().all(|m| m.1.ends_with("tasks.rs")));
    assert_eq!(rt.metrics().panics(), 3);

    struct Holder(#[allow(dead_code)] Option<PanicsWhenDropped>);
}

#[test]
fn c10_c4_a_task_keeps_its_color_while_it_waits() {
    let rt = runtime(2);
    let palette = Palette::<u8>::new(&rt.handle());
    let task = palette.color(&1).spawn(pending::<()>());
    rt.wait_idle();
    assert_eq!(palette.len(), 1);
    task.abort();
    assert!(task.join().is_err());
    rt.wait_idle();
    assert!(palette.is_empty());
}

#[test]
fn e11_tasks_that_wait_are_dropped_by_a_shutdown_and_none_is_begun_after_it() {
    for workers in [1, 2] {
        let rt = runtime(workers);
        let h = rt.handle();
        let alive = Arc::new(AtomicUsize::new(0));
        struct Alive(Arc<AtomicUsize>);
        impl Drop for Alive {
            fn drop(&mut self) {
                self.0.fetch_sub(1, SeqCst);
            }
        }
        let wakers = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                alive.fetch_add(1, SeqCst);
                let (guard, wakers) = (Alive(Arc::clone(&alive)), Arc::clone(&wakers));
                h.spawn(&h.new_color(), async move {
                    let _guard = guard;
                    poll_fn(|cx: &mut Context<'_>| {
                        // The wakers are kept for ever, outside the runtime.
                        wakers.lock().unwrap().push(cx.waker().clone());
                        Poll::<()>::Pending
                    })
                    .await;
                })
            })
            .collect();
        rt.wait_idle();
        let report = rt.shutdown(LONG);
        assert_eq!(alive.load(SeqCst), 0, "{report:?}");
        for task in tasks {
            assert!(task.join().unwrap_err().is_cancelled());
        }
        // The wakers wake nothing.
        wakers.lock().unwrap().drain(..).for_each(Waker::wake);
        alive.fetch_add(1, SeqCst);
        let guard = Alive(Arc::clone(&alive));
        let late = h.spawn(&h.new_color(), async move { drop(guard) });
        assert!(late.join().unwrap_err().is_cancelled());
        assert_eq!(alive.load(SeqCst), 0);
    }
}

#[test]
fn c12_sleeps_are_never_early_and_timeouts_drop_what_is_late() {
    let rt = runtime(2);
    let h = rt.handle();
    let begin = Instant::now();
    let sleeper = h.clone();
    let slept = h.spawn(&h.new_color(), async move {
        sleeper.sleep(Duration::from_millis(20)).await;
        begin.elapsed()
    });
    assert!(slept.join().unwrap() >= Duration::from_millis(20));
    let dropped = Arc::new(AtomicBool::new(false));
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let (guard, limits) = (Flag(Arc::clone(&dropped)), h.clone());
    let task = h.spawn(&h.new_color(), async move {
        let late = async move {
            let _guard = guard;
            pending::<()>().await
        };
        limits.timeout(Duration::from_millis(5), late).await
    });
    assert_eq!(task.join().unwrap().unwrap_err().to_string(), "the time limit has passed");
    assert!(dropped.load(SeqCst));
    assert_eq!(rt.block_on(h.timeout(LONG, from_a_thread(Duration::ZERO))), Ok(7));
    rt.block_on(h.sleep(Duration::ZERO));
    // A dropped sleep leaves no timer behind.
    drop(h.sleep(LONG));
    let report = rt.shutdown(LONG);
    assert_eq!(report.dropped_timers, 0, "{report:?}");
}

#[test]
fn c11_a_call_on_a_poisoned_value_says_so() {
    let rt = runtime(1);
    let value = Colored::new(&rt.handle().new_color(), 1);
    assert_eq!(value.call_shared(|v, _| *v).join(), Ok(1));
    assert!(
        value.call_shared(|_, _| -> u8 { panic!("a reader's") }).join().unwrap_err().is_panic()
    );
    assert!(value.call(|_, _| -> u8 { panic!("a writer's") }).join().unwrap_err().is_panic());
    assert!(
        value.is_poisoned() && rt.metrics().panics() == 2,
        "the panic is counted before the outcome is delivered"
    );
    assert!(value.call(|v, _| *v).join().unwrap_err().is_poisoned());
    assert!(value.call_shared(|v, _| *v).join().unwrap_err().is_poisoned());
    assert_eq!(rt.metrics().dropped(), 2);
    value.clear_poison(|v, _| *v = 2);
    assert_eq!(value.call(|v, _| *v).join(), Ok(2));
    drop(rt);
    assert!(value.call(|v, _| *v).join().unwrap_err().is_cancelled());
}

#[test]
fn e16_join_and_block_on_panic_on_a_worker() {
    let rt = runtime(2);
    let h = rt.handle();
    let color = h.new_color();
    let also = color.clone();
    let message = color.call(move |_| {
        let join = || also.call(|_| ()).join().is_ok();
        let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(join)).unwrap_err();
        *payload.downcast_ref::<&str>().unwrap()
    });
    assert_eq!(
        message.join().unwrap(),
        "`JoinHandle::join` was called on a worker, which it would block"
    );
}

#[test]
fn c12_a_storm_of_tasks_that_wake_each_other() {
    for workers in [1, 2, 4] {
        let rt = runtime(workers);
        let h = rt.handle();
        let counters: Vec<_> = (0..16).map(|_| Colored::new(&h.new_color(), 0u64)).collect();
        let counters = Arc::new(counters);
        let tasks: Vec<_> = (0..64)
            .map(|n| {
                let (counters, color) = (Arc::clone(&counters), h.new_color());
                h.spawn(&color, async move {
                    let mut sum = 0;
                    for round in 0..200 {
                        let counter = &counters[(n + round * 7) % counters.len()];
                        sum += counter
                            .call(|c, _| {
                                *c += 1;
                                1
                            })
                            .await
                            .unwrap();
                        if round % 16 == 0 {
                            yield_now().await;
                        }
                    }
                    sum
                })
            })
            .collect();
        let sum: u64 = tasks.into_iter().map(|task| task.join().unwrap()).sum();
        assert_eq!(sum, 64 * 200);
        let all = counters.iter().map(|c| c.call(|c, _| *c).join().unwrap()).sum::<u64>();
        assert_eq!(all, sum);
        rt.wait_idle();
    }
}

#[test]
fn c8_wakes_ignore_the_bound_and_are_counted() {
    let rt = runtime(1);
    let color = rt.handle().color_builder().capacity(0).build();
    color.spawn(async { yield_now().await }).join().unwrap();
    assert_eq!(rt.metrics().over_limit(), 2);
    rt.wait_idle();
    assert_eq!(color.occupancy(), Some(0));
}

#[test]
fn c12_a_task_of_the_default_color_is_as_serial_as_any() {
    let rt = runtime(2);
    let color: Color = rt.handle().default_color();
    let value = Colored::new(&color, 0);
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let value = value.clone();
            color.spawn(async move { value.with(|v| *v += 1) })
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    assert_eq!(value.call(|v, _| *v).join(), Ok(10));
}

/// E16: code that parks the thread inside a poll takes no wakeup from `block_on`, and `block_on`
/// takes none from it.
#[test]
fn e16_block_on_shares_no_token_with_what_parks_its_thread() {
    let rt = runtime(1);
    let h = rt.handle();
    let parks: [fn(&dapple::Handle); 4] = [
        |h| h.offload(|| thread::sleep(Duration::from_millis(5))).join().unwrap(),
        |_| {
            let (tx, rx) = mpsc::channel();
            thread::spawn(move || tx.send(()));
            rx.recv().unwrap();
        },
        |_| {
            thread::scope(|scope| drop(scope.spawn(|| thread::sleep(Duration::from_millis(5)))));
        },
        |_| thread::park_timeout(Duration::from_millis(5)),
    ];
    for park in parks {
        let mut is_first = true;
        rt.block_on(poll_fn(|cx| {
            if !std::mem::take(&mut is_first) {
                return Poll::Ready(());
            }
            let waker = cx.waker().clone();
            thread::spawn(move || waker.wake()).join().unwrap();
            park(&h);
            Poll::Pending
        }));
    }
    // In the other direction: a token of the thread survives blocking calls of the runtime.
    thread::current().unpark();
    h.offload(|| thread::sleep(Duration::from_millis(5))).join().unwrap();
    let begin = Instant::now();
    thread::park_timeout(LONG);
    assert!(begin.elapsed() < LONG / 2, "the token is still there");
    thread::current().unpark();
    let slow = h.new_color().call(|_| thread::sleep(Duration::from_millis(50)));
    drop(runtime(1));
    slow.join().unwrap();
    let begin = Instant::now();
    thread::park_timeout(LONG);
    assert!(begin.elapsed() < LONG / 2, "a shutdown has not taken it either");
}

/// A waiter that uses a handle of a runtime which has ended, or ends meanwhile, is woken in time.
#[test]
fn e8_a_limit_outlives_its_runtime() {
    let limit = Duration::from_millis(20);
    let rt = runtime(1);
    let h = rt.handle();
    drop(rt);
    let other = runtime(1);
    let begin = Instant::now();
    let outcome = other.block_on(h.timeout(limit, pending::<()>()));
    assert!(outcome.is_err() && begin.elapsed() >= limit);
    assert_eq!(other.block_on(h.timeout(LONG, async { 5 })), Ok(5));
    // In tasks of another runtime, and many at the same time.
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let sleep = h.sleep(limit + Duration::from_millis(n % 7));
            other.handle().spawn(&other.handle().new_color(), async move {
                let until = sleep.until();
                sleep.await;
                Instant::now() >= until
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.join(), Ok(true), "never early");
    }
    // A runtime ends while a thread waits.
    let ending = runtime(1);
    let h = ending.handle();
    let waits = thread::spawn(move || {
        let begin = Instant::now();
        other.block_on(h.sleep(Duration::from_millis(200)));
        begin.elapsed()
    });
    thread::sleep(limit);
    drop(ending);
    let waited = waits.join().unwrap();
    assert!((Duration::from_millis(200)..LONG).contains(&waited), "{waited:?}");
    // A sleep that was polled by one waker, and is then polled by another.
    let h = runtime(1).handle();
    let mut sleep = std::pin::pin!(h.sleep(Duration::from_millis(500)));
    assert!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    runtime(1).block_on(sleep);
}

#[test]
fn e8_a_time_that_cannot_be_told_is_never_over() {
    let rt = runtime(2);
    let h = rt.handle();
    let never = [Duration::MAX, Duration::from_secs(u64::MAX / 2), Duration::from_secs(1 << 40)];
    for never in never {
        assert_eq!(rt.block_on(h.timeout(never, async { 5 })), Ok(5));
        let short = Duration::from_millis(2);
        assert!(rt.block_on(h.timeout(short, h.sleep(never))).is_err());
        let timer = h.post_after(never, &h.default_color(), |_| panic!("never"));
        let every = h.every(never, &h.default_color(), |_| panic!("never"));
        thread::sleep(short);
        assert!(timer.cancel() && every.cancel());
        let place = dapple::Rendezvous::<(), ()>::new(&h.default_color());
        assert_eq!(place.trigger_within((), never).fire(()), Ok(()));
        rt.wait_idle();
        let odd = Runtime::builder()
            .workers(2)
            .stall_after(never)
            .steal_delay(never)
            .stuck_after(never)
            .spin(Duration::from_micros(1))
            .build()
            .unwrap();
        assert_eq!(odd.handle().new_color().call(|_| 5).join(), Ok(5));
        assert!(odd.shutdown(never).drained);
    }
    assert_eq!(rt.metrics().panics(), 0);
}

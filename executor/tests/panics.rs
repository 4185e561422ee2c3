//! C11, C13: a panic ends its event only, wherever it comes from.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex};

use dapple::{Colored, Runtime};

fn quiet() -> Runtime {
    Runtime::builder().workers(2).build().unwrap()
}

struct PanicsOnDrop;
impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("drop");
        }
    }
}

/// A payload whose drop panics with another such payload.
struct Nested(u32);
impl Drop for Nested {
    fn drop(&mut self) {
        if self.0 > 0 {
            std::panic::panic_any(Nested(self.0 - 1));
        }
    }
}

#[test]
fn c11_a_panic_ends_its_event_only() {
    let rt = quiet();
    let h = rt.handle();
    let color = h.new_color();
    let ran = Arc::new(AtomicUsize::new(0));
    for i in 0..100 {
        let ran = Arc::clone(&ran);
        h.post(&color, move |_| {
            assert!(i % 3 != 0, "every third panics");
            ran.fetch_add(1, Relaxed);
        });
        h.post_uncolored(move |_| assert!(i % 2 != 0, "every second panics"));
    }
    rt.wait_idle();
    assert_eq!(ran.load(Relaxed), 66);
    assert_eq!(rt.metrics().panics(), 34 + 50);
    assert_eq!(rt.metrics().events(), 200, "an event that panicked has run");
}

#[test]
fn c11_payloads_that_panic_are_buried() {
    let rt = quiet();
    let h = rt.handle();
    for depth in 0..3 {
        h.post_default(move |_| std::panic::panic_any(Nested(depth)));
        h.post_uncolored(move |_| std::panic::panic_any(Nested(depth)));
    }
    h.post_default(|_| std::panic::panic_any(PanicsOnDrop));
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 7);
    assert_eq!(rt.metrics().events(), 7);
}

#[test]
fn c11_closures_that_panic_when_they_are_dropped() {
    let rt = quiet();
    let h = rt.handle();
    let (a, b) = (PanicsOnDrop, PanicsOnDrop);
    h.post_default(move |_| drop(a));
    h.post_default(|_| ());
    drop(rt);
    // Refused: the closure is dropped by the poster, who must not notice the panic.
    h.post_default(move |_| drop(b));
    let c = PanicsOnDrop;
    h.post_uncolored(move |_| drop(c));
    assert!(h.metrics().panics() >= 2);
}

#[test]
fn c11_drops_that_panic_at_the_end_are_reported() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let also = Arc::clone(&seen);
    let rt = Runtime::builder()
        .workers(1)
        .on_panic(move |r| also.lock().unwrap().push(r.message().unwrap_or("?").to_owned()))
        .build()
        .unwrap();
    let h = rt.handle();
    let (tx, rx) = std::sync::mpsc::channel();
    let also = h.clone();
    let bomb = PanicsOnDrop;
    h.post_default(move |cx| {
        cx.post_here(move |_| drop(bomb));
        tx.send(()).unwrap();
        while also.is_running() {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    });
    rx.recv().unwrap();
    drop(rt);
    assert_eq!(*seen.lock().unwrap(), ["drop"]);
}

#[test]
fn c11_the_hook_learns_message_site_and_label() {
    type Seen = Vec<(String, u32, Option<String>)>;
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let also = Arc::clone(&seen);
    let rt = Runtime::builder()
        .workers(1)
        .on_panic(move |report| {
            let entry = (
                report.message().unwrap_or("?").to_owned(),
                report.site.unwrap().line(),
                report.label.map(str::to_owned),
            );
            assert!(report.site.unwrap().file().ends_with("panics.rs"));
            also.lock().unwrap().push(entry);
            panic!("the hook panics, too");
        })
        .build()
        .unwrap();
    let h = rt.handle();
    let color = h.color_builder().label("account").build();
    let line = line!() + 1;
    h.post(&color, |_| panic!("number {}", 7));
    h.post_uncolored(|_| panic!("plain"));
    rt.wait_idle();
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    assert_eq!(seen[0], ("number 7".to_owned(), line, Some("account".to_owned())));
    assert_eq!(seen[1], ("plain".to_owned(), line + 1, None));
}

#[test]
fn c13_a_panicked_value_is_poisoned_until_it_is_repaired() {
    let rt = quiet();
    let value = Colored::new(&rt.handle().new_color(), vec![1]);
    value.post(|v, _| {
        v.push(2);
        panic!("half way");
    });
    value.post(|_, _| unreachable!("poisoned"));
    rt.wait_idle();
    assert!(value.is_poisoned());
    assert_eq!((rt.metrics().panics(), rt.metrics().dropped()), (1, 1));
    // A repair that panics repairs nothing.
    value.clear_poison(|_, _| panic!("repair"));
    value.post(|_, _| unreachable!("still poisoned"));
    value.clear_poison(|v, _| v.truncate(1));
    value.post(|v, _| {
        assert_eq!(*v, [1]);
        v.push(3);
    });
    rt.wait_idle();
    assert!(!value.is_poisoned());
    assert_eq!((rt.metrics().panics(), rt.metrics().dropped()), (2, 2));
}

#[test]
fn c13_other_values_of_the_color_are_not_poisoned() {
    let rt = quiet();
    let color = rt.handle().new_color();
    let (a, b) = (Colored::new(&color, 1), Colored::new(&color, 2));
    a.post(|_, _| panic!("a"));
    b.post(|n, _| *n += 1);
    rt.wait_idle();
    assert!(a.is_poisoned() && !b.is_poisoned());
    assert_eq!(rt.metrics().dropped(), 0);
}

#[test]
fn c11_a_value_whose_drop_panics() {
    let rt = quiet();
    drop(Colored::new(&rt.handle().new_color(), PanicsOnDrop));
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 1);
}

#[test]
fn waiting_on_a_worker_panics_with_a_message() {
    let rt = Arc::new(quiet());
    let messages: Arc<Mutex<Vec<String>>> = Arc::default();
    for n in 0..3 {
        let (inner, messages) = (Arc::clone(&rt), Arc::clone(&messages));
        rt.handle().post_default(move |_| {
            let caught = catch_unwind(AssertUnwindSafe(|| match n {
                0 => inner.wait_idle(),
                1 => inner.block_on(async {}),
                _ => drop(Runtime::new().unwrap().shutdown(std::time::Duration::ZERO)),
            }));
            let message = *caught.unwrap_err().downcast::<&str>().unwrap();
            messages.lock().unwrap().push(message.to_owned());
        });
    }
    rt.wait_idle();
    let messages = messages.lock().unwrap();
    assert_eq!(messages.len(), 3);
    assert!(messages.iter().all(|m| m.contains("on a worker")), "{messages:?}");
}

//! C13: data bound to a color. C4: palettes.
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, mpsc};
use std::thread;

use dapple::{Color, Colored, Palette, Runtime, StealPolicy};

fn runtime() -> Runtime {
    Runtime::builder().workers(3).steal_policy(StealPolicy::Eager).build().unwrap()
}

struct Noted(Arc<AtomicUsize>, mpsc::Sender<Option<usize>>, dapple::Handle);
impl Drop for Noted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
        let _ = self.1.send(self.2.current_worker());
    }
}

#[test]
fn c13_the_value_is_dropped_on_a_worker_behind_its_events() {
    let rt = runtime();
    let drops = Arc::new(AtomicUsize::new(0));
    let (tx, rx) = mpsc::channel();
    let noted = Noted(Arc::clone(&drops), tx, rt.handle());
    let value = Colored::new(&rt.handle().new_color(), noted);
    let also = value.clone();
    for _ in 0..100 {
        let drops = Arc::clone(&drops);
        value.post(move |_, _| assert_eq!(drops.load(Relaxed), 0));
    }
    drop(value);
    let drops_seen = Arc::clone(&drops);
    also.post(move |_, _| assert_eq!(drops_seen.load(Relaxed), 0));
    drop(also);
    assert!(rx.recv().unwrap().is_some(), "dropped on a worker of the runtime");
    rt.wait_idle();
    assert_eq!(drops.load(Relaxed), 1);
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn c13_get_mut_reaches_a_second_value_of_the_same_color() {
    let rt = runtime();
    let color = rt.handle().new_color();
    let (a, b) = (Colored::new(&color, 1), Colored::new(&color, 10));
    let also_b = b.clone();
    a.post(move |a, cx| {
        let mut b = also_b.get_mut(cx);
        *b += *a;
        *a = *b;
    });
    b.post(|b, _| assert_eq!(*b, 11));
    a.post(|a, _| assert_eq!(*a, 11));
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn c13_aliasing_and_foreign_colors_panic_at_the_place() {
    let reports: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let also = Arc::clone(&reports);
    let rt = Runtime::builder()
        .workers(1)
        .on_panic(move |r| also.lock().unwrap().push(r.message().unwrap().to_owned()))
        .build()
        .unwrap();
    let h = rt.handle();
    let a = Colored::new(&h.new_color(), 1);
    // A clone reached from inside its own event.
    let clone = a.clone();
    a.post(move |_, cx| *clone.get_mut(cx) += 1);
    // From another color, and from an uncolored event.
    let b = Colored::new(&h.new_color(), 1);
    let (one, two) = (b.clone(), b.clone());
    h.post_default(move |cx| *one.get_mut(cx) += 1);
    h.post_uncolored(move |cx| *two.get_mut(cx) += 1);
    // Poisoned.
    let c = Colored::new(&h.new_color(), 1);
    c.post(|_, _| panic!("poison"));
    let also_c = c.clone();
    h.post(c.color(), move |cx| *also_c.get_mut(cx) += 1);
    rt.wait_idle();
    let mut reports = reports.lock().unwrap().clone();
    reports.sort();
    let expected = [
        "already has a reference to this value",
        "does not run on the color",
        "does not run on the color",
        "poison",
        "poisoned",
    ];
    for (part, n) in expected.iter().map(|e| (e, reports.iter().filter(|r| r.contains(e)).count()))
    {
        assert!(n >= 1, "{part} in {reports:?}");
    }
    assert_eq!(reports.len(), 5);
}

#[test]
fn c13_values_of_ten_threads_in_ten_colors_add_up() {
    let rt = runtime();
    let values: Vec<_> = (0..10).map(|_| Colored::new(&rt.handle().new_color(), 0u64)).collect();
    thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for i in 0..5_000 {
                    values[i % 10].post(|n, _| *n += 1);
                }
            });
        }
    });
    for value in &values {
        value.post(|n, _| assert_eq!(*n, 2_000));
    }
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 0);
}

#[test]
fn c4_equal_keys_have_one_color_and_different_keys_never_share() {
    let rt = runtime();
    let palette = Palette::<u64>::new(&rt.handle());
    let colors: HashMap<u64, Color> = (0..5_000).map(|k| (k, palette.color(&k))).collect();
    let distinct: std::collections::HashSet<_> = colors.values().cloned().collect();
    assert_eq!(distinct.len(), 5_000);
    for (k, c) in &colors {
        assert_eq!(palette.color(k), *c);
    }
    assert_eq!(palette.len(), 5_000);
    drop((colors, distinct));
    rt.wait_idle();
    assert!(palette.is_empty(), "an entry lives as long as its color");
}

#[test]
fn c4_an_entry_lives_while_its_color_has_events() {
    let rt = runtime();
    let palette = Palette::<&'static str>::new(&rt.handle());
    let (tx, rx) = mpsc::channel::<()>();
    rt.handle().post(&palette.color(&"k"), move |_| rx.recv().unwrap());
    assert_eq!(palette.len(), 1);
    let revived = palette.color(&"k");
    let (done, was) = mpsc::channel();
    rt.handle().post(&revived, move |_| done.send(()).unwrap());
    drop(revived);
    assert!(was.try_recv().is_err(), "serial with the event that still runs");
    tx.send(()).unwrap();
    was.recv().unwrap();
    rt.wait_idle();
    assert!(palette.is_empty());
}

#[test]
fn c4_revival_and_death_race() {
    // Threads look up keys, post and drop. The counters stay exact only if two colors of one key
    // never exist at the same time.
    let rt = runtime();
    let palette = Palette::<usize>::new(&rt.handle());
    let inside: Arc<Vec<AtomicUsize>> = Arc::new((0..4).map(|_| AtomicUsize::new(0)).collect());
    let ran = Arc::new(AtomicUsize::new(0));
    let h = rt.handle();
    thread::scope(|s| {
        for t in 0..4 {
            let (palette, inside, ran, h) = (&palette, &inside, &ran, &h);
            s.spawn(move || {
                for i in 0..20_000 {
                    let key = (i + t) % 4;
                    let (inside, ran) = (Arc::clone(inside), Arc::clone(ran));
                    h.post(&palette.color(&key), move |_| {
                        assert_eq!(inside[key].fetch_add(1, Relaxed), 0, "two colors of one key");
                        inside[key].fetch_sub(1, Relaxed);
                        ran.fetch_add(1, Relaxed);
                    });
                }
            });
        }
    });
    rt.wait_idle();
    assert_eq!(ran.load(Relaxed), 80_000);
    assert_eq!(rt.metrics().panics(), 0);
    assert!(palette.is_empty());
}

#[test]
fn c4_a_palette_may_go_before_its_colors_and_after_its_runtime() {
    let rt = runtime();
    let h = rt.handle();
    let palette = Palette::<String>::new(&h);
    let color = palette.color("a");
    drop(palette);
    h.post(&color, |_| ());
    drop(color);
    let palette = Palette::<String>::new(&h);
    let color = palette.color("b");
    drop(rt);
    assert_eq!(palette.color("b"), color);
    drop(color);
    assert!(palette.is_empty());
    let _ = palette.color("c");
}

#[test]
fn c13_a_value_that_was_reached_when_its_event_panicked_is_poisoned() {
    let rt = runtime();
    let color = rt.handle().new_color();
    let (a, b, c) = (Colored::new(&color, 1), Colored::new(&color, 2), Colored::new(&color, 3));
    let (also_b, also_c) = (b.clone(), c.clone());
    a.post(move |_, cx| {
        *also_c.get_mut(cx) += 1;
        let mut b = also_b.get_mut(cx);
        *b += 1;
        panic!("while b is held, and c no longer");
    });
    rt.wait_idle();
    assert!(a.is_poisoned() && b.is_poisoned() && !c.is_poisoned());
}

#[test]
fn c4_a_palette_shrinks_and_its_keys_may_panic_when_they_go() {
    struct Key(u32);
    impl Drop for Key {
        fn drop(&mut self) {
            assert!(!self.0.is_multiple_of(1_000) || thread::panicking(), "as keys do");
        }
    }
    impl PartialEq for Key {
        fn eq(&self, other: &Key) -> bool {
            self.0 == other.0
        }
    }
    impl Eq for Key {}
    impl std::hash::Hash for Key {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }
    impl Clone for Key {
        fn clone(&self) -> Key {
            Key(self.0)
        }
    }
    let rt = runtime();
    for _ in 0..3 {
        let palette = Palette::<Key>::new(&rt.handle());
        let colors: Vec<_> = (1..5_000)
            .map(|k| {
                let key = std::mem::ManuallyDrop::new(Key(k));
                let color = palette.color(&*key);
                rt.handle().post(&color, |_| ());
                color
            })
            .collect();
        drop(colors);
        rt.wait_idle();
        assert!(palette.is_empty());
    }
}

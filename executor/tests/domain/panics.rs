//! Panics, poison, transactions (I7, I12).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use dapple::{ColoredSet, Domain};

use crate::common::{Log, in_both_modes, runtime};

#[test]
fn i7_a_panicking_action_is_counted_and_the_others_run() {
    in_both_modes((), |rt, d| {
        let before = rt.metrics().panics();
        let log = Log::default();
        let (a, b) = (log.clone(), log.clone());
        d.none(move |n| {
            n.defer(move |_| a.add(1));
            n.defer(|_| panic!("an action"));
            n.defer(move |_| b.add(2));
        });
        rt.wait_idle();
        assert_eq!(log.read(), [1, 2]);
        assert_eq!(rt.metrics().panics() - before, 1);
    });
}

#[test]
fn i12_a_panic_outside_global_drops_what_was_deferred_since_then() {
    in_both_modes(0, |rt, d| {
        let log = Log::default();
        let (a, b) = (log.clone(), log.clone());
        d.event(move |n| {
            n.upgrade_global_then(move |mut g| {
                *g.state_mut() = 7;
                g.defer(move |_| a.add("global"));
                g.downgrade_then(move |mut a| {
                    a.defer(move |_| b.add("anon"));
                    panic!("in anon");
                })
            })
        });
        let also = log.clone();
        d.none(move |n| {
            n.defer(move |_| also.add("none"));
            panic!("in none");
        });
        let also = log.clone();
        d.anon(move |a| {
            assert_eq!(*a.state(), 7);
            a.defer(move |_| also.add("later"));
        });
        rt.wait_idle();
        assert_eq!(log.read(), ["global", "later"]);
        assert!(!d.is_poisoned());
    });
}

#[test]
fn i12_a_panic_in_global_poisons_until_it_is_cleared() {
    in_both_modes(0, |rt, d| {
        let before = rt.metrics();
        let log = Log::default();
        let add = |what: &'static str| {
            let log = log.clone();
            move |_: &mut dapple::Cx| log.add(what)
        };
        let (a, b, c, e, f) = (add("a"), add("b"), add("c"), add("e"), add("f"));
        d.none(|n| n.defer(a));
        d.global(|g| {
            *g.state_mut() = 1;
            g.defer(b);
            panic!("in global");
        });
        d.global(|g| *g.state_mut() += 100);
        d.none(|n| n.defer(c));
        d.event(|n| n.commit_then(|n| unreachable!("{n:?} is covered")));
        d.clear_poison(|g| {
            *g.state_mut() += 1;
            g.defer(e);
        });
        d.anon(|a| {
            assert_eq!(*a.state(), 2);
            a.defer(f);
        });
        rt.wait_idle();
        assert_eq!(log.read(), ["a", "e", "f"]);
        assert!(!d.is_poisoned());
        let after = rt.metrics();
        assert_eq!(after.panics() - before.panics(), 1);
        assert_eq!(after.dropped() - before.dropped(), 3);
    });
}

#[test]
fn i12_a_transactional_domain_is_as_before_unless_the_event_was_alone() {
    let rt = runtime(2);
    let h = rt.handle();
    let open = || Domain::builder().transactional();
    for d in [open().snapshot(&h, 1), open().read_write(&h, 1)] {
        d.global(|g| {
            *g.state_mut() = 2;
            panic!("before");
        });
        d.global(|g| assert_eq!(*g.state(), 1));
        rt.wait_idle();
        assert!(!d.is_poisoned());
        d.event(|n| {
            n.upgrade_global_then(|mut g| {
                *g.state_mut() = 3;
                g.exclusive_then(|_| panic!("alone"))
            })
        });
        d.global(|_| unreachable!("covered"));
        rt.wait_idle();
        assert!(d.is_poisoned());
        d.clear_poison(|g| assert_eq!(*g.state(), 3));
        rt.wait_idle();
        assert!(!d.is_poisoned());
    }
    assert_eq!(rt.metrics().panics(), 4);
}

/// A state that panics when it is cloned or dropped, on request, and that posts to its domain on
/// drop.
struct Nasty {
    panics: Arc<AtomicBool>,
    drops: Arc<AtomicUsize>,
    home: Arc<Mutex<Option<Domain<Nasty>>>>,
}

impl Clone for Nasty {
    fn clone(&self) -> Self {
        assert!(!self.panics.load(SeqCst), "a clone");
        Nasty { panics: self.panics.clone(), drops: self.drops.clone(), home: self.home.clone() }
    }
}

impl Drop for Nasty {
    fn drop(&mut self) {
        self.drops.fetch_add(1, SeqCst);
        if let Some(d) = &*self.home.lock().unwrap() {
            d.none(|_| ());
        }
        assert!(!self.panics.load(SeqCst), "a drop");
    }
}

#[test]
fn i12_states_whose_clones_and_drops_panic_or_post() {
    let rt = runtime(2);
    let (panics, drops) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let home = Arc::new(Mutex::new(None));
    let state = Nasty { panics: panics.clone(), drops: drops.clone(), home: home.clone() };
    let d = Domain::builder().transactional().snapshot(&rt.handle(), state);
    *home.lock().unwrap() = Some(d.clone());
    for _ in 0..50 {
        d.global(|g| _ = g.state_mut());
        d.anon(|_| ());
    }
    rt.wait_idle();
    assert_eq!((drops.load(SeqCst), rt.metrics().panics()), (50, 0));
    panics.store(true, SeqCst);
    d.global(|g| _ = g.state_mut());
    rt.wait_idle();
    assert_eq!(rt.metrics().panics(), 1);
    panics.store(false, SeqCst);
    d.global(|g| _ = g.state_mut());
    rt.wait_idle();
    assert_eq!((drops.load(SeqCst), d.uncommitted()), (51, 0));
    home.lock().unwrap().take();
    panics.store(true, SeqCst);
    drop(d);
    rt.wait_idle();
    assert_eq!((drops.load(SeqCst), rt.metrics().panics()), (52, 2));
}

#[test]
fn i12_what_poison_covers_is_dropped_and_has_not_run() {
    for workers in [1, 2] {
        let rt = runtime(workers);
        let d = Domain::snapshot(&rt.handle(), 0u64);
        d.global(|_| panic!("in global"));
        for _ in 0..100 {
            d.global(|g| *g.state_mut() += 1);
            d.anon(|a| a.defer(|_| ()));
            d.none(|n| n.defer(|_| ()));
            d.none(|_| ());
            d.event(|n| n.commit());
            d.event(|n| n.commit_then(|n| n.commit()));
        }
        rt.wait_idle();
        let metrics = rt.metrics();
        assert_eq!((metrics.events(), metrics.dropped()), (1, 600));
        let poisoned = dapple::Colored::new(&rt.handle().new_color(), 0u64);
        let also = dapple::Colored::new(&rt.handle().new_color(), 0u64);
        poisoned.post(|_, _| panic!("in the event"));
        for _ in 0..100 {
            poisoned.post(|v, _| *v += 1);
            poisoned.post_shared(|_, _| ());
            (poisoned.exclusive(), also.exclusive()).post(|(v, _), _| *v += 1);
            poisoned.call(|v, _| *v).detach();
        }
        rt.wait_idle();
        let metrics = rt.metrics();
        assert_eq!((metrics.events(), metrics.dropped()), (2, 1_000));
    }
}

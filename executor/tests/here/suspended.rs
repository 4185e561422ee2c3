//! Events of a color that is bound to the user's thread may run other events meanwhile.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dapple::{Color, Colored, Here, Runtime, Turn};

use super::{ALL, HERE, alone, end, here, keep, kept};

/// Returns a bound color, and an empty list for what has run.
fn bound(here: &Here) -> (Color, Arc<Mutex<Vec<u32>>>) {
    (here.handle().color_builder().on_worker(0).build(), Arc::default())
}

#[test]
fn e18_an_event_of_a_bound_color_may_run_others_meanwhile() {
    let here = keep(alone());
    let (color, notes) = bound(&here);
    let note = |n: u32| {
        let notes = Arc::clone(&notes);
        move |_: &mut dapple::Cx| notes.lock().unwrap().push(n)
    };
    let (also_color, also_notes) = (color.clone(), Arc::clone(&notes));
    let (inner, after) = (note(2), note(4));
    color.post(move |cx| {
        also_notes.lock().unwrap().push(0);
        cx.post(&also_color, inner);
        let nested = kept().turn(Turn::Block, ALL);
        assert!(nested >= 1 && cx.is_on(&also_color));
        also_notes.lock().unwrap().push(3);
        cx.post(&also_color, after);
        assert!(cx.is_on(&also_color));
    });
    color.post(note(1));
    here.run(|| notes.lock().unwrap().len() == 5);
    // Earlier posts run earlier (C2), and the outer event goes on when the nested turn has ended.
    assert_eq!(*notes.lock().unwrap(), [0, 1, 2, 3, 4]);
    end(here);
}

#[test]
fn e18_nested_turns_go_as_deep_as_their_events() {
    let here = keep(alone());
    let (color, notes) = bound(&here);
    fn descend(color: &Color, notes: &Arc<Mutex<Vec<u32>>>, depth: u32) {
        let (also_color, notes) = (color.clone(), Arc::clone(notes));
        color.post(move |_| {
            notes.lock().unwrap().push(depth);
            if depth < 50 {
                descend(&also_color, &notes, depth + 1);
                let until = notes.lock().unwrap().len() + 1;
                kept().run(|| notes.lock().unwrap().len() >= until);
            }
            notes.lock().unwrap().push(100 + depth);
        });
    }
    descend(&color, &notes, 0);
    // Neither dropped handles nor a turn that makes the color idle do any harm.
    drop(color);
    here.run(|| notes.lock().unwrap().len() == 102);
    let down: Vec<_> = (0..=50).chain((0..=50).rev().map(|n| 100 + n)).collect();
    assert_eq!(*notes.lock().unwrap(), down);
    end(here);
}

#[test]
fn e18_an_event_that_holds_more_is_not_suspended() {
    let here = keep(alone());
    let h = here.handle();
    let (color, _) = bound(&here);
    let tried = Arc::new(AtomicUsize::new(0));
    let attempt = || {
        let tried = Arc::clone(&tried);
        move |_: &mut dapple::Cx| {
            tried.fetch_add(1, SeqCst);
            kept().turn(Turn::Poll, ALL);
            unreachable!("it panics");
        }
    };
    let other = h.new_color();
    other.post(attempt());
    h.post_set(&[color.exclusive(), other.exclusive()], attempt());
    color.post_shared(attempt());
    here.run(|| tried.load(SeqCst) == 3);
    here.wait_idle();
    assert_eq!(here.metrics().panics(), 3);
    // All colors still work.
    for color in [&color, &other] {
        let tried = Arc::clone(&tried);
        color.post(move |_| _ = tried.fetch_add(1, SeqCst));
    }
    here.run(|| tried.load(SeqCst) == 5);
    HERE.take();
}

#[test]
fn c13_e18_a_suspended_event_keeps_its_values_to_itself() {
    let here = keep(alone());
    let (color, _) = bound(&here);
    let (value, other) = (Colored::new(&color, 1), Colored::new(&color, 10));
    let (also_value, also_other) = (value.clone(), other.clone());
    value.post(move |n, cx| {
        also_value.post(|n, _| *n = 100);
        also_value.post_shared(|_, _| unreachable!("the value is written by another event"));
        also_other.post(|n, _| *n += 1);
        kept().run(|| kept().metrics().panics() == 2);
        *also_other.get_mut(cx) += 1;
        *n += 1;
    });
    here.wait_idle();
    assert_eq!(here.block_on(value.call(|n, _| *n)), Ok(2));
    assert_eq!(here.block_on(other.call(|n, _| *n)), Ok(12));
    // A value that is borrowed for reading stays readable and unwritten, although others read it
    // meanwhile.
    let (also_value, panics) = (value.clone(), here.metrics().panics());
    color.post(move |cx| {
        let read = also_value.get(cx);
        also_value.post_shared(|n, _| assert_eq!(*n, 2));
        also_value.post(|n, _| *n = 100);
        kept().run(|| kept().metrics().panics() == panics + 1);
        assert_eq!(*read, 2);
    });
    here.wait_idle();
    assert_eq!(here.block_on(value.call(|n, _| *n)), Ok(2));
    assert_eq!(here.metrics().panics(), panics + 1);
    HERE.take();
}

#[test]
fn e18_e12_a_suspended_event_is_no_stall() {
    let stalls = Arc::new(AtomicUsize::new(0));
    let also_stalls = Arc::clone(&stalls);
    let builder = Runtime::builder().workers(1).stall_after(Duration::from_millis(20));
    let here = keep(here(builder.on_stall(move |_| _ = also_stalls.fetch_add(1, SeqCst))));
    let h = here.handle();
    let done = Arc::new(AtomicBool::new(false));
    let also_done = Arc::clone(&done);
    h.post_default(move |cx| {
        let (until, color) = (Instant::now() + Duration::from_millis(60), cx.color().unwrap());
        let timer = cx.post_after(Duration::from_millis(60), &color, |_| {});
        kept().run(|| Instant::now() >= until);
        drop(timer);
        also_done.store(true, SeqCst);
    });
    here.run(|| done.load(SeqCst));
    here.turn(Turn::Poll, ALL);
    assert_eq!(stalls.load(SeqCst), 0);
    h.post_default(|_| thread::sleep(Duration::from_millis(30)));
    here.wait_idle();
    assert_eq!(stalls.load(SeqCst), 1);
    end(here);
}

#[test]
fn c13_e18_a_value_stays_while_a_suspended_event_has_it() {
    struct Noted(u64, Arc<AtomicUsize>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.1.fetch_add(1, SeqCst);
        }
    }
    for way in 0..4 {
        let here = keep(alone());
        let (color, _) = bound(&here);
        let drops = Arc::new(AtomicUsize::new(0));
        let value = Colored::new(&color, Noted(0, Arc::clone(&drops)));
        let also_drops = Arc::clone(&drops);
        let handle = (way > 0).then(|| value.clone());
        let event = move |noted: &mut Noted, _: &mut dapple::Cx| {
            match (way, handle) {
                // The last handle is dropped before the event runs, in another event, on a thread,
                // in its own event.
                (1, Some(handle)) => kept().handle().post_default(move |_| drop(handle)),
                (2, Some(handle)) => thread::spawn(move || drop(handle)).join().unwrap(),
                (_, handle) => drop(handle),
            }
            for _ in 0..5 {
                kept().turn(Turn::Poll, ALL);
                noted.0 += 1;
                assert_eq!(also_drops.load(SeqCst), 0);
            }
            assert_eq!(noted.0, 5);
        };
        match way {
            3 => value.clear_poison(event),
            _ => value.post(event),
        }
        drop(value);
        here.wait_idle();
        assert_eq!(drops.load(SeqCst), 1, "{way}");
        end(here);
    }
}

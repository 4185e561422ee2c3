//! C5, C6: readers, and sets.

use std::ptr::NonNull;

use dapple_colors::{Access, Access::*, Excluded, Finished, Left, Posted};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::model;
use crate::color::queue::{Link, Queue};
use crate::color::readers::Readers;
use crate::color::two_phase::{Site, take_places};
use crate::lock::Flag;

/// What stands in a queue: a plain event, or a request of a set.
#[repr(C)]
struct Entry {
    link: Link,
    access: Access,
    set: Option<&'static Set>,
}

/// A set of two colors. Exclusive on both.
struct Set {
    missing: AtomicUsize,
}

struct Color {
    queue: Queue,
    readers: Readers,
    lock: Flag,
    /// Read by shared events, written by exclusive ones: loom reports an overlap, and an order that is not passed on.
    state: loom::cell::UnsafeCell<usize>,
}

/// What `turn`, `hold` and the run queue do, without closures, and without going on outside of a turn.
struct World {
    colors: Vec<Color>,
    runnable: Mutex<Vec<Job>>,
    changed: Condvar,
    left: AtomicUsize,
    written: AtomicUsize,
}

#[derive(Clone, Copy)]
enum Job {
    Color(usize),
    Reader(usize),
    Set,
}

// SAFETY: the model: `state` is what is checked.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

struct Place<'a>(&'a Color, NonNull<Link>, bool);

impl Site for Place<'_> {
    fn queue(&self) -> &Queue {
        &self.0.queue
    }
    fn lock(&self) -> &Flag {
        &self.0.lock
    }
    fn link(&self) -> NonNull<Link> {
        self.1
    }
    fn became_runnable(&mut self) {
        self.2 = true;
    }
}

fn entry(access: Access, set: Option<&'static Set>) -> NonNull<Link> {
    NonNull::from(Box::leak(Box::new(Entry { link: Link::new(), access, set }))).cast()
}

/// # Safety
///
/// The link is out of every queue.
unsafe fn free(link: NonNull<Link>) {
    // SAFETY: by contract; it was leaked.
    drop(unsafe { Box::from_raw(link.cast::<Entry>().as_ptr()) });
}

impl World {
    fn new(colors: usize, events: usize) -> Arc<World> {
        let color = |_| Color {
            queue: Queue::new(),
            readers: Readers::new(),
            lock: Flag::new(),
            state: loom::cell::UnsafeCell::new(0),
        };
        Arc::new(World {
            colors: (0..colors).map(color).collect(),
            runnable: Mutex::new(Vec::new()),
            changed: Condvar::new(),
            left: AtomicUsize::new(events),
            written: AtomicUsize::new(0),
        })
    }

    fn queue(&self, job: Job) {
        self.runnable.lock().unwrap().push(job);
        self.changed.notify_one();
    }

    fn post(&self, color: usize, access: Access) {
        // SAFETY: the link is fresh.
        if unsafe { self.colors[color].queue.push(entry(access, None)) } == Posted::BecameRunnable {
            self.queue(Job::Color(color));
        }
    }

    /// Posts a set of the first two colors.
    fn post_set(&self) {
        let set: &'static Set = Box::leak(Box::new(Set { missing: AtomicUsize::new(2) }));
        let place = |c| Place(&self.colors[c], entry(Exclusive, Some(set)), false);
        let mut places = [place(0), place(1)];
        // SAFETY: the links are fresh, and in order.
        unsafe { take_places(&mut places) };
        let runnable = [places[0].2, places[1].2];
        for (color, runnable) in runnable.into_iter().enumerate() {
            if runnable {
                self.queue(Job::Color(color));
            }
        }
    }

    /// Runs jobs until all events have ended.
    fn work(&self) {
        loop {
            let mut runnable = self.runnable.lock().unwrap();
            let job = loop {
                if self.left.load(Ordering::Acquire) == 0 {
                    return;
                }
                match runnable.pop() {
                    Some(job) => break job,
                    None => runnable = self.changed.wait(runnable).unwrap(),
                }
            };
            drop(runnable);
            match job {
                Job::Color(color) => self.turn(color),
                Job::Reader(color) => {
                    // SAFETY: checked by loom.
                    self.colors[color].state.with(|state| assert!(unsafe { *state } <= 2));
                    self.leave(color);
                    self.ends();
                }
                Job::Set => {
                    self.write(0);
                    self.write(1);
                    self.give_back(0);
                    self.give_back(1);
                    self.ends();
                }
            }
        }
    }

    fn ends(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            drop(self.runnable.lock().unwrap());
            self.changed.notify_all();
        }
    }

    fn write(&self, color: usize) {
        // SAFETY: checked by loom.
        self.colors[color].state.with_mut(|state| unsafe { *state += 1 });
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    fn leave(&self, color: usize) {
        if self.colors[color].readers.leave() == Left::Holds {
            self.queue(Job::Color(color));
        }
    }

    /// The color's head is spent: it goes on behind it.
    fn give_back(&self, color: usize) {
        let queue = &self.colors[color].queue;
        let head = queue.head();
        // SAFETY: the set has the color.
        match unsafe { queue.finish(head) } {
            Finished::Next(next) => {
                queue.set_head(next);
                self.queue(Job::Color(color));
            }
            Finished::Idle => {}
            // The link stays; what it stood for is over.
            Finished::Gap => return self.spent(color, head),
        }
        // SAFETY: it is out of the queue.
        unsafe { free(head) };
    }

    /// The head has ended, and a gap is behind it: waits for the poster, as no worker would.
    fn spent(&self, color: usize, head: NonNull<Link>) {
        let queue = &self.colors[color].queue;
        loop {
            thread::yield_now();
            // SAFETY: the color is held.
            match unsafe { queue.finish(head) } {
                Finished::Gap => {}
                Finished::Idle => break,
                Finished::Next(next) => {
                    queue.set_head(next);
                    self.queue(Job::Color(color));
                    break;
                }
            }
        }
        // SAFETY: it is out of the queue.
        unsafe { free(head) };
    }

    /// Runs one event of the color, or lets one go.
    fn turn(&self, color: usize) {
        let at = &self.colors[color];
        let head = at.queue.head();
        // SAFETY: the head of the color that we hold.
        let (access, set) = unsafe {
            let entry = head.cast::<Entry>().as_ref();
            (entry.access, entry.set)
        };
        match (access, set) {
            (Shared, _) => {
                at.readers.enter();
                self.give_back(color);
                self.queue(Job::Reader(color));
            }
            (Exclusive, _) if at.readers.exclude() == Excluded::Waits => {}
            (Exclusive, None) => {
                self.write(color);
                self.give_back(color);
                self.ends();
            }
            (Exclusive, Some(set)) => {
                if set.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.queue(Job::Set);
                }
            }
        }
    }
}

/// C5: two readers and a writer, posted by two threads, run by both.
#[test]
fn c5_a_writer_overlaps_no_reader_and_sees_them_leave() {
    for last in [Shared, Exclusive] {
        model(move || {
            let world = World::new(1, 3);
            let other = {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    world.post(0, Shared);
                    world.work();
                })
            };
            world.post(0, Exclusive);
            world.post(0, last);
            world.work();
            other.join().unwrap();
            let writers = 1 + usize::from(last == Exclusive);
            assert_eq!(world.written.load(Ordering::Relaxed), writers);
        });
    }
}

/// C6: two threads post a set of the same two colors each.
#[test]
fn c6_sets_that_meet_both_run() {
    model(|| {
        let world = World::new(2, 2);
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.post_set();
                world.work();
            })
        };
        world.post_set();
        world.work();
        other.join().unwrap();
        assert_eq!(world.written.load(Ordering::Relaxed), 4);
    });
}

/// C6: a plain post stands between, before or behind the places of a set.
#[test]
fn c6_a_plain_post_meets_a_set() {
    model(|| {
        let world = World::new(2, 2);
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.post_set())
        };
        world.post(1, Exclusive);
        world.work();
        other.join().unwrap();
        assert_eq!(world.written.load(Ordering::Relaxed), 3);
    });
}

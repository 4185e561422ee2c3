//! C10: handles, the grave, and the death of a color.

use std::ptr::NonNull;

use dapple_colors::{Finished, Posted};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::model;
use crate::color::life::Life;
use crate::color::queue::{Link, Queue};

/// A color with a life: what `cell` and `turn` do, without closures.
struct Mortal {
    queue: Queue,
    life: Life,
    grave: Link,
    /// Does its palette know it? A look-up makes a handle, under the lock.
    in_palette: Option<Mutex<bool>>,
    /// Read by each thread that touches the color, written by its death: loom reports a touch that
    /// is not ordered before it.
    alive: loom::cell::UnsafeCell<bool>,
    run_queue: Mutex<usize>,
    queued: loom::sync::Condvar,
    ran: AtomicUsize,
}

/// An event that, when it runs, may post to its color.
#[repr(C)]
struct Step {
    link: Link,
    revives: Revives,
}

#[derive(Clone, Copy)]
enum Revives {
    No,
    /// It makes a handle and posts through it.
    ByHandle,
    /// It posts as the running event.
    Here,
}
use Revives::*;

// SAFETY: the model: `alive` is what is checked.
unsafe impl Sync for Mortal {}
// SAFETY: as above.
unsafe impl Send for Mortal {}

impl Mortal {
    fn new() -> Arc<Mortal> {
        Self::of(None)
    }

    fn of(in_palette: Option<Mutex<bool>>) -> Arc<Mortal> {
        Arc::new(Mortal {
            in_palette,
            queue: Queue::new(),
            life: Life::new(),
            grave: Link::new(),
            alive: loom::cell::UnsafeCell::new(true),
            run_queue: Mutex::new(0),
            queued: loom::sync::Condvar::new(),
            ran: AtomicUsize::new(0),
        })
    }

    fn touch(&self) {
        // SAFETY: checked by loom.
        self.alive.with(|alive| assert!(unsafe { *alive }, "a dead color is touched"));
    }

    fn push(&self, link: NonNull<Link>) {
        // SAFETY: the link is the caller's.
        if unsafe { self.queue.push(link) } == Posted::BecameRunnable {
            *self.run_queue.lock().unwrap() += 1;
            self.queued.notify_one();
        }
    }

    fn post(&self, revives: Revives) {
        self.touch();
        let step = Box::leak(Box::new(Step { link: Link::new(), revives }));
        self.push(NonNull::from(step).cast());
    }

    /// A post by an event of the color, without a handle.
    fn post_here(&self) {
        self.touch();
        let step =
            NonNull::from(Box::leak(Box::new(Step { link: Link::new(), revives: No }))).cast();
        // SAFETY: the link is fresh, and an event of the color runs.
        if !unsafe { self.queue.keep(step, &self.grave) } {
            self.push(step);
        }
    }

    fn drop_handle(&self) {
        self.touch();
        if self.life.release() {
            self.push(NonNull::from(&self.grave));
        }
    }

    /// Has it got a handle again? As `Palette::color`; false: a new color would be made.
    fn look_up(&self) -> bool {
        let is_there = self.in_palette.as_ref().unwrap().lock().unwrap();
        if *is_there {
            self.touch();
            self.life.retain();
        }
        *is_there
    }

    /// Is the color dead, now that its holder has come to the grave? As `ColorCell`'s death and
    /// `Retire`.
    fn dies(&self) -> bool {
        match &self.in_palette {
            None => self.life.is_over(&self.queue),
            Some(in_palette) => {
                let mut is_there = in_palette.lock().unwrap();
                let is_over = self.life.is_over(&self.queue);
                *is_there &= !is_over;
                is_over
            }
        }
    }

    /// Runs events until the color dies.
    fn work(&self) {
        loop {
            let mut queue = self.run_queue.lock().unwrap();
            while *queue == 0 {
                queue = self.queued.wait(queue).unwrap();
            }
            *queue -= 1;
            drop(queue);
            let mut link = self.queue.own().unwrap_or_else(|| self.queue.head());
            let mut spent = false;
            loop {
                self.touch();
                let is_grave = std::ptr::eq(link.as_ptr(), &self.grave);
                if is_grave && self.dies() {
                    // SAFETY: checked by loom.
                    self.alive.with_mut(|alive| unsafe { *alive = false });
                    return;
                }
                if !is_grave && !spent {
                    // SAFETY: the head of the color that we hold.
                    match unsafe { link.cast::<Step>().as_ref() }.revives {
                        No => {}
                        ByHandle => {
                            self.life.retain();
                            self.post(No);
                            self.drop_handle();
                        }
                        Here => self.post_here(),
                    }
                    self.ran.fetch_add(1, Ordering::Relaxed);
                    if self.queue.own() == Some(link) {
                        // SAFETY: we hold the color; it was leaked.
                        unsafe {
                            self.queue.drop_own(link);
                            drop(Box::from_raw(link.cast::<Step>().as_ptr()));
                        }
                    }
                    if let Some(own) = self.queue.own() {
                        link = own;
                        continue;
                    }
                    link = self.queue.head();
                }
                // SAFETY: we hold the color, and this is its head.
                let finished = unsafe { self.queue.finish(link) };
                if finished == Finished::Gap {
                    spent = true;
                    thread::yield_now();
                    continue;
                }
                match is_grave {
                    true => self.drop_handle(),
                    // SAFETY: it was leaked, and is out of the queue.
                    false => drop(unsafe { Box::from_raw(link.cast::<Step>().as_ptr()) }),
                }
                spent = false;
                match finished {
                    Finished::Next(next) => {
                        link = next;
                    }
                    _ => break,
                }
            }
        }
    }
}

/// C10: two handles in two threads, each posts and is dropped; the color dies once, after all
/// events, and nobody touches it afterwards. One of the events makes a handle when there may be
/// none.
#[test]
fn c10_a_color_dies_once_and_after_everything() {
    for revives in [No, ByHandle, Here] {
        model(move || {
            let color = Mortal::new();
            color.life.retain();
            let other = {
                let color = Arc::clone(&color);
                thread::spawn(move || {
                    color.post(revives);
                    color.drop_handle();
                })
            };
            let worker = {
                let color = Arc::clone(&color);
                thread::spawn(move || color.work())
            };
            color.post(No);
            color.drop_handle();
            other.join().unwrap();
            worker.join().unwrap();
            let more = usize::from(!matches!(revives, No));
            assert_eq!(color.ran.load(Ordering::Relaxed), 2 + more);
        });
    }
}

/// C10: a palette is asked for the color while its last handle is dropped: it is revived, or is
/// dead and out of the palette.
#[test]
fn c10_a_palette_revives_a_color_or_does_not_find_it() {
    for posts in [false, true] {
        model(move || {
            let color = Mortal::of(Some(Mutex::new(true)));
            let asks = {
                let color = Arc::clone(&color);
                thread::spawn(move || {
                    let found = color.look_up();
                    if found {
                        if posts {
                            color.post(No);
                        }
                        color.drop_handle();
                    }
                    found
                })
            };
            let worker = {
                let color = Arc::clone(&color);
                thread::spawn(move || color.work())
            };
            color.post(No);
            color.drop_handle();
            let found = asks.join().unwrap();
            worker.join().unwrap();
            assert_eq!(color.ran.load(Ordering::Relaxed), 1 + usize::from(found && posts));
            assert!(!color.look_up(), "a dead color is found");
        });
    }
}

//! C10: handles, the grave, and the death of a color.

use std::ptr::NonNull;

use dapple_colors::{Finished, Posted};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::model;
use crate::color::life::Life;
use crate::color::queue::{Link, Queue};

/// A color with handles and a death: what `cell` and `turn` do, without closures.
struct Mortal {
    queue: Queue,
    life: Life,
    grave: Link,
    /// Whether its palette has it, if there is a palette. A look-up makes a handle, under the lock.
    in_palette: Option<Mutex<bool>>,
    /// Read by each thread that touches the color, and written by its death. So loom reports a
    /// touch that is not ordered before the death.
    alive: loom::cell::UnsafeCell<bool>,
    run_queue: Mutex<usize>,
    queued: loom::sync::Condvar,
    ran: AtomicUsize,
}

/// An event that may post to its color when it runs.
#[repr(C)]
struct Step {
    link: Link,
    revives: Revives,
}

#[derive(Clone, Copy)]
enum Revives {
    No,
    /// The event makes a handle and posts through it.
    ByHandle,
    /// The event posts to its own color, without a handle.
    Here,
}
use Revives::*;

// SAFETY: the protocol under test keeps accesses of `alive` and of the links apart; loom reports it
// if it does not.
unsafe impl Sync for Mortal {}
// SAFETY: a `Mortal` owns nothing that is tied to a thread.
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
        // SAFETY: loom reports a conflicting access to the cell.
        self.alive.with(|alive| assert!(unsafe { *alive }, "a dead color is touched"));
    }

    fn push(&self, link: NonNull<Link>) {
        // SAFETY: the caller has made the link, or is the one that may post the grave.
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

    /// Posts from an event of the color, without a handle.
    fn post_here(&self) {
        self.touch();
        let step =
            NonNull::from(Box::leak(Box::new(Step { link: Link::new(), revives: No }))).cast();
        // SAFETY: the link is new, and an event of the color runs on this thread.
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

    /// Looks the color up in its palette, as `Palette::color` does. Returns `true` if the color has
    /// one more handle now, and `false` if a new color would be made.
    fn look_up(&self) -> bool {
        let is_there = self.in_palette.as_ref().unwrap().lock().unwrap();
        if *is_there {
            self.touch();
            self.life.retain();
        }
        *is_there
    }

    /// Returns `true` if the color dies, now that its holder has come to the grave. As in the death
    /// of `ColorCell`, and `Retire`.
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
                    // SAFETY: loom reports a conflicting access to the cell.
                    self.alive.with_mut(|alive| unsafe { *alive = false });
                    return;
                }
                if !is_grave && !spent {
                    // SAFETY: the link is the front event of the color, which this thread holds.
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
                        // SAFETY: this thread holds the color, and `link` is the front of its own
                        // list; `post_here` leaked its box, and after `drop_own` the link is in no
                        // queue.
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
                // SAFETY: this thread holds the color, and `link` is its head.
                let finished = unsafe { self.queue.finish(link) };
                if finished == Finished::Gap {
                    spent = true;
                    thread::yield_now();
                    continue;
                }
                match is_grave {
                    true => self.drop_handle(),
                    // SAFETY: `post` or `post_here` leaked the box, and `finish` has taken the link
                    // out of the queue.
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

/// C10: two threads have a handle each, post through it and drop it. The color dies once, after all
/// events, and nobody touches it afterwards. One of the events makes a handle, possibly after the
/// last other one was dropped, or posts without one.
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

/// C10: a palette is asked for the color while its last handle is dropped. The color is revived, or
/// is dead and no longer in the palette.
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

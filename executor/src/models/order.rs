//! C1, C2: a color's queue, its run queue and its workers.

use std::collections::VecDeque;
use std::ptr::NonNull;

use dapple_colors::{Finished, Posted};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::model;
use crate::color::queue::{Link, Queue};

/// An event: a link, and what its poster wrote before the post.
#[repr(C)]
struct Node {
    link: Link,
    poster: usize,
    number: usize,
    /// Written without any synchronization except that of the post.
    written: loom::cell::UnsafeCell<usize>,
}

/// A color and its run queue.
struct Color {
    queue: Queue,
    run_queue: Mutex<VecDeque<()>>,
    queued: loom::sync::Condvar,
    /// Written by every event, without any synchronization except that of the color.
    state: loom::cell::UnsafeCell<Vec<(usize, usize)>>,
    left: AtomicUsize,
    gaps: AtomicUsize,
}

// SAFETY: only events of the color reach `state`, and the queue under test keeps these apart; loom
// reports it if it does not.
unsafe impl Sync for Color {}
// SAFETY: a `Color` owns nothing that is tied to a thread.
unsafe impl Send for Color {}

impl Color {
    fn new(events: usize) -> Arc<Color> {
        Arc::new(Color {
            queue: Queue::new(),
            run_queue: Mutex::new(VecDeque::new()),
            queued: loom::sync::Condvar::new(),
            state: loom::cell::UnsafeCell::new(Vec::new()),
            left: AtomicUsize::new(events),
            gaps: AtomicUsize::new(0),
        })
    }

    fn node(poster: usize, number: usize) -> NonNull<Link> {
        let written = loom::cell::UnsafeCell::new(0);
        let node = Box::leak(Box::new(Node { link: Link::new(), poster, number, written }));
        // SAFETY: the node was made above, and no other thread knows it yet.
        node.written.with_mut(|w| unsafe { *w = poster * 10 + number });
        NonNull::from(node).cast()
    }

    fn post(&self, poster: usize, number: usize) {
        // SAFETY: `node` has made the link, and it has not been in a queue yet.
        if unsafe { self.queue.push(Self::node(poster, number)) } == Posted::BecameRunnable {
            self.make_runnable();
        }
    }

    /// Posts from an event of the color.
    fn keep_or_post(&self, poster: usize, number: usize) {
        let node = Self::node(poster, number);
        // SAFETY: `node` has made the link, and an event of the color runs on this thread.
        unsafe {
            if !self.queue.keep(node, std::ptr::null()) {
                assert_eq!(self.queue.push(node), Posted::Behind, "a running color is not idle");
            }
        }
    }

    fn make_runnable(&self) {
        self.run_queue.lock().unwrap().push_back(());
        self.queued.notify_one();
    }

    /// Runs what is queued, `budget` events per turn, until all events have run.
    fn work(&self, budget: usize) {
        self.work_with(budget, |_, _| ());
    }

    /// Runs what is queued, as [`work`](Self::work) does. Events of poster 0 call `run` with their
    /// number.
    fn work_with(&self, budget: usize, mut run: impl FnMut(&Color, usize)) {
        loop {
            let mut queue = self.run_queue.lock().unwrap();
            while queue.pop_front().is_none() {
                if self.left.load(Ordering::Relaxed) == 0 {
                    return;
                }
                queue = self.queued.wait(queue).unwrap();
            }
            drop(queue);
            self.turn(budget, &mut run);
        }
    }

    fn turn(&self, budget: usize, run: &mut impl FnMut(&Color, usize)) {
        let mut link = self.queue.own().unwrap_or_else(|| self.queue.head());
        for n in 1.. {
            let node = link.cast::<Node>();
            // SAFETY: this thread holds the color, so its head stays in the queue. An event that a
            // gap kept there is marked by its number and does not run again. A node is freed once
            // it is out of its queue.
            unsafe {
                if node.as_ref().number != usize::MAX {
                    let (poster, number) = (node.as_ref().poster, node.as_ref().number);
                    node.as_ref().written.with(|w| assert_eq!(*w, poster * 10 + number));
                    self.state.with_mut(|s| (*s).push((poster, number)));
                    (*node.as_ptr()).number = usize::MAX;
                    if poster == 0 {
                        run(self, number);
                    }
                    if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                        drop(self.run_queue.lock().unwrap());
                        self.queued.notify_all();
                    }
                }
                if self.queue.own() == Some(link) {
                    self.queue.drop_own(link);
                    drop(Box::from_raw(node.as_ptr()));
                }
                if let Some(own) = self.queue.own() {
                    link = own;
                    if n >= budget {
                        self.make_runnable();
                        return;
                    }
                    continue;
                }
                link = self.queue.head();
                let node = link.cast::<Node>();
                match self.queue.finish(link) {
                    Finished::Next(next) => {
                        drop(Box::from_raw(node.as_ptr()));
                        link = next;
                        if n >= budget {
                            self.make_runnable();
                            return;
                        }
                    }
                    Finished::Idle => {
                        drop(Box::from_raw(node.as_ptr()));
                        return;
                    }
                    // The real worker always puts the color back. Here it does so once, and after
                    // that waits on the spot, as loom has no fairness that would end a series of
                    // such hand-overs.
                    Finished::Gap if self.gaps.fetch_add(1, Ordering::Relaxed) == 0 => {
                        self.make_runnable();
                        return;
                    }
                    Finished::Gap => thread::yield_now(),
                }
            }
        }
    }

    /// Checks C2: the events of each poster ran in the order of the posts, each once.
    fn check(&self, posters: usize, posts: usize) {
        // SAFETY: all other threads have been joined, so this one has the cell alone.
        let order = self.state.with(|s| unsafe { (*s).clone() });
        for p in 0..posters {
            let own: Vec<_> = order.iter().filter(|e| e.0 == p).map(|e| e.1).collect();
            assert_eq!(own, (0..posts).collect::<Vec<_>>());
        }
    }
}

/// C1, C2: there are two posters, and the color goes from one worker to another.
#[test]
fn c1_c2_two_posters_two_workers() {
    model(|| {
        let color = Color::new(2);
        let poster = {
            let color = Arc::clone(&color);
            thread::spawn(move || color.post(1, 0))
        };
        let worker = {
            let color = Arc::clone(&color);
            thread::spawn(move || color.work(1))
        };
        color.post(0, 0);
        color.work(1);
        poster.join().unwrap();
        worker.join().unwrap();
        color.check(2, 1);
    });
}

/// C2: the posts of one poster keep their order while a worker drains the queue to idle in between.
#[test]
fn c2_a_poster_against_a_draining_worker() {
    model(|| {
        let color = Color::new(3);
        let worker = {
            let color = Arc::clone(&color);
            thread::spawn(move || color.work(2))
        };
        for number in 0..3 {
            color.post(0, number);
        }
        worker.join().unwrap();
        color.check(1, 3);
    });
}

/// C2: a post that happened before another one, on another thread, runs before it.
#[test]
fn c2_order_across_threads() {
    model(|| {
        let color = Color::new(2);
        color.post(0, 0);
        let other = {
            let color = Arc::clone(&color);
            thread::spawn(move || color.post(0, 1))
        };
        color.work(1);
        other.join().unwrap();
        color.check(1, 2);
    });
}

/// C2: posts of an event to its own color, and posts from elsewhere that happened before or after
/// them, keep their order.
#[test]
fn c2_own_posts_keep_their_place() {
    model(|| {
        let color = Color::new(4);
        // 1 means that the event has posted, 2 that the other thread has.
        let said = Arc::new(AtomicUsize::new(0));
        let other = {
            let (color, said) = (Arc::clone(&color), Arc::clone(&said));
            thread::spawn(move || {
                let after = said.load(Ordering::Acquire) == 1;
                color.post(1, 0);
                let _ = said.compare_exchange(0, 2, Ordering::Release, Ordering::Relaxed);
                after
            })
        };
        color.post(0, 0);
        let mut before = false;
        color.work_with(2, |color, number| {
            if number == 0 {
                before = said.load(Ordering::Acquire) == 2;
                color.keep_or_post(2, 0);
                let _ = said.compare_exchange(0, 1, Ordering::Release, Ordering::Relaxed);
                color.keep_or_post(2, 1);
            }
        });
        let after = other.join().unwrap();
        // SAFETY: all other threads have been joined, so this one has the cell alone.
        let order = color.state.with(|s| unsafe { (*s).clone() });
        let at = |event| order.iter().position(|e| *e == event).expect("each event has run");
        assert_eq!(order.len(), 4);
        assert!(at((0, 0)) < at((2, 0)) && at((2, 0)) < at((2, 1)));
        assert!(!before || at((1, 0)) < at((2, 0)), "C2: it was posted before");
        assert!(!after || at((2, 0)) < at((1, 0)), "C2: it was posted after");
    });
}

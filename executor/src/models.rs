//! Loom models: every interleaving, and every value that the memory orderings allow, of small programs.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p dapple --lib --release --target-dir target-loom`

use std::collections::VecDeque;
use std::ptr::NonNull;

use dapple_colors::{Finished, Posted};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::color::life::Life;
use crate::color::queue::{Link, Queue};
use crate::worker::private::Private;
use crate::worker::sleep::SleepState;

/// A link and what its poster wrote before the post.
#[repr(C)]
struct Node {
    link: Link,
    poster: usize,
    number: usize,
    /// Written without synchronisation but that of the post.
    written: loom::cell::UnsafeCell<usize>,
}

/// A color and the run queue that it goes to.
struct Color {
    queue: Queue,
    run_queue: Mutex<VecDeque<()>>,
    queued: loom::sync::Condvar,
    /// Written by every event, without synchronisation but that of the color.
    state: loom::cell::UnsafeCell<Vec<(usize, usize)>>,
    left: AtomicUsize,
    gaps: AtomicUsize,
}

// SAFETY: the model: `state` is reached in events of the color only.
unsafe impl Sync for Color {}
// SAFETY: as above.
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
        // SAFETY: nobody else knows it yet.
        node.written.with_mut(|w| unsafe { *w = poster * 10 + number });
        NonNull::from(node).cast()
    }

    fn post(&self, poster: usize, number: usize) {
        // SAFETY: the node is fresh.
        if unsafe { self.queue.push(Self::node(poster, number)) } == Posted::BecameRunnable {
            self.make_runnable();
        }
    }

    /// A post by an event of the color.
    fn keep_or_post(&self, poster: usize, number: usize) {
        let node = Self::node(poster, number);
        // SAFETY: the node is fresh, and an event of the color runs.
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

    /// Runs what is queued, `budget` events a turn.
    fn work(&self, budget: usize) {
        self.work_with(budget, |_, _| ());
    }

    /// The same; events of poster 0 call `run` with their number.
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
            // SAFETY: the head of a held color is in the queue; an event that a gap kept is marked
            // by its number and not run again.
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
                        self.queue.set_head(next);
                        if n >= budget {
                            self.make_runnable();
                            return;
                        }
                    }
                    Finished::Idle => {
                        drop(Box::from_raw(node.as_ptr()));
                        return;
                    }
                    // The real worker always lets go. Here it does so once, and then waits on the
                    // spot, as loom has no fairness that would end a run of hand-overs.
                    Finished::Gap if self.gaps.fetch_add(1, Ordering::Relaxed) == 0 => {
                        self.make_runnable();
                        return;
                    }
                    Finished::Gap => thread::yield_now(),
                }
            }
        }
    }

    /// C2: per poster, in the order of the posts, each once.
    fn check(&self, posters: usize, posts: usize) {
        // SAFETY: all threads have been joined.
        let order = self.state.with(|s| unsafe { (*s).clone() });
        for p in 0..posters {
            let own: Vec<_> = order.iter().filter(|e| e.0 == p).map(|e| e.1).collect();
            assert_eq!(own, (0..posts).collect::<Vec<_>>());
        }
    }
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // A number in LOOM_MAX_PREEMPTIONS takes its place, which loom reads itself.
    if std::env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
        builder.preemption_bound = Some(3);
    }
    builder.check(f);
}

/// C1, C2: two posters, the color goes from one worker to another.
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

/// C2: one poster's posts keep their order against a worker that drains the queue to idle in
/// between.
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

/// C2: a post that happened before another one, across threads, runs before it.
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

/// C2: what an event posts to its own color, and posts from elsewhere that happened before or after
/// that, keep their order.
#[test]
fn c2_own_posts_keep_their_place() {
    model(|| {
        let color = Color::new(4);
        // 1: the event has posted. 2: the other one has.
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
        // SAFETY: all threads have been joined.
        let order = color.state.with(|s| unsafe { (*s).clone() });
        let at = |event| order.iter().position(|e| *e == event).expect("each event has run");
        assert_eq!(order.len(), 4);
        assert!(at((0, 0)) < at((2, 0)) && at((2, 0)) < at((2, 1)));
        assert!(!before || at((1, 0)) < at((2, 0)), "C2: it was posted before");
        assert!(!after || at((2, 0)) < at((1, 0)), "C2: it was posted after");
    });
}

/// A color with a life: what `cell` and `turn` do, without closures.
struct Mortal {
    queue: Queue,
    life: Life,
    grave: Link,
    /// Read by whoever touches the color, written by its death: loom reports a touch that is not ordered
    /// before it.
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
        Arc::new(Mortal {
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
                if is_grave && self.life.is_over(&self.queue, link) {
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
                        self.queue.set_head(next);
                        link = next;
                    }
                    _ => break,
                }
            }
        }
    }
}

/// C10: two handles in two threads, each posts and is dropped; the color dies once, after all events, and
/// nobody touches it afterwards. One of the events makes a handle when there may be none.
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

/// A worker with an inbox, as far as the sleep protocol goes.
struct Site {
    sleep: SleepState,
    inbox: Vec<AtomicUsize>,
    unparked: Vec<loom::sync::Condvar>,
    tokens: Vec<Mutex<bool>>,
}

impl Site {
    fn new(workers: usize) -> Arc<Site> {
        Arc::new(Site {
            sleep: SleepState::new(workers),
            inbox: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            unparked: (0..workers).map(|_| loom::sync::Condvar::new()).collect(),
            tokens: (0..workers).map(|_| Mutex::new(false)).collect(),
        })
    }

    fn unpark(&self, w: usize) {
        *self.tokens[w].lock().unwrap() = true;
        self.unparked[w].notify_one();
    }

    fn park(&self, w: usize) {
        let mut token = self.tokens[w].lock().unwrap();
        while !*token {
            token = self.unparked[w].wait(token).unwrap();
        }
        *token = false;
    }

    fn inject(&self, w: usize) {
        self.inbox[w].fetch_add(1, Ordering::Relaxed);
        loom::sync::atomic::fence(Ordering::SeqCst);
        if self.sleep.claim(w) {
            self.unpark(w);
        }
    }
}

/// E7: a worker that goes to sleep while something is put into its inbox gets it. A lost wake-up is a
/// deadlock, which loom reports.
#[test]
fn e7_no_wake_up_is_lost() {
    model(|| {
        let site = Site::new(1);
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let site = Arc::clone(&site);
                thread::spawn(move || site.inject(0))
            })
            .collect();
        let mut got = 0;
        while got < 2 {
            got += site.inbox[0].swap(0, Ordering::Relaxed);
            if got < 2 {
                site.sleep.announce(0);
                if site.inbox[0].load(Ordering::Relaxed) == 0 {
                    site.park(0);
                }
                site.sleep.rise(0);
            }
        }
        for poster in posters {
            poster.join().unwrap();
        }
    });
}

/// E4: of a worker that finds work and one that goes to sleep without limit, one sees the other:
/// the sleeper stays sentinel, or is called back.
#[test]
fn e4_a_busy_worker_is_watched() {
    model(|| {
        let site = Site::new(2);
        // Worker 0 was idle, rises, finds work and calls a sentinel if there is none.
        site.sleep.announce(0);
        let sleeper = {
            let site = Arc::clone(&site);
            thread::spawn(move || {
                site.sleep.announce(1);
                if site.sleep.take_post(1) {
                    site.sleep.leave_post(1);
                }
                // True: it stays awake as sentinel. False: it sleeps without limit.
                site.sleep.others_busy(1) && site.sleep.take_post(1)
            })
        };
        site.sleep.rise(0);
        let called = site.sleep.needs_sentinel() && site.sleep.claim_any(1).is_some();
        let watches = sleeper.join().unwrap();
        // A sleeper that announced after the look is seen by nobody, but it looks itself.
        assert!(called || watches, "nobody watches a busy worker");
    });
}

/// E4: what a worker keeps to itself can be taken while the worker uses it: each entry once, none
/// lost, and never two in the queue at a time (which loom's cell would report).
#[test]
fn e4_a_private_queue_is_shared_with_a_taker() {
    model(|| {
        let queue = Arc::new(Private::new());
        let taker = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.take(1))
        };
        let mut got = Vec::new();
        for i in 0..2 {
            // SAFETY: this thread is the owner.
            got.extend(unsafe { queue.push(i) }.err());
        }
        // SAFETY: as above.
        got.extend(unsafe { queue.pop() });
        got.extend(taker.join().unwrap());
        got.extend(queue.take(2));
        got.sort_unstable();
        assert_eq!(got, [0, 1]);
    });
}

//! C5, C6: readers, sets, and posts of a running event to its own color.
//!
//! The run queue orders what a deque does and no more: what was done before an entry was put in is
//! seen by who takes that entry. An event that is relocated out of a link that has to stay, a head
//! that is spent, and the own list are as in `color::held` and `turn`; a set's requests are part of
//! its memory, and what keeps that is the real [`SetCount`]. Loom reports who uses what has been
//! freed: freeing writes to it.

use std::ptr::NonNull;

use dapple_colors::{Access, Access::*, Arrived, Excluded, Finished, Left, Posted};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::model;
use crate::color::queue::{Link, Queue};
use crate::color::readers::Readers;
use crate::color::set::count::SetCount;
use crate::color::two_phase::{QueuePlace, take_places};
use crate::lock::Flag;

/// What stands in a queue. Loom reports who looks at it, and has not seen it being made, or spent.
#[repr(C)]
struct Entry {
    link: Link,
    is: loom::cell::UnsafeCell<Is>,
}

#[derive(Clone, Copy)]
enum Is {
    /// A plain event. Does it post to its own color?
    Event(Access, bool),
    /// A request of a set.
    Request(NonNull<Set>, Access),
    /// One that is over.
    SpentRequest(NonNull<Set>),
    /// An event that is over, or has gone on elsewhere.
    Spent,
}

/// A set of the first two colors.
struct Set {
    count: SetCount,
    accesses: [Access; 2],
    requests: [Entry; 2],
}

struct Color {
    queue: Queue,
    readers: Readers,
    lock: Flag,
    /// In no queue of this model.
    grave: Link,
    /// Read by shared events, written by exclusive ones: loom reports an overlap, and an order that
    /// is not passed on.
    state: loom::cell::UnsafeCell<usize>,
}

/// What `turn` and the run queue do, without closures. Outside of a turn only the poster of a set
/// goes on with colors.
struct World {
    colors: Vec<Color>,
    runnable: Vec<AtomicUsize>,
    queued: AtomicUsize,
    left: AtomicUsize,
    written: AtomicUsize,
    /// Sets that have been made, and not freed. Not loom's: no order hangs on it.
    sets: std::sync::atomic::AtomicUsize,
}

#[derive(Clone, Copy)]
enum Job {
    Color(usize),
    /// With what it is, which may have been relocated.
    Reader(usize, NonNull<Entry>),
    Set(NonNull<Set>),
}

/// Entries that are queued in all, at most.
const ENTRIES: usize = 16;

// SAFETY: the model: `state` is what is checked.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

struct TakenPlace<'a>(&'a Color, NonNull<Link>, bool);

impl QueuePlace for TakenPlace<'_> {
    fn lock(&self) -> &Flag {
        &self.0.lock
    }
}

fn entry(is: Is) -> NonNull<Link> {
    let entry = Entry { link: Link::new(), is: loom::cell::UnsafeCell::new(Is::Spent) };
    let entry = NonNull::from(Box::leak(Box::new(entry)));
    set_is(entry, is);
    entry.cast()
}

fn is(entry: NonNull<Entry>) -> Is {
    // SAFETY: checked by loom; the entry is leaked until it is freed.
    unsafe { entry.as_ref() }.is.with(|is| unsafe { *is })
}

fn set_is(entry: NonNull<Entry>, to: Is) {
    // SAFETY: as above.
    unsafe { entry.as_ref() }.is.with_mut(|is| unsafe { *is = to });
}

/// # Safety
///
/// The link is out of every queue.
unsafe fn free(link: NonNull<Link>) {
    // SAFETY: the caller says that the link is out of every queue; it was leaked once.
    let mut entry = unsafe { Box::from_raw(link.cast::<Entry>().as_ptr()) };
    entry.link.is_freed();
}

/// # Safety
///
/// The last keeper of the set has gone.
unsafe fn free_set(set: NonNull<Set>) {
    // SAFETY: the caller says that nobody uses the set any more; it was leaked once.
    let mut set = unsafe { Box::from_raw(set.as_ptr()) };
    for request in &mut set.requests {
        request.link.is_freed();
        request.is.with_mut(|_| ());
    }
}

/// What is counted of a set that is there.
fn count(set: &NonNull<Set>) -> &SetCount {
    // SAFETY: the model is right if this is only done to sets that have not been freed, which their
    // requests report.
    unsafe { &(*set.as_ptr()).count }
}

impl World {
    fn new(colors: usize, events: usize) -> Arc<World> {
        let color = |_| Color {
            queue: Queue::new(),
            readers: Readers::new(),
            lock: Flag::new(),
            grave: Link::new(),
            state: loom::cell::UnsafeCell::new(0),
        };
        Arc::new(World {
            colors: (0..colors).map(color).collect(),
            runnable: (0..ENTRIES).map(|_| AtomicUsize::new(0)).collect(),
            queued: AtomicUsize::new(0),
            left: AtomicUsize::new(events),
            written: AtomicUsize::new(0),
            sets: std::sync::atomic::AtomicUsize::new(0),
        })
    }

    fn queue(&self, job: Job) {
        let at = self.queued.fetch_add(1, Ordering::Relaxed);
        // Loom's threads share an address space: a leaked box is the job's way through a word.
        let job = Box::leak(Box::new(job)) as *mut Job;
        self.runnable[at].store(job.expose_provenance(), Ordering::Release);
    }

    fn dequeue(&self) -> Option<Job> {
        self.runnable.iter().take(self.queued.load(Ordering::Relaxed)).find_map(|slot| {
            let job = match slot.load(Ordering::Relaxed) {
                0 => 0,
                _ => slot.swap(0, Ordering::Acquire),
            };
            // SAFETY: who takes it out of the slot has it.
            (job != 0)
                .then(|| *unsafe { Box::from_raw(std::ptr::with_exposed_provenance_mut(job)) })
        })
    }

    fn post(&self, color: usize, access: Access) {
        self.push(color, entry(Is::Event(access, false)));
    }

    fn push(&self, color: usize, link: NonNull<Link>) {
        // SAFETY: the link is fresh.
        if unsafe { self.colors[color].queue.push(link) } == Posted::BecameRunnable {
            self.queue(Job::Color(color));
        }
    }

    /// Posts a set of the first two colors from a thread that is not a worker.
    fn post_set(&self, accesses: [Access; 2]) {
        let (_, places) = self.take_places(accesses);
        for color in [0, 1].into_iter().filter(|color| places[*color]) {
            self.queue(Job::Color(color));
        }
    }

    /// Posts one on a worker, which goes on with the colors that were idle.
    fn post_set_here(&self, accesses: [Access; 2]) {
        let (set, places) = self.take_places(accesses);
        let idle = [0, 1].into_iter().filter(|color| places[*color]);
        let arrived = idle.filter(|color| self.reach(*color)).count();
        match arrived {
            0 => {}
            2 => self.queue(Job::Set(set)),
            n => {
                if count(&set).arrive(n as u32) == Arrived::Complete {
                    self.queue(Job::Set(set));
                }
            }
        }
    }

    /// Makes a set. Its colors that were idle are held by the caller.
    fn take_places(&self, accesses: [Access; 2]) -> (NonNull<Set>, [bool; 2]) {
        let entry = || Entry { link: Link::new(), is: loom::cell::UnsafeCell::new(Is::Spent) };
        let set = Set { count: SetCount::new(2), accesses, requests: [entry(), entry()] };
        let set = NonNull::from(Box::leak(Box::new(set)));
        self.sets.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let place = |color: usize| {
            // SAFETY: the set is new.
            let request = unsafe { NonNull::from(&(*set.as_ptr()).requests[color]) };
            set_is(request, Is::Request(set, accesses[color]));
            TakenPlace(&self.colors[color], request.cast(), false)
        };
        let mut places = [place(0), place(1)];
        take_places(&mut places, |place| {
            // SAFETY: the link is fresh, and pushed once.
            place.2 = unsafe { place.0.queue.push(place.1) } == Posted::BecameRunnable;
        });
        (set, [places[0].2, places[1].2])
    }

    /// Goes on with a color that was idle when a request was posted to it. True: it has arrived.
    fn reach(&self, color: usize) -> bool {
        let at = &self.colors[color];
        let head = at.queue.head().cast::<Entry>();
        let Is::Request(set, access) = is(head) else { unreachable!("it was idle") };
        match access {
            Exclusive if at.readers.exclude() == Excluded::Waits => return false,
            Exclusive => set_is(head, Is::SpentRequest(set)),
            Shared => self.let_request_go(color, head, set),
        }
        true
    }

    /// Runs what there is. It does not wait for more: the last to come finds the rest.
    fn work(&self) {
        while let Some(job) = self.dequeue() {
            match job {
                Job::Color(color) => self.turn(color),
                Job::Reader(color, entry) => {
                    assert!(matches!(is(entry), Is::Event(Shared, _)));
                    // SAFETY: checked by loom.
                    self.colors[color].state.with(|state| assert!(unsafe { *state } <= 2));
                    // SAFETY: it is out of the queue.
                    unsafe { free(entry.cast()) };
                    self.leave(color);
                    self.ends();
                }
                Job::Set(set) => self.run_set(set),
            }
        }
    }

    /// The same, when nobody else is at it any more.
    fn work_alone(&self) {
        self.work();
        assert_eq!(self.left.load(Ordering::Relaxed), 0, "an event has not run");
        let sets = self.sets.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(sets, 0, "the memory of a set has not been freed");
    }

    fn ends(&self) {
        self.left.fetch_sub(1, Ordering::Relaxed);
    }

    fn write(&self, color: usize) {
        // SAFETY: checked by loom.
        self.colors[color].state.with_mut(|state| unsafe { *state += 1 });
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs the event of a set, and gives its colors back.
    fn run_set(&self, set: NonNull<Set>) {
        // SAFETY: this does not change, and the set is not over.
        let accesses = unsafe { (*set.as_ptr()).accesses };
        for (color, access) in accesses.into_iter().enumerate() {
            match access {
                Exclusive => self.write(color),
                // SAFETY: checked by loom.
                Shared => self.colors[color].state.with(|state| assert!(unsafe { *state } <= 4)),
            }
        }
        for (color, access) in accesses.into_iter().enumerate() {
            match access {
                Shared => self.leave(color),
                Exclusive => self.pass_request(color, set),
            }
        }
        self.ends();
        self.release(set);
    }

    fn release(&self, set: NonNull<Set>) {
        if count(&set).release() {
            // SAFETY: the last keeper has gone.
            unsafe { free_set(set) };
            self.sets.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// A shared request goes on by itself, and what is behind it, too.
    fn let_request_go(&self, color: usize, head: NonNull<Entry>, set: NonNull<Set>) {
        let at = &self.colors[color];
        set_is(head, Is::SpentRequest(set));
        at.readers.enter();
        self.pass_request(color, set);
    }

    /// The request at the head leaves the queue, or stays and keeps the memory of the set.
    fn pass_request(&self, color: usize, set: NonNull<Set>) {
        let queue = &self.colors[color].queue;
        // SAFETY: the color is held, or the set has it.
        match unsafe { queue.finish(queue.head()) } {
            Finished::Idle => {}
            Finished::Next(_) => self.queue(Job::Color(color)),
            Finished::Gap => {
                count(&set).keep();
                self.queue(Job::Color(color));
            }
        }
    }

    fn leave(&self, color: usize) {
        if self.colors[color].readers.leave() == Left::Holds {
            self.queue(Job::Color(color));
        }
    }

    /// The color's head is spent: it goes on behind it. `None`: it is out of the queue.
    fn give_back(&self, color: usize) {
        let queue = &self.colors[color].queue;
        let head = queue.head();
        // SAFETY: the color is held.
        match unsafe { queue.finish(head) } {
            Finished::Next(_) => {
                self.queue(Job::Color(color));
            }
            Finished::Idle => {}
            Finished::Gap => {
                // The link stays; what it stood for is over.
                set_is(head.cast(), Is::Spent);
                thread::yield_now();
                return self.queue(Job::Color(color));
            }
        }
        // SAFETY: it is out of the queue.
        unsafe { free(head) };
    }

    /// A reader goes on by itself, and what is behind it, too.
    fn let_go(&self, color: usize, head: NonNull<Entry>) {
        let at = &self.colors[color];
        at.readers.enter();
        // SAFETY: the color is held.
        let reader = match unsafe { at.queue.finish(head.cast()) } {
            Finished::Gap => {
                let elsewhere = entry(is(head)).cast();
                set_is(head, Is::Spent);
                thread::yield_now();
                self.queue(Job::Color(color));
                elsewhere
            }
            Finished::Next(_) => {
                self.queue(Job::Color(color));
                head
            }
            Finished::Idle => head,
        };
        self.queue(Job::Reader(color, reader));
    }

    /// Runs one event of the color, or lets one go.
    fn turn(&self, color: usize) {
        let at = &self.colors[color];
        if let Some(own) = at.queue.own() {
            assert!(matches!(is(own.cast()), Is::Event(Exclusive, false)));
            self.write(color);
            // SAFETY: we hold the color; then it is out of the list.
            unsafe {
                at.queue.drop_own(own);
                free(own);
            }
            self.ends();
            return self.queue(Job::Color(color));
        }
        let head = at.queue.head().cast::<Entry>();
        match is(head) {
            Is::Spent => self.give_back(color),
            // SAFETY: the color is held.
            Is::SpentRequest(set) => match unsafe { at.queue.finish(head.cast()) } {
                Finished::Gap => {
                    thread::yield_now();
                    self.queue(Job::Color(color));
                }
                Finished::Next(_) => {
                    self.release(set);
                    self.queue(Job::Color(color));
                }
                Finished::Idle => self.release(set),
            },
            Is::Event(Shared, _) => self.let_go(color, head),
            Is::Request(set, Shared) => {
                self.let_request_go(color, head, set);
                self.arrive(set);
            }
            _ if at.readers.exclude() == Excluded::Waits => {}
            Is::Event(Exclusive, posts) => {
                self.write(color);
                if posts {
                    let link = entry(Is::Event(Exclusive, false));
                    // SAFETY: we hold the color, whose head is this event.
                    if !unsafe { at.queue.keep(link, &at.grave) } {
                        self.push(color, link);
                    }
                }
                self.ends();
                match at.queue.own() {
                    // The turn is over; the own list comes first in the next one.
                    Some(_) => {
                        set_is(head, Is::Spent);
                        self.queue(Job::Color(color));
                    }
                    None => self.give_back(color),
                }
            }
            Is::Request(set, Exclusive) => {
                set_is(head, Is::SpentRequest(set));
                self.arrive(set);
            }
        }
    }

    /// One request has arrived.
    fn arrive(&self, set: NonNull<Set>) {
        if count(&set).arrive(1) == Arrived::Complete {
            self.queue(Job::Set(set));
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
            world.work_alone();
            let writers = 1 + usize::from(last == Exclusive);
            assert_eq!(world.written.load(Ordering::Relaxed), writers);
        });
    }
}

/// C6: a thread that is not a worker and a worker post a set of the same two colors each.
#[test]
fn c6_sets_that_meet_both_run() {
    model(|| {
        let world = World::new(2, 2);
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.post_set_here([Exclusive, Exclusive]);
                world.work();
            })
        };
        world.post_set([Exclusive, Exclusive]);
        other.join().unwrap();
        world.work_alone();
        assert_eq!(world.written.load(Ordering::Relaxed), 4);
    });
}

/// C5, C6: two workers post a set each, of which one shares a color: what arrives at once is
/// counted once, and no request is used after its set is gone.
#[test]
fn c6_sets_posted_by_two_workers_both_run() {
    for shared in [[Shared, Exclusive], [Exclusive, Shared]] {
        model(move || {
            let world = World::new(2, 2);
            let other = {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    world.post_set_here(shared);
                    world.work();
                })
            };
            world.post_set_here([Exclusive, Exclusive]);
            other.join().unwrap();
            world.work_alone();
            assert_eq!(world.written.load(Ordering::Relaxed), 3);
        });
    }
}

/// C6: a plain post stands between, before or behind the places of a set. The set may be over while
/// the poster is between its two steps behind one of its requests.
#[test]
fn c6_a_plain_post_meets_a_set() {
    for access in [Exclusive, Shared] {
        model(move || {
            let world = World::new(2, 2);
            let other = {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    world.post_set_here([Exclusive, access]);
                    world.work();
                })
            };
            world.post(1, Exclusive);
            world.work();
            other.join().unwrap();
            world.work_alone();
            let by_set = 1 + usize::from(access == Exclusive);
            assert_eq!(world.written.load(Ordering::Relaxed), 1 + by_set);
        });
    }
}

/// C3, C6: an event that posts to its own color meets a set of that color: first comes the event,
/// at some time its post, and the set before, between or behind them.
#[test]
fn c6_an_own_post_meets_a_set() {
    model(|| {
        let world = World::new(2, 3);
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.post_set([Exclusive, Exclusive]))
        };
        world.push(1, entry(Is::Event(Exclusive, true)));
        world.work();
        other.join().unwrap();
        world.work_alone();
        assert_eq!(world.written.load(Ordering::Relaxed), 4);
    });
}

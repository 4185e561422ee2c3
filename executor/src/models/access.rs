//! C5, C6: readers, sets, and posts of a running event to its own color.
//!
//! The run queue of this model orders as much as a deque does and no more: a thread that takes an
//! entry sees what was done before the entry was put in. Relocating an event out of a link that has
//! to stay, spent heads, and the own list are as in `color::held` and `turn`. A set's requests are
//! part of its memory, which the real [`SetCount`] keeps. Loom reports a use of freed memory,
//! because freeing writes to it.

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

/// An entry of a queue. Loom reports a thread that looks at it without having seen it being made or
/// spent.
#[repr(C)]
struct Entry {
    link: Link,
    is: loom::cell::UnsafeCell<Is>,
}

#[derive(Clone, Copy)]
enum Is {
    /// A plain event, and whether it posts to its own color.
    Event(Access, bool),
    /// A request of a set.
    Request(NonNull<Set>, Access),
    /// A request that is over.
    SpentRequest(NonNull<Set>),
    /// An event that is over, or was relocated.
    Spent,
}

/// A set of the first two colors of the model.
struct Set {
    count: SetCount,
    accesses: [Access; 2],
    requests: [Entry; 2],
}

struct Color {
    queue: Queue,
    readers: Readers,
    lock: Flag,
    /// Stands in no queue of this model.
    grave: Link,
    /// Read by shared events, written by exclusive ones. So loom reports accesses that overlap, or
    /// whose order is not passed on from thread to thread.
    state: loom::cell::UnsafeCell<usize>,
}

/// What `turn` and the run queue do, without closures. Outside of a turn, only the poster of a set
/// goes on with a color.
struct World {
    colors: Vec<Color>,
    runnable: Vec<AtomicUsize>,
    queued: AtomicUsize,
    left: AtomicUsize,
    written: AtomicUsize,
    /// The number of sets that were made and not freed. The atomic is not loom's, as no order
    /// depends on it.
    sets: std::sync::atomic::AtomicUsize,
}

#[derive(Clone, Copy)]
enum Job {
    Color(usize),
    /// A reader of the color, with its entry, which may have been relocated.
    Reader(usize, NonNull<Entry>),
    Set(NonNull<Set>),
}

/// The largest number of entries that are queued during one execution.
const ENTRIES: usize = 16;

// SAFETY: the protocol under test keeps accesses of `state` and of the links apart; loom reports it
// if it does not.
unsafe impl Sync for World {}
// SAFETY: a `World` owns nothing that is tied to a thread.
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
    // SAFETY: the entry is a leaked box, or part of one, until it is freed; loom reports an access
    // that is not ordered before the freeing.
    unsafe { entry.as_ref() }.is.with(|is| unsafe { *is })
}

fn set_is(entry: NonNull<Entry>, to: Is) {
    // SAFETY: the entry is a leaked box, or part of one, until it is freed; loom reports an access
    // that overlaps this one.
    unsafe { entry.as_ref() }.is.with_mut(|is| unsafe { *is = to });
}

/// # Safety
///
/// The link is that of an [`Entry`] from [`entry`], and stands in no queue. It is freed only once.
unsafe fn free(link: NonNull<Link>) {
    // SAFETY: the caller says that the link is in no queue and is freed once; `entry` leaked its
    // box.
    let mut entry = unsafe { Box::from_raw(link.cast::<Entry>().as_ptr()) };
    entry.link.is_freed();
}

/// # Safety
///
/// The last keeper of the set has gone, and the set is freed only once.
unsafe fn free_set(set: NonNull<Set>) {
    // SAFETY: the caller says that nobody uses the set and that it is freed once; `take_places`
    // leaked its box.
    let mut set = unsafe { Box::from_raw(set.as_ptr()) };
    for request in &mut set.requests {
        request.link.is_freed();
        request.is.with_mut(|_| ());
    }
}

/// Returns the count of a set that was not freed.
fn count(set: &NonNull<Set>) -> &SetCount {
    // SAFETY: the protocol under test is to call this only for sets that were not freed; otherwise
    // loom reports it, as freeing writes to their requests.
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
        // The threads of the model share an address space, so a leaked box can travel as one word.
        let job = Box::leak(Box::new(job)) as *mut Job;
        self.runnable[at].store(job.expose_provenance(), Ordering::Release);
    }

    fn dequeue(&self) -> Option<Job> {
        self.runnable.iter().take(self.queued.load(Ordering::Relaxed)).find_map(|slot| {
            let job = match slot.load(Ordering::Relaxed) {
                0 => 0,
                _ => slot.swap(0, Ordering::Acquire),
            };
            // SAFETY: the word is a leaked box, and the swap gives it to one thread only.
            (job != 0)
                .then(|| *unsafe { Box::from_raw(std::ptr::with_exposed_provenance_mut(job)) })
        })
    }

    fn post(&self, color: usize, access: Access) {
        self.push(color, entry(Is::Event(access, false)));
    }

    fn push(&self, color: usize, link: NonNull<Link>) {
        // SAFETY: `entry` has made the link, and it has not been in a queue yet.
        if unsafe { self.colors[color].queue.push(link) } == Posted::BecameRunnable {
            self.queue(Job::Color(color));
        }
    }

    /// Posts a set of the first two colors from a thread outside the runtime.
    fn post_set(&self, accesses: [Access; 2]) {
        let (_, places) = self.take_places(accesses);
        for color in [0, 1].into_iter().filter(|color| places[*color]) {
            self.queue(Job::Color(color));
        }
    }

    /// Posts a set of the first two colors on a worker, which goes on with the colors that were
    /// idle.
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

    /// Makes a set and appends its requests. Returns the set, and which of its colors were idle:
    /// these are held by the caller.
    fn take_places(&self, accesses: [Access; 2]) -> (NonNull<Set>, [bool; 2]) {
        let entry = || Entry { link: Link::new(), is: loom::cell::UnsafeCell::new(Is::Spent) };
        let set = Set { count: SetCount::new(2), accesses, requests: [entry(), entry()] };
        let set = NonNull::from(Box::leak(Box::new(set)));
        self.sets.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let place = |color: usize| {
            // SAFETY: the set was made above, and nobody can free it before its places are taken.
            let request = unsafe { NonNull::from(&(*set.as_ptr()).requests[color]) };
            set_is(request, Is::Request(set, accesses[color]));
            TakenPlace(&self.colors[color], request.cast(), false)
        };
        let mut places = [place(0), place(1)];
        take_places(&mut places, |place| {
            // SAFETY: the link is that of a new request, and is pushed only here.
            place.2 = unsafe { place.0.queue.push(place.1) } == Posted::BecameRunnable;
        });
        (set, [places[0].2, places[1].2])
    }

    /// Goes on with a color that was idle when a request was posted to it. Returns `true` if the
    /// request has arrived.
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

    /// Runs the entries that there are. It does not wait for more, as the last thread to come finds
    /// the rest.
    fn work(&self) {
        while let Some(job) = self.dequeue() {
            match job {
                Job::Color(color) => self.turn(color),
                Job::Reader(color, entry) => {
                    assert!(matches!(is(entry), Is::Event(Shared, _)));
                    // SAFETY: loom reports a conflicting access to the cell.
                    self.colors[color].state.with(|state| assert!(unsafe { *state } <= 2));
                    // SAFETY: `let_go` has taken the reader's entry out of the queue, and its job
                    // exists once.
                    unsafe { free(entry.cast()) };
                    self.leave(color);
                    self.ends();
                }
                Job::Set(set) => self.run_set(set),
            }
        }
    }

    /// Runs the rest after all other threads have ended, and checks that all events have run.
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
        // SAFETY: loom reports a conflicting access to the cell.
        self.colors[color].state.with_mut(|state| unsafe { *state += 1 });
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs the event of a set, and then releases its colors.
    fn run_set(&self, set: NonNull<Set>) {
        // SAFETY: the accesses never change, and the set exists, as its event has not ended.
        let accesses = unsafe { (*set.as_ptr()).accesses };
        for (color, access) in accesses.into_iter().enumerate() {
            match access {
                Exclusive => self.write(color),
                // SAFETY: loom reports a conflicting access to the cell.
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
            // SAFETY: `release` has returned `true`, so the caller is the last keeper.
            unsafe { free_set(set) };
            self.sets.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Lets a shared request go, so that the entry behind it can go on, too.
    fn let_request_go(&self, color: usize, head: NonNull<Entry>, set: NonNull<Set>) {
        let at = &self.colors[color];
        set_is(head, Is::SpentRequest(set));
        at.readers.enter();
        self.pass_request(color, set);
    }

    /// Takes the request at the head out of the queue. If it has to stay, it keeps the memory of
    /// the set.
    fn pass_request(&self, color: usize, set: NonNull<Set>) {
        let queue = &self.colors[color].queue;
        // SAFETY: the caller holds the color, or the set has it, so no other thread finishes the
        // head.
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

    /// Takes the spent head out of the color's queue, and goes on behind it.
    fn finish_head(&self, color: usize) {
        let queue = &self.colors[color].queue;
        let head = queue.head();
        // SAFETY: the caller holds the color, and this is the head of its queue.
        match unsafe { queue.finish(head) } {
            Finished::Next(_) => {
                self.queue(Job::Color(color));
            }
            Finished::Idle => {}
            Finished::Gap => {
                // The link stays, and its event is over.
                set_is(head.cast(), Is::Spent);
                thread::yield_now();
                return self.queue(Job::Color(color));
            }
        }
        // SAFETY: `finish` has taken the head out of the queue, and this thread held the color.
        unsafe { free(head) };
    }

    /// Lets a reader go, so that the entry behind it can go on, too.
    fn let_go(&self, color: usize, head: NonNull<Entry>) {
        let at = &self.colors[color];
        at.readers.enter();
        // SAFETY: the caller holds the color, and this is the head of its queue.
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

    /// Runs one event of the color, or lets a reader go.
    fn turn(&self, color: usize) {
        let at = &self.colors[color];
        if let Some(own) = at.queue.own() {
            assert!(matches!(is(own.cast()), Is::Event(Exclusive, false)));
            self.write(color);
            // SAFETY: this thread holds the color, and `own` is the front of its list; after
            // `drop_own` the link is in no queue.
            unsafe {
                at.queue.drop_own(own);
                free(own);
            }
            self.ends();
            return self.queue(Job::Color(color));
        }
        let head = at.queue.head().cast::<Entry>();
        match is(head) {
            Is::Spent => self.finish_head(color),
            // SAFETY: the caller holds the color, and this is the head of its queue.
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
                    // SAFETY: the link is new, and this thread holds the color, whose head is the
                    // running event.
                    if !unsafe { at.queue.keep(link, &at.grave) } {
                        self.push(color, link);
                    }
                }
                self.ends();
                match at.queue.own() {
                    // The turn is over. The own list comes first in the next turn.
                    Some(_) => {
                        set_is(head, Is::Spent);
                        self.queue(Job::Color(color));
                    }
                    None => self.finish_head(color),
                }
            }
            Is::Request(set, Exclusive) => {
                set_is(head, Is::SpentRequest(set));
                self.arrive(set);
            }
        }
    }

    /// Notes that one request has arrived, and queues the set if it was the last one.
    fn arrive(&self, set: NonNull<Set>) {
        if count(&set).arrive(1) == Arrived::Complete {
            self.queue(Job::Set(set));
        }
    }
}

/// C5: two readers and a writer, or one reader and two writers, are posted and run by two threads.
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

/// C6: a thread outside the runtime and a worker each post a set of the same two colors.
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

/// C5, C6: two workers each post a set, one of which shares a color. A request that arrives at once
/// is counted once, and no request is used after its set is freed.
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

/// C6: a plain post lands before, between or behind the places of a set. The set may be over while
/// the poster is between its two steps behind one of the set's requests.
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

/// C3, C6: an event that posts to its own color meets a set of that color. The event comes first,
/// its own post later, and the set before, between or behind them.
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

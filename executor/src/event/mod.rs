//! Events: a link for the queue, the closure, and where it was posted.
//!
//! An event has one
//! owner at a time: the poster, then the queue, then the worker that runs it. `run` and `discard`
//! consume the closure and leave the memory to the caller, which recycles it.
//!
//! An event without color stands in no queue, so its link is free for a word (see [`Step`]).
//!
//! Left out on purpose: reference counts. What an event points to is kept alive by the order of the
//! queue: whatever frees it is itself an event of the same color, posted later.

pub(crate) mod chain;
pub(crate) mod large;
mod make;
mod payload;
mod request;
mod word;

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

pub(crate) use self::payload::Step;
pub(crate) use self::word::Word;
use crate::color::queue::Link;
use crate::cx::Cx;
use crate::site::Site;
use crate::slab::{Slab, Slot};
use crate::sync::{event_dropped, event_moved};

/// What a link stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A closure: the header is that of an [`Event`].
    Closure,
    /// A closure of the runtime's own: it drops something where and when it has to be. Not counted.
    Housekeeping,
    /// A closure with shared access to its color. Once it has been let go its word is the color.
    Shared,
    /// The closure of a color set. It stands in no color's queue; its word is the set (see
    /// `color::set`).
    Set,
    /// The place of a set in the queue of one of its colors; the header is part of the set.
    Request,
    /// A [`Request`](Kind::Request) with shared access.
    SharedRequest,
    /// A request of either kind that is over and still stands in a queue: the set has the color, or
    /// a gap is behind it.
    SpentRequest,
    /// An event that is over and still stands in a queue: a gap is behind it, or own posts of it
    /// run first.
    Spent,
    /// The color's own grave: the header is part of a color (see `color::cell`).
    Grave,
}

impl Kind {
    /// Says whether, in a color's queue, it may begin only when the color has no readers.
    #[inline]
    pub(crate) fn is_exclusive(self) -> bool {
        matches!(self, Kind::Closure | Kind::Housekeeping | Kind::Grave | Kind::Request)
    }

    /// Says whether the header is part of a set.
    #[inline]
    pub(crate) fn is_request(self) -> bool {
        matches!(self, Kind::Request | Kind::SharedRequest | Kind::SpentRequest)
    }
}

/// Where in the memory of its set a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestPlace {
    /// It is the first one of a set of two colors.
    First,
    /// It is the second one.
    Second,
    /// It is one of a larger set.
    OfMany,
}

/// The start of everything that stands in a color's queue.
#[repr(C)]
pub(crate) struct Header {
    link: Link,
    ops: Cell<&'static Ops>,
}

impl Header {
    pub(crate) fn grave() -> Self {
        Header { link: Link::new(), ops: Cell::new(&GRAVE) }
    }

    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        self.ops.get().kind
    }

    /// The header of a link. Every link is the first field of a header, and pointers to links are
    /// made from pointers to the whole (see `as_link`).
    #[inline]
    pub(crate) fn of(link: NonNull<Link>) -> NonNull<Header> {
        link.cast()
    }
}

/// Words of closure that an event holds without a box.
const INLINE_WORDS: usize = 4;

/// What can be done with what an event holds. Both consume it.
struct Ops {
    kind: Kind,
    /// The place of a request.
    place: RequestPlace,
    run: unsafe fn(NonNull<Event>, &mut Cx),
    discard: unsafe fn(NonNull<Event>),
}

/// One callback. Aligned for the tags of run-queue entries.
#[repr(C, align(64))]
pub(crate) struct Event {
    header: Header,
    site: Site,
    /// When it was posted, in nanoseconds of the runtime's clock; 0: not sampled.
    posted: u64,
    payload: MaybeUninit<[usize; INLINE_WORDS]>,
}

static SPENT: Ops = Ops::of_nothing(Kind::Spent);
static GRAVE: Ops = Ops::of_nothing(Kind::Grave);

impl Ops {
    /// What holds no step.
    const fn of_nothing(kind: Kind) -> Ops {
        Ops { kind, place: RequestPlace::OfMany, run: nothing_to_run, discard: nothing_to_discard }
    }
}

unsafe fn nothing_to_run(_: NonNull<Event>, _: &mut Cx) {}
unsafe fn nothing_to_discard(_: NonNull<Event>) {}

/// Memory for one event. Its owner is the only one that uses it.
#[must_use = "memory that is not given back is lost to its slab"]
pub(crate) struct Memory(NonNull<Event>);

impl Memory {
    /// # Safety
    ///
    /// A free slot of a slab of events, and the caller's.
    #[inline]
    pub(crate) unsafe fn of(slot: Slot) -> Memory {
        Memory(slot.cast())
    }

    #[inline]
    pub(crate) fn into_slot(self) -> Slot {
        self.0.cast()
    }

    /// Where [`hold`](Self::hold) will put something.
    #[inline]
    pub(crate) fn address<T>(&self) -> NonNull<T> {
        self.0.cast()
    }

    /// Uses the memory for something else than an event. The pointer is for all of it.
    ///
    /// # Panics
    ///
    /// When a `T` is larger than an event.
    #[inline]
    pub(crate) fn hold<T>(self, value: T) -> NonNull<T> {
        let fits = size_of::<T>() <= size_of::<Event>() && align_of::<T>() <= align_of::<Event>();
        assert!(fits, "it fits into memory for an event");
        let place = self.0.cast();
        // SAFETY: the memory is large enough, and who has it is the only one that uses it.
        unsafe { place.write(value) };
        place
    }
}

/// An event, and its only owner. A queue owns it as a [`Link`], a run queue as an `Entry`.
///
/// Its closure is consumed once, by [`run`](Self::run) or [`discard`](Self::discard); after that it
/// is spent, and both do nothing. It has no drop: one that is forgotten leaks its closure and its
/// memory.
#[must_use = "an event is queued, run, or discarded"]
#[derive(Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Owned(NonNull<Event>);

// SAFETY: what an event holds is Send, and it has one owner.
unsafe impl Send for Owned {}

impl Owned {
    /// What stands for it in a color's queue, which owns it from now on.
    #[inline]
    pub(crate) fn into_link(self) -> NonNull<Link> {
        self.0.cast()
    }

    /// # Safety
    ///
    /// The link is that of an event, and the caller's: it holds the color whose head it is, or has
    /// taken it out of a queue.
    #[inline]
    pub(crate) unsafe fn of_link(link: NonNull<Link>) -> Owned {
        Owned(link.cast())
    }

    /// The address, for a tagged word.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<Event> {
        self.0
    }

    /// The address of an event that is owned on, for a tagged word.
    pub(crate) fn as_raw(&self) -> NonNull<Event> {
        self.0
    }

    /// # Safety
    ///
    /// It came from [`into_raw`](Self::into_raw), and is used once.
    #[inline]
    pub(crate) unsafe fn of_raw(raw: NonNull<Event>) -> Owned {
        Owned(raw)
    }

    /// The memory of an event that is spent.
    #[inline]
    pub(crate) fn into_memory(self) -> Memory {
        debug_assert!(self.kind() == Kind::Spent, "what holds a closure is run or discarded first");
        Memory(self.0)
    }

    #[inline]
    fn get(&self) -> &Event {
        // SAFETY: the owner has it.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        self.get().header.kind()
    }

    /// Says whether it counts for the bound of its color.
    pub(crate) fn is_counted(&self) -> bool {
        self.kind() != Kind::Housekeeping
    }

    /// Where it is, as a number, by which it is told from others.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        self.0.as_ptr().addr()
    }

    /// Where it was posted.
    #[inline]
    pub(crate) fn site(&self) -> Site {
        self.get().site
    }

    /// When it was posted; 0: not sampled.
    #[inline]
    pub(crate) fn posted(&self) -> u64 {
        self.get().posted
    }

    /// Its time counts from now on, if it is sampled: for events that waited for something else
    /// first, as timers do.
    #[inline]
    pub(crate) fn restamp(&mut self, now: impl FnOnce() -> u64) {
        // SAFETY: the owner has it.
        let posted = unsafe { &mut (*self.0.as_ptr()).posted };
        if *posted != 0 {
            *posted = now();
        }
    }

    /// The word of an event that is in no color's queue.
    #[inline]
    pub(crate) fn word(&self) -> Word {
        Word::of_raw(self.get().header.link.word())
    }

    /// Sets the word of an event that is in no color's queue.
    #[inline]
    pub(crate) fn set_word(&mut self, word: Word) {
        debug_assert!(!self.has_claims(), "this one's word says what colors it has");
        // SAFETY: the owner of an event has its link.
        unsafe { self.get().header.link.set_word(word.raw()) };
    }

    /// Says whether its word stands for colors that it has.
    #[inline]
    pub(crate) fn has_claims(&self) -> bool {
        matches!(self.kind(), Kind::Shared | Kind::Set)
    }

    /// Sets the word of an event that [has claims](Self::has_claims).
    ///
    /// # Safety
    ///
    /// It is that of a reader that is given to the event, or of a set whose event this is.
    #[inline]
    pub(crate) unsafe fn set_claims(&mut self, word: Word) {
        // SAFETY: the owner of an event has its link.
        unsafe { self.get().header.link.set_word(word.raw()) };
    }

    /// Runs the closure; it is consumed, whether it returns or panics.
    #[inline]
    pub(crate) fn run(&mut self, cx: &mut Cx) {
        // Marking it spent first keeps anybody from consuming it twice.
        let ops = self.get().header.ops.replace(&SPENT);
        // SAFETY: the ops fit what it holds, which has not been consumed. An event runs in the
        // runtime to which it was posted, whose memory it has.
        unsafe { (ops.run)(self.0, cx) }
    }

    /// Drops the closure without running it.
    pub(crate) fn discard(&mut self) {
        event_dropped(self.address());
        let ops = self.get().header.ops.replace(&SPENT);
        // SAFETY: the ops fit what it holds, which has not been consumed. Who discards events keeps
        // the core of their runtime.
        unsafe { (ops.discard)(self.0) }
    }

    /// Moves what it holds to other memory, and leaves a spent one behind.
    pub(crate) fn relocate(&mut self, memory: Memory) -> Owned {
        let (from, to) = (self.0.as_ptr(), memory.0.as_ptr());
        event_moved(from.addr(), to.addr());
        // SAFETY: both are the caller's. A closure can be moved; the old event is spent, so that it
        // is consumed once.
        unsafe {
            let ops = (*from).header.ops.replace(&SPENT);
            (&raw mut (*to).header).write(Header { link: Link::new(), ops: Cell::new(ops) });
            (&raw mut (*to).site).write((*from).site);
            (&raw mut (*to).posted).write((*from).posted);
            (&raw mut (*to).payload).write((&raw const (*from).payload).read());
        }
        Owned(memory.0)
    }
}

/// An event that is discarded when this is dropped, and whose memory goes back then, even if that
/// panics.
pub(crate) struct Discarded(Option<Owned>);

impl Discarded {
    pub(crate) fn of(event: Owned) -> Self {
        Discarded(Some(event))
    }
}

impl Drop for Discarded {
    fn drop(&mut self) {
        struct Last(Option<Owned>);
        impl Drop for Last {
            fn drop(&mut self) {
                if let Some(event) = self.0.take() {
                    // SAFETY: it has been discarded, and what drops it keeps the core, and the slab
                    // in it.
                    unsafe { Slab::free(event.into_memory().into_slot()) }
                }
            }
        }
        let mut last = Last(self.0.take());
        last.0.as_mut().into_iter().for_each(Owned::discard);
    }
}

impl Event {
    /// The word of an event that runs, or is discarded.
    ///
    /// # Safety
    ///
    /// The event is alive and the caller's.
    #[inline]
    unsafe fn word(event: NonNull<Event>) -> Word {
        // SAFETY: the caller has the event, which is there.
        Word::of_raw(unsafe { (*event.as_ptr()).header.link.word() })
    }
}

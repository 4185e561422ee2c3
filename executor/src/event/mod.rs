//! Events: a link for the queue, a closure, and the site that posted it.
//!
//! An event has one owner at a time: the poster, then the queue, then the worker that runs it.
//! `run` and `discard` consume the closure and leave the memory to the caller, which recycles it.
//!
//! An event without a color is in no queue, so its link is free for a word (see [`Step`]).
//!
//! Left out on purpose: reference counts. The order of the queue keeps alive what an event points
//! to, because it is freed by a later event of the same color.

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

/// The kind of object that a link belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A closure: the header is that of an [`Event`].
    Closure,
    /// A closure of the runtime's own, which drops something at the right place and time: as an
    /// event of a color, or without a color. It is not counted.
    Housekeeping,
    /// A closure with shared access to its color. Once it has left the queue as a reader, its word
    /// is the color.
    Shared,
    /// The closure of a color set. It is in no color's queue, and its word is the set (see
    /// `color::set`).
    Set,
    /// The place of a set in the queue of one of its colors. The header is part of the set.
    Request,
    /// A [`Request`](Kind::Request) with shared access.
    SharedRequest,
    /// A request of either kind that is over and still in a queue: the set has the color, or a gap
    /// is behind the request.
    SpentRequest,
    /// An event that is over and still in a queue: a gap is behind it, or its own posts run first.
    Spent,
    /// The grave of a color: the header is part of the color (see `color::cell`).
    Grave,
}

impl Kind {
    /// Returns `true` if a link of this kind may begin only when its color has no readers.
    #[inline]
    pub(crate) fn is_exclusive(self) -> bool {
        matches!(self, Kind::Closure | Kind::Housekeeping | Kind::Grave | Kind::Request)
    }

    /// Returns `true` if the header is part of a set.
    #[inline]
    pub(crate) fn is_request(self) -> bool {
        matches!(self, Kind::Request | Kind::SharedRequest | Kind::SpentRequest)
    }
}

/// The place of a request in the memory of its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestPlace {
    /// The first request of a set of two colors.
    First,
    /// The second request of a set of two colors.
    Second,
    /// A request of a larger set.
    OfMany,
}

/// The first field of everything that is put into a color's queue.
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

    /// Returns the header of a link. Every link is the first field of a header, and pointers to
    /// links are made from pointers to the whole object (see `into_link`).
    #[inline]
    pub(crate) fn of(link: NonNull<Link>) -> NonNull<Header> {
        link.cast()
    }
}

/// The size of the largest closure that is stored in the event itself, in words.
const INLINE_WORDS: usize = 4;

/// The operations on the contents of an event. Both functions consume the contents.
struct Ops {
    kind: Kind,
    /// The place of a request; it means nothing for other kinds.
    place: RequestPlace,
    run: unsafe fn(NonNull<Event>, &mut Cx),
    discard: unsafe fn(NonNull<Event>),
}

/// One callback. Aligned so that the lowest bits of its address are free for run-queue tags.
#[repr(C, align(64))]
pub(crate) struct Event {
    header: Header,
    site: Site,
    /// The time of the post in nanoseconds of the runtime's clock, or 0 if it is not sampled.
    posted: u64,
    payload: MaybeUninit<[usize; INLINE_WORDS]>,
}

static SPENT: Ops = Ops::of_nothing(Kind::Spent);
static GRAVE: Ops = Ops::of_nothing(Kind::Grave);

impl Ops {
    /// Returns the operations of a kind whose header has no step.
    const fn of_nothing(kind: Kind) -> Ops {
        Ops { kind, place: RequestPlace::OfMany, run: nothing_to_run, discard: nothing_to_discard }
    }
}

unsafe fn nothing_to_run(_: NonNull<Event>, _: &mut Cx) {}
unsafe fn nothing_to_discard(_: NonNull<Event>) {}

/// The memory of one event. Only its owner uses it.
#[must_use = "memory that is not given back is lost to its slab"]
pub(crate) struct Memory(NonNull<Event>);

impl Memory {
    /// Takes ownership of a slot.
    ///
    /// # Safety
    ///
    /// The slot is a free slot of a slab of events, and the caller owns it.
    #[inline]
    pub(crate) unsafe fn of(slot: Slot) -> Memory {
        Memory(slot.cast())
    }

    #[inline]
    pub(crate) fn into_slot(self) -> Slot {
        self.0.cast()
    }

    /// Returns the address to which [`reuse_for`](Self::reuse_for) would write.
    #[inline]
    pub(crate) fn address<T>(&self) -> NonNull<T> {
        self.0.cast()
    }

    /// Uses the memory for something other than an event. The returned pointer is valid for the
    /// whole slot.
    ///
    /// # Panics
    ///
    /// Panics if a `T` is larger than an event, or needs a larger alignment.
    #[inline]
    pub(crate) fn reuse_for<T>(self, value: T) -> NonNull<T> {
        let fits = size_of::<T>() <= size_of::<Event>() && align_of::<T>() <= align_of::<Event>();
        assert!(fits, "the value does not fit into the memory of an event");
        let place = self.0.cast();
        // SAFETY: the memory is large enough for a `T`, and its owner is the only one that uses it.
        unsafe { place.write(value) };
        place
    }
}

/// An event, owned. A queue owns an event as a [`Link`], and a run queue owns it as an `Entry`.
///
/// The closure is consumed once, by [`run`](Self::run) or [`discard`](Self::discard). After that
/// the event is spent, and both do nothing. There is no `Drop`: an `Owned` that is dropped leaks
/// its closure and its memory.
#[must_use = "an event is queued, run, or discarded"]
#[derive(Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Owned(NonNull<Event>);

// SAFETY: the contents of an event are Send, and an event has one owner.
unsafe impl Send for Owned {}

impl Owned {
    /// Converts the event to its link, for a color's queue, which owns it from now on.
    #[inline]
    pub(crate) fn into_link(self) -> NonNull<Link> {
        self.0.cast()
    }

    /// Takes an event back from its link.
    ///
    /// # Safety
    ///
    /// The link is that of an event. The caller holds the color that has this link at its front, or
    /// has taken the link out of a queue.
    #[inline]
    pub(crate) unsafe fn of_link(link: NonNull<Link>) -> Owned {
        Owned(link.cast())
    }

    /// Returns the address of the event, for a tagged word, which owns it from now on.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<Event> {
        self.0
    }

    /// Returns the address of the event, for a tagged word. `self` still owns it.
    pub(crate) fn as_raw(&self) -> NonNull<Event> {
        self.0
    }

    /// Takes an event back from its address.
    ///
    /// # Safety
    ///
    /// The address came from [`into_raw`](Self::into_raw), and is used once.
    #[inline]
    pub(crate) unsafe fn of_raw(raw: NonNull<Event>) -> Owned {
        Owned(raw)
    }

    /// Returns the memory of a spent event.
    #[inline]
    pub(crate) fn into_memory(self) -> Memory {
        debug_assert!(
            self.kind() == Kind::Spent,
            "the memory of an event is taken before its closure was consumed"
        );
        Memory(self.0)
    }

    #[inline]
    fn get(&self) -> &Event {
        // SAFETY: `self` owns the event, so its memory is valid.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        self.get().header.kind()
    }

    /// Returns `true` if the event counts for the bound of its color.
    pub(crate) fn is_counted(&self) -> bool {
        self.kind() != Kind::Housekeeping
    }

    /// Returns the address of the event as a number, which identifies it.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        self.0.as_ptr().addr()
    }

    /// Returns the site that posted the event.
    #[inline]
    pub(crate) fn site(&self) -> Site {
        self.get().site
    }

    /// Returns the time of the post in nanoseconds, or 0 if the event is not sampled.
    #[inline]
    pub(crate) fn posted(&self) -> u64 {
        self.get().posted
    }

    /// Restarts the measurement of a sampled event's waiting time, for events that first waited for
    /// something else, as timers do.
    #[inline]
    pub(crate) fn restamp(&mut self, now: impl FnOnce() -> u64) {
        // SAFETY: `self` owns the event, so nothing else has a reference to it.
        let posted = unsafe { &mut (*self.0.as_ptr()).posted };
        if *posted != 0 {
            *posted = now();
        }
    }

    /// Returns the word of an event that is in no color's queue.
    #[inline]
    pub(crate) fn word(&self) -> Word {
        Word::of_raw(self.get().header.link.word())
    }

    /// Sets the word of an event that is in no color's queue.
    #[inline]
    pub(crate) fn set_word(&mut self, word: Word) {
        debug_assert!(!self.has_claims(), "the word of this event stands for its colors");
        // SAFETY: the event is in no queue, so its link belongs to its owner.
        unsafe { self.get().header.link.set_word(word.raw()) };
    }

    /// Returns `true` if the word of this event stands for colors that it has.
    #[inline]
    pub(crate) fn has_claims(&self) -> bool {
        matches!(self.kind(), Kind::Shared | Kind::Set)
    }

    /// Sets the word of an event that [has claims](Self::has_claims).
    ///
    /// # Safety
    ///
    /// The word is that of a reader that is given to the event, or that of the set to which this
    /// event belongs.
    #[inline]
    pub(crate) unsafe fn set_claims(&mut self, word: Word) {
        // SAFETY: the event is in no queue, so its link belongs to its owner.
        unsafe { self.get().header.link.set_word(word.raw()) };
    }

    /// Runs the closure, which is consumed whether it returns or panics.
    #[inline]
    pub(crate) fn run(&mut self, cx: &mut Cx) {
        // The event is marked as spent first, so that a panic cannot lead to a second consumption.
        let ops = self.get().header.ops.replace(&SPENT);
        // SAFETY: the ops fit the contents, which have not been consumed. An event runs in the
        // runtime to which it was posted, from which its memory comes.
        unsafe { (ops.run)(self.0, cx) }
    }

    /// Drops the closure without running it.
    pub(crate) fn discard(&mut self) {
        event_dropped(self.address());
        let ops = self.get().header.ops.replace(&SPENT);
        // SAFETY: the ops fit the contents, which have not been consumed. Code that discards events
        // keeps the core of their runtime alive.
        unsafe { (ops.discard)(self.0) }
    }

    /// Moves the contents and the site to other memory, and leaves a spent event behind.
    pub(crate) fn relocate(&mut self, memory: Memory) -> Owned {
        let (from, to) = (self.0.as_ptr(), memory.0.as_ptr());
        event_moved(from.addr(), to.addr());
        // SAFETY: the caller owns both memories. A closure can be moved, and the old event is
        // spent, so the closure is consumed once.
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

/// An event that is discarded when this is dropped. Its memory is freed then, even if that panics.
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
                    // SAFETY: the event has been discarded, and the code that drops it keeps the
                    // core alive, which contains the slab.
                    unsafe { Slab::free(event.into_memory().into_slot()) }
                }
            }
        }
        let mut last = Last(self.0.take());
        last.0.as_mut().into_iter().for_each(Owned::discard);
    }
}

impl Event {
    /// Returns the word of an event that runs or is discarded.
    ///
    /// # Safety
    ///
    /// The event is alive and the caller owns it.
    #[inline]
    unsafe fn word(event: NonNull<Event>) -> Word {
        // SAFETY: the caller owns the event, which is alive.
        Word::of_raw(unsafe { (*event.as_ptr()).header.link.word() })
    }
}

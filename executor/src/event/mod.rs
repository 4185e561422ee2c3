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

pub(crate) mod large;
mod payload;

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::panic::Location;
use std::ptr::NonNull;

use dapple_colors::Access;

pub(crate) use self::payload::Step;
use self::payload::{Closure, INLINE_WORDS, Ops, Payload, Stepping};
use crate::color::queue::Link;
use crate::cx::Cx;

/// What a link stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A closure: the header is that of an [`Event`].
    Closure,
    /// The same, of the runtime's own: it drops something where and when it has to be. Not counted.
    Housekeeping,
    /// A closure with shared access to its color. Once it has been let go its word is the color.
    Shared,
    /// The closure of a color set. It stands in no color's queue; its word is the [`Set`](crate::color::set::Set).
    Set,
    /// The place of a set in the queue of one of its colors: an [`Event`] that holds no closure.
    Request,
    /// The same, with shared access.
    SharedRequest,
    /// What is over and still stands in a queue: a gap is behind it, or own posts of it run first, or a set has the color.
    Spent,
    /// The color's own grave: the header is part of a color (see `color::cell`).
    Grave,
}

impl Kind {
    /// In a color's queue: may it begin only when the color has no readers?
    #[inline]
    pub(crate) fn is_exclusive(self) -> bool {
        matches!(self, Kind::Closure | Kind::Housekeeping | Kind::Grave | Kind::Request)
    }
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

/// One callback. Aligned for the tags of run-queue entries.
#[repr(C, align(16))]
pub(crate) struct Event {
    header: Header,
    site: &'static Location<'static>,
    /// When it was posted, in nanoseconds of the runtime's clock; 0: not sampled.
    posted: u64,
    payload: MaybeUninit<[usize; INLINE_WORDS]>,
}

static SPENT: Ops = Ops { kind: Kind::Spent, run: nothing_to_run, discard: nothing_to_discard };
static REQUEST: Ops = Ops { kind: Kind::Request, run: nothing_to_run, discard: nothing_to_discard };
static SHARED_REQUEST: Ops =
    Ops { kind: Kind::SharedRequest, run: nothing_to_run, discard: nothing_to_discard };
static GRAVE: Ops = Ops { kind: Kind::Grave, run: nothing_to_run, discard: nothing_to_discard };

unsafe fn nothing_to_run(_: NonNull<Event>, _: &mut Cx) {}
unsafe fn nothing_to_discard(_: NonNull<Event>) {}

impl Event {
    /// Makes an event in `memory`.
    ///
    /// # Safety
    ///
    /// `memory` is a slot of a slab of events, holds no closure, and is the caller's.
    #[inline]
    pub(crate) unsafe fn write<F: FnOnce(&mut Cx) + Send + 'static>(
        memory: NonNull<Event>,
        f: F,
        site: &'static Location<'static>,
        posted: u64,
    ) -> NonNull<Event> {
        // SAFETY: by contract; a closure asks for no word.
        unsafe { Self::write_step(memory, Closure(f), Kind::Closure, site, posted) }
    }

    /// The same, of another kind that holds a closure.
    ///
    /// # Safety
    ///
    /// As [`write`](Self::write).
    #[inline]
    pub(crate) unsafe fn write_closure<F: FnOnce(&mut Cx) + Send + 'static>(
        memory: NonNull<Event>,
        f: F,
        kind: Kind,
        site: &'static Location<'static>,
        posted: u64,
    ) -> NonNull<Event> {
        // SAFETY: by contract; a closure asks for no word.
        unsafe { Self::write_step(memory, Closure(f), kind, site, posted) }
    }

    /// Makes the request of a set. It has nothing to drop.
    ///
    /// # Safety
    ///
    /// As [`write`](Self::write).
    pub(crate) unsafe fn write_request<T>(
        memory: NonNull<Event>,
        set: NonNull<T>,
        access: Access,
        site: &'static Location<'static>,
    ) -> NonNull<Event> {
        let ops = match access {
            Access::Exclusive => &REQUEST,
            Access::Shared => &SHARED_REQUEST,
        };
        // SAFETY: by contract; a pointer is held in the event itself, and needs no drop.
        unsafe { Self::write_payload(memory, set, ops, site, 0) }
    }

    /// The set whose request this is; the request is spent then.
    ///
    /// # Safety
    ///
    /// The event is the caller's, and was made by [`write_request`](Self::write_request) with a `T`; once.
    pub(crate) unsafe fn take_request<T>(event: NonNull<Event>) -> NonNull<T> {
        // SAFETY: by contract.
        unsafe {
            (*event.as_ptr()).header.ops.set(&SPENT);
            Payload::<NonNull<T>>::read_inline(event)
        }
    }

    /// Moves an event to other memory, and leaves a spent one behind.
    ///
    /// # Safety
    ///
    /// As [`write`](Self::write); and the closure of the event is the caller's, and has not been consumed.
    pub(crate) unsafe fn relocate(event: NonNull<Event>, memory: NonNull<Event>) -> NonNull<Event> {
        let (from, to) = (event.as_ptr(), memory.as_ptr());
        // SAFETY: by contract. A closure can be moved; the old event is spent, so that it is consumed once.
        unsafe {
            let ops = (*from).header.ops.replace(&SPENT);
            (&raw mut (*to).header).write(Header { link: Link::new(), ops: Cell::new(ops) });
            (&raw mut (*to).site).write((*from).site);
            (&raw mut (*to).posted).write((*from).posted);
            (&raw mut (*to).payload).write((&raw const (*from).payload).read());
        }
        memory
    }

    /// Makes an event of a kind that holds a step.
    ///
    /// # Safety
    ///
    /// As [`write`](Self::write); and if the step asks for its word, the event will have no color.
    #[inline]
    pub(crate) unsafe fn write_step<T: Step>(
        memory: NonNull<Event>,
        step: T,
        kind: Kind,
        site: &'static Location<'static>,
        posted: u64,
    ) -> NonNull<Event> {
        let ops = Stepping::<T>::as_kind(kind);
        // SAFETY: by contract; the ops are those of a T.
        unsafe { Self::write_payload(memory, step, ops, site, posted) }
    }

    /// # Safety
    ///
    /// As [`write`](Self::write); and `ops` are those of a `T`.
    #[inline]
    unsafe fn write_payload<T>(
        memory: NonNull<Event>,
        payload: T,
        ops: &'static Ops,
        site: &'static Location<'static>,
        posted: u64,
    ) -> NonNull<Event> {
        let event = memory.as_ptr();
        // SAFETY: the memory is the caller's and large enough; raw writes, so that no reference to
        // what is not initialised is made.
        unsafe {
            (&raw mut (*event).header).write(Header { link: Link::new(), ops: Cell::new(ops) });
            (&raw mut (*event).site).write(site);
            (&raw mut (*event).posted).write(posted);
            Payload::<T>::write(payload, &raw mut (*event).payload);
        }
        memory
    }

    /// The step that an event holds.
    ///
    /// # Safety
    ///
    /// The event is alive and the caller's, and holds a `T` that has not been consumed.
    #[inline]
    pub(crate) unsafe fn step<T: Step>(event: NonNull<Event>) -> *mut T {
        // SAFETY: by contract.
        unsafe {
            let payload = &raw mut (*event.as_ptr()).payload;
            match Payload::<T>::INLINE {
                true => payload.cast::<T>(),
                false => &raw mut **payload.cast::<Box<T>>(),
            }
        }
    }

    /// Takes the step out of its event, which is spent then.
    ///
    /// # Safety
    ///
    /// As [`step`](Self::step).
    pub(crate) unsafe fn take_step<T: Step>(event: NonNull<Event>) -> T {
        // SAFETY: by contract; marking it spent keeps anybody from consuming it twice.
        unsafe {
            (*event.as_ptr()).header.ops.set(&SPENT);
            match Payload::<T>::INLINE {
                true => Payload::<T>::read_inline(event),
                false => *Payload::<T>::read_boxed(event),
            }
        }
    }

    /// The word of an event that is in no color's queue.
    ///
    /// # Safety
    ///
    /// The event is alive and the caller's.
    #[inline]
    pub(crate) unsafe fn word(event: NonNull<Event>) -> *mut () {
        // SAFETY: by contract.
        unsafe { (*event.as_ptr()).header.link.word() }
    }

    /// Sets it.
    ///
    /// # Safety
    ///
    /// As [`word`](Self::word).
    #[inline]
    pub(crate) unsafe fn set_word(event: NonNull<Event>, word: *mut ()) {
        // SAFETY: by contract.
        unsafe { (*event.as_ptr()).header.link.set_word(word) }
    }

    /// Makes an event of the runtime's own, whose closure drops what it holds whether it is run or
    /// discarded.
    ///
    /// # Safety
    ///
    /// As [`write`](Self::write).
    pub(crate) unsafe fn write_housekeeping<T: Send + 'static>(
        memory: NonNull<Event>,
        holds: T,
        site: &'static Location<'static>,
    ) -> NonNull<Event> {
        let drops = Closure(move |_: &mut Cx| drop(holds));
        // SAFETY: by contract; a closure asks for no word.
        unsafe { Self::write_step(memory, drops, Kind::Housekeeping, site, 0) }
    }

    /// The link of an event, with the right to reach the event again by [`Event::of`].
    #[inline]
    pub(crate) fn as_link(event: NonNull<Event>) -> NonNull<Link> {
        event.cast()
    }

    /// The event of a header whose kind is not [`Kind::Grave`].
    #[inline]
    pub(crate) fn of(header: NonNull<Header>) -> NonNull<Event> {
        header.cast()
    }

    /// Does it count for the bound of its color?
    ///
    /// # Safety
    ///
    /// The event is alive and the caller's.
    pub(crate) unsafe fn is_counted(event: NonNull<Event>) -> bool {
        // SAFETY: by contract.
        unsafe { (*event.as_ptr()).header.kind() != Kind::Housekeeping }
    }

    /// Where it was posted.
    ///
    /// # Safety
    ///
    /// The event is alive and the caller's.
    #[inline]
    pub(crate) unsafe fn site(event: NonNull<Event>) -> &'static Location<'static> {
        // SAFETY: by contract.
        unsafe { (*event.as_ptr()).site }
    }

    /// When it was posted; 0: not sampled.
    ///
    /// # Safety
    ///
    /// The event is alive and the caller's.
    #[inline]
    pub(crate) unsafe fn posted(event: NonNull<Event>) -> u64 {
        // SAFETY: by contract.
        unsafe { (*event.as_ptr()).posted }
    }

    /// Sets when it was posted: for events that wait for something else first, as timers do.
    ///
    /// # Safety
    ///
    /// The event is alive and the caller's.
    pub(crate) unsafe fn set_posted(event: NonNull<Event>, at: u64) {
        // SAFETY: by contract.
        unsafe { (*event.as_ptr()).posted = at }
    }

    /// Runs the closure; it is consumed, whether it returns or panics. The event counts as spent.
    ///
    /// # Safety
    ///
    /// The event is the caller's, and its closure has not been consumed.
    #[inline]
    pub(crate) unsafe fn run(event: NonNull<Event>, cx: &mut Cx) {
        // SAFETY: by contract; marking it spent first keeps anybody from consuming it twice.
        unsafe {
            let ops = (*event.as_ptr()).header.ops.replace(&SPENT);
            (ops.run)(event, cx);
        }
    }

    /// Drops the closure without running it. The event counts as spent.
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run).
    pub(crate) unsafe fn discard(event: NonNull<Event>) {
        // SAFETY: by contract, as in `run`.
        unsafe {
            let ops = (*event.as_ptr()).header.ops.replace(&SPENT);
            (ops.discard)(event);
        }
    }
}

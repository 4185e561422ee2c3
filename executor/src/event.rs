//! Events: a link for the queue, the closure, and where it was posted.
//!
//! A closure of up to four words lives in the event itself, a larger one in a box. An event has one
//! owner at a time: the poster, then the queue, then the worker that runs it. `run` and `discard`
//! consume the closure and leave the memory to the caller, which recycles it.
//!
//! Left out on purpose: reference counts. What an event points to is kept alive by the order of the
//! queue: whatever frees it is itself an event of the same color, posted later.

use std::cell::Cell;
use std::mem::{MaybeUninit, align_of, size_of};
use std::panic::Location;
use std::ptr::NonNull;

use crate::color::queue::Link;
use crate::cx::Cx;

/// Words of closure that an event holds without a box.
const INLINE_WORDS: usize = 4;

/// What a link stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A closure: the header is that of an [`Event`].
    Closure,
    /// The same, of the runtime's own: it drops something where and when it has to be. Not counted.
    Housekeeping,
    /// A closure that has run, kept in the queue by a gap behind it.
    Spent,
    /// The color's own grave: the header is part of a color (see `color::cell`).
    Grave,
}

/// What can be done with a closure. Both consume it.
pub(crate) struct Ops {
    pub(crate) kind: Kind,
    run: unsafe fn(NonNull<Event>, &mut Cx),
    discard: unsafe fn(NonNull<Event>),
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

/// One callback.
#[repr(C)]
pub(crate) struct Event {
    header: Header,
    site: &'static Location<'static>,
    /// When it was posted, in nanoseconds of the runtime's clock; 0: not sampled.
    posted: u64,
    payload: MaybeUninit<[usize; INLINE_WORDS]>,
}

static SPENT: Ops = Ops { kind: Kind::Spent, run: nothing_to_run, discard: nothing_to_discard };
static GRAVE: Ops = Ops { kind: Kind::Grave, run: nothing_to_run, discard: nothing_to_discard };

unsafe fn nothing_to_run(_: NonNull<Event>, _: &mut Cx) {}
unsafe fn nothing_to_discard(_: NonNull<Event>) {}

struct Closure<F>(F);

impl<F: FnOnce(&mut Cx) + Send + 'static> Closure<F> {
    const INLINE: bool = size_of::<F>() <= size_of::<[usize; INLINE_WORDS]>()
        && align_of::<F>() <= align_of::<[usize; INLINE_WORDS]>();

    const OPS: Ops = Self::ops(Kind::Closure);
    const HOUSEKEEPING: Ops = Self::ops(Kind::Housekeeping);

    const fn ops(kind: Kind) -> Ops {
        if Self::INLINE {
            Ops { kind, run: Self::run_inline, discard: Self::discard_inline }
        } else {
            Ops { kind, run: Self::run_boxed, discard: Self::discard_boxed }
        }
    }

    /// # Safety
    ///
    /// `slot` is valid for a write of the payload.
    #[inline]
    unsafe fn write(f: F, slot: *mut MaybeUninit<[usize; INLINE_WORDS]>) {
        if Self::INLINE {
            // SAFETY: INLINE says that F fits in size and alignment.
            unsafe { slot.cast::<F>().write(f) }
        } else {
            // SAFETY: one pointer fits.
            unsafe { slot.cast::<Box<F>>().write(Box::new(f)) }
        }
    }

    /// # Safety
    ///
    /// For the four below: the event holds an F written by `write`, read by one of them once.
    #[inline]
    unsafe fn read_inline(event: NonNull<Event>) -> F {
        // SAFETY: by contract; the payload is not read again.
        unsafe { (&raw const (*event.as_ptr()).payload).cast::<F>().read() }
    }

    unsafe fn run_inline(event: NonNull<Event>, cx: &mut Cx) {
        // SAFETY: by contract.
        let f = unsafe { Self::read_inline(event) };
        f(cx)
    }

    unsafe fn discard_inline(event: NonNull<Event>) {
        // SAFETY: by contract.
        drop(unsafe { Self::read_inline(event) });
    }

    #[inline]
    unsafe fn read_boxed(event: NonNull<Event>) -> Box<F> {
        // SAFETY: by contract; the payload is not read again.
        unsafe { (&raw const (*event.as_ptr()).payload).cast::<Box<F>>().read() }
    }

    unsafe fn run_boxed(event: NonNull<Event>, cx: &mut Cx) {
        // SAFETY: by contract.
        let f = unsafe { Self::read_boxed(event) };
        (*f)(cx)
    }

    unsafe fn discard_boxed(event: NonNull<Event>) {
        // SAFETY: by contract.
        drop(unsafe { Self::read_boxed(event) });
    }
}

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
        let ops: &'static Ops = const { &Closure::<F>::OPS };
        let event = memory.as_ptr();
        // SAFETY: the memory is the caller's and large enough; raw writes, so that no reference to
        // what is not initialised is made.
        unsafe {
            (&raw mut (*event).header).write(Header { link: Link::new(), ops: Cell::new(ops) });
            (&raw mut (*event).site).write(site);
            (&raw mut (*event).posted).write(posted);
            Closure::<F>::write(f, &raw mut (*event).payload);
        }
        memory
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
        fn ops<F: FnOnce(&mut Cx) + Send + 'static>(_: &F) -> &'static Ops {
            const { &Closure::<F>::HOUSEKEEPING }
        }
        let f = move |_: &mut Cx| drop(holds);
        let ops = ops(&f);
        // SAFETY: by contract; then only the kind changes.
        unsafe {
            let event = Self::write(memory, f, site, 0);
            (*event.as_ptr()).header.ops.set(ops);
            event
        }
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

//! Events: a link for the queue, the closure, and where it was posted.
//!
//! A closure of up to four words lives in the event itself, a larger one in a box. An event has one
//! owner at a time: the poster, then the queue, then the worker that runs it. `run` and `discard`
//! consume the closure and leave the memory to the caller, which recycles it.
//!
//! An event without color stands in no queue, so its link is free for a word (see [`Step`]).
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

/// What an event holds, in itself or in a box.
struct Payload<T>(T);

impl<T> Payload<T> {
    const INLINE: bool = size_of::<T>() <= size_of::<[usize; INLINE_WORDS]>()
        && align_of::<T>() <= align_of::<[usize; INLINE_WORDS]>();

    /// # Safety
    ///
    /// `slot` is valid for a write of the payload.
    #[inline]
    unsafe fn write(value: T, slot: *mut MaybeUninit<[usize; INLINE_WORDS]>) {
        if Self::INLINE {
            // SAFETY: INLINE says that T fits in size and alignment.
            unsafe { slot.cast::<T>().write(value) }
        } else {
            // SAFETY: one pointer fits.
            unsafe { slot.cast::<Box<T>>().write(Box::new(value)) }
        }
    }

    /// # Safety
    ///
    /// For the two: the event holds a T written by `write`, read by the fitting one of them once.
    #[inline]
    unsafe fn read_inline(event: NonNull<Event>) -> T {
        // SAFETY: by contract; the payload is not read again.
        unsafe { (&raw const (*event.as_ptr()).payload).cast::<T>().read() }
    }

    #[inline]
    unsafe fn read_boxed(event: NonNull<Event>) -> Box<T> {
        // SAFETY: by contract; the payload is not read again.
        unsafe { (&raw const (*event.as_ptr()).payload).cast::<Box<T>>().read() }
    }
}

/// What an event holds: a closure or, without a color, something that gets a word. The word stands in the link, which such
/// an event does not need, and whoever queues it may [set](Event::set_word) it; null if nobody did.
pub(crate) trait Step: Send + 'static {
    fn run(self, word: *mut (), cx: &mut Cx);
    /// It is dropped unrun.
    fn discard(self, word: *mut ());
}

struct Closure<F>(F);

impl<F: FnOnce(&mut Cx) + Send + 'static> Step for Closure<F> {
    #[inline]
    fn run(self, _: *mut (), cx: &mut Cx) {
        (self.0)(cx)
    }

    #[inline]
    fn discard(self, _: *mut ()) {}
}

struct Stepping<T>(T);

impl<T: Step> Stepping<T> {
    const OPS: Ops = Self::ops(Kind::Closure);
    const HOUSEKEEPING: Ops = Self::ops(Kind::Housekeeping);

    const fn ops(kind: Kind) -> Ops {
        if Payload::<T>::INLINE {
            Ops { kind, run: Self::run_inline, discard: Self::discard_inline }
        } else {
            Ops { kind, run: Self::run_boxed, discard: Self::discard_boxed }
        }
    }

    /// # Safety
    ///
    /// For the four: the event holds a T, and it has not been consumed.
    unsafe fn run_inline(event: NonNull<Event>, cx: &mut Cx) {
        // SAFETY: by contract.
        let (word, step) = unsafe { (Event::word(event), Payload::<T>::read_inline(event)) };
        step.run(word, cx)
    }

    unsafe fn discard_inline(event: NonNull<Event>) {
        // SAFETY: by contract.
        let (word, step) = unsafe { (Event::word(event), Payload::<T>::read_inline(event)) };
        step.discard(word)
    }

    unsafe fn run_boxed(event: NonNull<Event>, cx: &mut Cx) {
        // SAFETY: by contract.
        let (word, step) = unsafe { (Event::word(event), Payload::<T>::read_boxed(event)) };
        (*step).run(word, cx)
    }

    unsafe fn discard_boxed(event: NonNull<Event>) {
        // SAFETY: by contract.
        let (word, step) = unsafe { (Event::word(event), Payload::<T>::read_boxed(event)) };
        (*step).discard(word)
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
        // SAFETY: by contract; a closure asks for no word.
        unsafe { Self::write_step(memory, Closure(f), false, site, posted) }
    }

    /// Makes an event that holds a step. One of the runtime's own is not counted.
    ///
    /// # Safety
    ///
    /// As [`write`](Self::write); and if the step asks for its word, the event will have no color.
    #[inline]
    pub(crate) unsafe fn write_step<T: Step>(
        memory: NonNull<Event>,
        step: T,
        is_own: bool,
        site: &'static Location<'static>,
        posted: u64,
    ) -> NonNull<Event> {
        let ops = match is_own {
            true => const { &Stepping::<T>::HOUSEKEEPING },
            false => const { &Stepping::<T>::OPS },
        };
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
        unsafe { Self::write_step(memory, drops, true, site, 0) }
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

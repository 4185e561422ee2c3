//! The rights of a color's holder and of its readers, as values (C1, C5).
//!
//! A color has one holder at a time, so at most one [`Held`] of it exists. A `Held` comes out of a
//! run queue, or from the step that made the color runnable. It ends when the color becomes idle,
//! enters a run queue, or passes to its readers or to a set. So the type system decides what may be
//! done with a color, and by whom: only the owner of the `Held` reaches the front of the queue, and
//! nothing reaches the color after the `Held` is gone.

use std::ops::Deref;
use std::ptr::NonNull;

use dapple_colors::{Excluded, Finished, Left, Priority};

use super::cell::{CellRef, ColorCell, DeadCell};
use super::queue::Link;
use super::set::gathered::{Gathered, SetRequest, StayedRequest};
use crate::event::{Header, Kind, Memory, Owned, Word};
use crate::site::Site;

/// The right of the holder of a color.
#[must_use = "a color that is held has to be queued, let go, or given on"]
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Held(NonNull<ColorCell>);

// SAFETY: any thread may use a cell, by its protocol, and a color has one `Held` at a time.
unsafe impl Send for Held {}

/// The next link of a held color to run: the first event in its own list, or else the head of its
/// queue.
#[derive(Clone, Copy)]
pub(crate) struct Front(NonNull<Link>);

/// What stands behind the event that has left the front.
#[must_use]
pub(crate) enum Ended {
    /// The next link; the color is still held.
    Next(Held, Front),
    /// Nothing: the color is idle.
    Idle,
    /// A poster is between its two steps. The color is still held and must be queued.
    Gap(Held),
}

/// The result of a visit to the grave.
#[must_use]
pub(crate) enum Buried {
    /// The color is dead.
    Dead(DeadCell),
    /// The color is not dead. The grave has left the queue, which goes on as after an event; the
    /// count is the grave's, and is released after that. At a gap the grave stays in the queue, and
    /// the count is `None`.
    Passed(Ended, Option<CellRef>),
}

impl Deref for Held {
    type Target = ColorCell;
    #[inline]
    fn deref(&self) -> &ColorCell {
        // SAFETY: a held color has a link in its queue, or readers, so its cell is alive.
        unsafe { self.0.as_ref() }
    }
}

impl Held {
    /// Returns the right of the holder.
    ///
    /// # Safety
    ///
    /// The caller has just come to hold the color, and nothing else holds it.
    #[inline]
    pub(crate) unsafe fn of(cell: NonNull<ColorCell>) -> Held {
        Held(cell)
    }

    /// Returns the address of the color, for a tagged word. The owner of that word holds the color.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<ColorCell> {
        self.0
    }

    /// Returns the head of the queue.
    #[inline]
    pub(crate) fn head(&self) -> Front {
        Front(self.queue.head())
    }

    /// Returns the next link to run: the first event in the own list, or else the head.
    #[inline]
    pub(crate) fn front(&self) -> Front {
        Front(self.queue.own().unwrap_or_else(|| self.queue.head()))
    }

    /// Returns `true` if the own list has an event. It runs before what stands behind the head.
    #[inline]
    pub(crate) fn has_kept(&self) -> bool {
        self.queue.own().is_some()
    }

    /// Returns the next link to run and its kind.
    #[inline]
    pub(crate) fn next(&self) -> (Front, Kind) {
        let front = self.front();
        // SAFETY: `front` has just been read, so it is the front of this color.
        (front, unsafe { self.kind(front) })
    }

    /// Returns the kind of a link.
    ///
    /// # Safety
    ///
    /// `front` is the front of this color and has not left the queue since it was read.
    #[inline]
    pub(crate) unsafe fn kind(&self, front: Front) -> Kind {
        // SAFETY: the front of a held color is in the queue, so its memory is valid.
        unsafe { Header::of(front.0).as_ref() }.kind()
    }

    /// Returns the kind of the head.
    #[inline]
    pub(crate) fn head_kind(&self) -> Kind {
        // SAFETY: `head` returns the head of this color, which is in the queue.
        unsafe { self.kind(self.head()) }
    }

    /// Returns the site of the event at `front`, or `None` if `front` has left the queue or is no
    /// event.
    pub(crate) fn site(&self, front: Front) -> Option<Site> {
        let is_there = front.0 == self.queue.head() || Some(front.0) == self.queue.own();
        // SAFETY: `is_there` says that `front` is in the queue of this color, and the caller holds
        // the color. Of the event, only the site is read.
        unsafe {
            let is_event = |kind: Kind| kind != Kind::Grave && !kind.is_request();
            (is_there && is_event(self.kind(front))).then(|| self.event(front).site())
        }
    }

    /// Returns `true` if nothing stands behind the head.
    #[inline]
    pub(crate) fn is_head_last(&self) -> bool {
        self.queue.is_head_last()
    }

    /// Returns the event at `front`. Its link stays in the queue, and is spent once the event has
    /// been consumed.
    ///
    /// # Safety
    ///
    /// `front` is the front of this color, is an event, and has not left the queue. No other
    /// `Owned` of this event exists.
    #[inline]
    pub(crate) unsafe fn event(&self, front: Front) -> Owned {
        // SAFETY: the front of a held color belongs to its holder, and the caller takes it once.
        unsafe { Owned::of_link(front.0) }
    }

    /// Removes the head, whose event or request is over, from the queue, and passes its memory to
    /// `give`.
    ///
    /// # Safety
    ///
    /// `head` is the head of this color, is a spent event or request, and the own list is empty. A
    /// request had to stay in the queue before; see [`Reserved::release`].
    #[inline]
    pub(crate) unsafe fn finish(self, head: Front, give: impl FnOnce(Memory)) -> Ended {
        // SAFETY: the caller guarantees that this is the spent head and the own list is empty. The
        // memory is given away only after the link has left the queue.
        unsafe {
            let kind = self.kind(head);
            let finished = self.leave_queue(head);
            match (kind, &finished) {
                (_, Finished::Gap) => {}
                // The set is alive: the request has kept its memory.
                (Kind::SpentRequest, _) => {
                    if let Some(memory) = StayedRequest::of(head.0).release() {
                        give(memory);
                    }
                }
                // The link is out of the queue, so the memory is ours.
                _ => give(Owned::of_link(head.0).into_memory()),
            }
            self.after(finished)
        }
    }

    /// Removes the head of the color in `slot`, whose event is over, from the queue. The color
    /// stays in `slot` unless it becomes idle, which empties `slot`.
    ///
    /// # Safety
    ///
    /// `head` is the head of this color, is a spent event, and the own list is empty. `give` does
    /// not panic.
    ///
    /// # Panics
    ///
    /// Panics if `slot` is empty.
    #[inline]
    pub(crate) unsafe fn finish_in(
        slot: &mut Option<Held>,
        head: Front,
        give: impl FnOnce(Memory),
    ) -> Finished<Front> {
        let held = slot.as_ref().expect("a color is in the slot");
        // The event that has run is never a request, and no event of the own list runs in front of
        // one.
        debug_assert!(!held.head_kind().is_request(), "an event is at the head");
        // SAFETY: the caller guarantees that this is the head and the own list is empty.
        let finished = unsafe { held.leave_queue(head) };
        if matches!(finished, Finished::Idle) {
            *slot = None;
        }
        if !matches!(finished, Finished::Gap) {
            // SAFETY: the spent link is out of the queue, so its memory is ours.
            give(unsafe { Owned::of_link(head.0) }.into_memory());
        }
        finished
    }

    /// Removes the head from the queue, unless there is a gap. After `Idle` nothing may touch the
    /// color through this value.
    ///
    /// # Safety
    ///
    /// `head` is the head of this color, and the own list is empty.
    #[inline]
    unsafe fn leave_queue(&self, head: Front) -> Finished<Front> {
        debug_assert_eq!(head.0, self.queue.head());
        // SAFETY: the color is held, `head` is its head, and the own list is empty.
        unsafe { self.queue.finish(head.0) }.map(Front)
    }

    /// Translates the answer of the queue, and passes on the right of the holder.
    #[inline]
    fn after(self, finished: Finished<Front>) -> Ended {
        match finished {
            Finished::Next(next) => Ended::Next(self, next),
            Finished::Idle => Ended::Idle,
            Finished::Gap => Ended::Gap(self),
        }
    }

    /// Returns the next event in the own list. If `ended` is in that list, removes it first.
    #[inline]
    pub(crate) fn pass_kept(&self, ended: Front, give: impl FnOnce(Memory)) -> Option<Front> {
        let own = self.queue.own()?;
        if own != ended.0 {
            return Some(Front(own));
        }
        // SAFETY: the color is held, so its own list is the caller's, and a link that left it is
        // ours.
        unsafe {
            self.queue.drop_own(own);
            give(Owned::of_link(own).into_memory());
        }
        self.queue.own().map(Front)
    }

    /// Removes the event at the head from the queue before it has run. If a gap keeps its link
    /// there, the event moves to `memory`. `keep` returns what keeps the color alive meanwhile.
    fn let_go<K>(
        self,
        keep: impl FnOnce(&Held) -> K,
        memory: impl FnOnce() -> Memory,
    ) -> (Owned, K, Ended) {
        let head = self.head();
        debug_assert!(!self.has_kept() && !self.head_kind().is_request(), "an event is next");
        let kept = keep(&self);
        self.debug_let_go();
        // SAFETY: the color is held, its head is an event, and the own list is empty.
        let (mut event, finished) = unsafe { (self.event(head), self.leave_queue(head)) };
        if matches!(finished, Finished::Gap) {
            event = event.relocate(memory());
        }
        (event, kept, self.after(finished))
    }

    /// Removes the shared event at the head from the queue, and makes it a reader of the color. If
    /// a gap keeps its link in the queue, the event moves to `memory`.
    pub(crate) fn let_reader_go(self, memory: impl FnOnce() -> Memory) -> (Owned, Ended) {
        debug_assert!(self.head_kind() == Kind::Shared, "a shared event is next");
        let (mut event, reader, ended) = self.let_go(Held::let_read, memory);
        // SAFETY: the event is the new reader, so the word of that reader is its own.
        unsafe { event.set_claims(reader.into_word()) };
        (event, ended)
    }

    /// Removes the exclusive event at the head from the queue before it runs, for a color that is
    /// bound to the user's thread. The returned count keeps the color alive. If a gap keeps the
    /// link in the queue, the event moves to `memory`.
    pub(crate) fn let_event_go(self, memory: impl FnOnce() -> Memory) -> (Owned, CellRef, Ended) {
        debug_assert!(self.is_here(), "the color is bound to the user's thread");
        self.let_go(|held| CellRef::of(held), memory)
    }

    /// Takes the request of a set at the head. The request is then spent, and stays in the queue.
    ///
    /// # Panics
    ///
    /// Panics if the head is anything else.
    #[inline]
    fn take_request(&self) -> SetRequest {
        let head = self.head();
        // SAFETY: the head of this color is in the queue. A request is taken once, when it has come
        // to the front, because it is spent then.
        unsafe {
            let header = Header::of(head.0).as_ref();
            let is_request = matches!(header.kind(), Kind::Request | Kind::SharedRequest);
            assert!(is_request, "a request is at the head");
            header.spend_request();
            let request = SetRequest::of(head.0);
            request.unboost_color(self);
            request
        }
    }

    /// Marks the color as one that a set has reserved.
    ///
    /// # Safety
    ///
    /// The caller is a set that has exclusive access to the color.
    #[inline]
    pub(super) unsafe fn into_reserved(self) -> Reserved {
        Reserved(self)
    }

    /// Gives a color without readers to the set whose exclusive request is at its head.
    #[inline]
    pub(crate) fn reserve(self) -> SetRequest {
        debug_assert!(self.head_kind() == Kind::Request, "an exclusive request is at the head");
        self.take_request()
    }

    /// Counts one more reader.
    #[inline]
    pub(crate) fn let_read(&self) -> Reader {
        self.readers.enter();
        Reader(self.0)
    }

    /// Removes the shared request at the head from the queue, and makes it a reader of the color.
    /// The request has not arrived yet.
    #[inline]
    pub(crate) fn let_request_go(self) -> (SetRequest, Ended) {
        let (head, request) = (self.head(), self.take_request());
        // The set recreates this reader from the request when it is over.
        let _reader = self.let_read();
        self.debug_let_go();
        debug_assert!(!self.has_kept(), "kept events run before the head leaves the queue");
        // SAFETY: the request is the head of this color, and the own list is empty.
        let finished = unsafe { self.leave_queue(head) };
        if matches!(finished, Finished::Gap) {
            // This must precede the arrival of the request, after which the set may be over at any
            // time.
            request.stays();
        }
        (request, self.after(finished))
    }

    /// Excludes readers before an exclusive event. If the color has readers, returns `None`, and
    /// the last reader to leave becomes the holder.
    pub(crate) fn exclude_readers(self) -> Option<Held> {
        match self.readers.exclude() {
            Excluded::Waits => None,
            Excluded::Alone => Some(self),
        }
    }

    /// Visits the color's grave.
    ///
    /// # Panics
    ///
    /// Panics if the head is anything else.
    pub(crate) fn bury(self) -> Buried {
        let head = self.head();
        assert!(self.head_kind() == Kind::Grave, "the head is not the grave");
        if self.retire(&|| self.life.is_over(&self.queue)) {
            // SAFETY: the only count is the grave's, nothing stands behind the grave, and its
            // palette, if it has one, has forgotten the color. So nothing else can reach it.
            return Buried::Dead(unsafe { DeadCell::of(self.0) });
        }
        let cell = self.0;
        // SAFETY: the color is held, this is its head, and the own list is empty, because a kept
        // event would have come to the front before the grave.
        let finished = unsafe { self.leave_queue(head) };
        // SAFETY: the holder owns the grave's count. Its link is out of the queue unless there is a
        // gap.
        let count =
            (!matches!(finished, Finished::Gap)).then(|| unsafe { CellRef::of_the_grave(cell) });
        Buried::Passed(self.after(finished), count)
    }
}

/// A color that a set has for itself. The spent request of the set is at its head.
pub(crate) struct Reserved(Held);

impl Reserved {
    /// Releases the color: the request of the set leaves the queue. If a gap keeps it there, the
    /// request keeps the memory of the set.
    #[inline]
    pub(crate) fn release(self) -> Ended {
        let held = self.0;
        if held.is_bounded() {
            held.leave_bound();
        }
        held.debug_let_go();
        let head = held.head();
        debug_assert!(held.head_kind() == Kind::SpentRequest, "a set has reserved the color");
        // SAFETY: the spent request of a set is at the head, and the own list is empty. After a gap
        // the request is still there. The set is not over, as it is still about to release its
        // colors.
        unsafe {
            let finished = held.leave_queue(head);
            if matches!(finished, Finished::Gap) {
                StayedRequest::stays(head.0);
            }
            held.after(finished)
        }
    }
}

/// The right of one reader of a color. There are as many as the color counts readers.
#[must_use = "a reader that does not leave keeps all exclusive events waiting"]
#[derive(Debug)]
pub(crate) struct Reader(NonNull<ColorCell>);

impl Deref for Reader {
    type Target = ColorCell;
    #[inline]
    fn deref(&self) -> &ColorCell {
        // SAFETY: a color with a reader does not die.
        unsafe { self.0.as_ref() }
    }
}

impl Reader {
    /// Returns the word of a shared event that runs as this reader.
    fn into_word(self) -> Word {
        Word::pointer(self.0)
    }

    /// Returns the right of a reader.
    ///
    /// # Safety
    ///
    /// The caller is a reader of the color, and no other `Reader` stands for it.
    #[inline]
    pub(crate) unsafe fn of(cell: NonNull<ColorCell>) -> Reader {
        Reader(cell)
    }

    /// Leaves the color. If the color waited for this reader, the caller becomes its holder.
    pub(crate) fn leave(self) -> Option<Held> {
        if self.is_bounded() {
            self.leave_bound();
        }
        match self.readers.leave() {
            Left::Holds => Some(Held(self.0)),
            Left::Gone => None,
        }
    }
}

/// The colors of an event that is in no color's queue. The event releases them when it has ended.
#[must_use = "colors that are not given back are lost"]
pub(crate) enum Claims {
    Nothing,
    /// The event is a reader of a color.
    Reads(Reader),
    /// The event has all colors of a set.
    Set(Gathered),
    /// The event is an exclusive one of a color that is bound to the user's thread, and has left
    /// the color's queue. That thread runs nothing else of the color while the event runs, unless
    /// the event is suspended. The count keeps the color alive.
    Apart(CellRef),
}

impl Claims {
    /// Takes the claims from an event that came out of a run queue.
    #[inline]
    pub(crate) fn take(event: &mut Owned) -> Claims {
        let (kind, word) = (event.kind(), event.word());
        if !matches!(kind, Kind::Shared | Kind::Set) {
            return Claims::Nothing;
        }
        // SAFETY: the word is replaced by `NONE`, so the claims are taken once. The word of a set's
        // event is its set, which has all its colors. The word of a shared event that has left its
        // queue is its reader.
        unsafe {
            event.set_claims(Word::NONE);
            match kind {
                Kind::Set => Gathered::of(word).map_or(Claims::Nothing, Claims::Set),
                _ => word.as_pointer().map_or(Claims::Nothing, |cell| Claims::Reads(Reader(cell))),
            }
        }
    }

    /// Puts the claims back into their event.
    pub(crate) fn put_back(self, event: &mut Owned) {
        let word = match self {
            Claims::Nothing => return,
            Claims::Reads(reader) => reader.into_word(),
            Claims::Set(set) => set.into_word(),
            Claims::Apart(_) => unreachable!("a running event is in no run queue"),
        };
        // SAFETY: the claims were taken from this event.
        unsafe { event.set_claims(word) };
    }

    /// Returns the color, or the color of a set that was named first.
    pub(crate) fn first(&self) -> Option<&ColorCell> {
        match self {
            Claims::Nothing => None,
            Claims::Reads(reader) => Some(reader),
            Claims::Set(set) => Some(set.first()),
            Claims::Apart(color) => Some(color),
        }
    }

    /// Returns the worker to which one of the colors is bound.
    pub(crate) fn bound_to(&self) -> Option<usize> {
        match self {
            Claims::Nothing => None,
            Claims::Reads(reader) => reader.bound_to(),
            Claims::Apart(color) => color.bound_to(),
            Claims::Set(set) => set.bound_to(),
        }
    }

    /// Returns the highest class among the colors, which is the class of the event.
    pub(crate) fn class(&self) -> Priority {
        match self {
            Claims::Nothing => Priority::Normal,
            Claims::Reads(reader) => reader.priority(),
            Claims::Set(set) => set.class(),
            Claims::Apart(color) => color.priority(),
        }
    }
}

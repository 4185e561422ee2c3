//! The right of a color's holder, and of its readers, as values (C1, C5).
//!
//! A color has one holder at a time, so there is one [`Held`] of it at most. It comes out of a run
//! queue, or from what made the color runnable; it ends when the color becomes idle, goes into a
//! run queue, or to its readers or a set. So what may be done with a color, and by whom, is a
//! matter of types: only who has a `Held` reaches the front of the queue, and nothing reaches the
//! color after the `Held` is gone.

use std::ops::Deref;
use std::ptr::NonNull;

use dapple_colors::{Excluded, Finished, Left, Priority};

use super::cell::{CellRef, ColorCell, DeadCell};
use super::queue::Link;
use super::set::gathered::{Gathered, SetRequest, StayedRequest};
use crate::event::{Header, Kind, Memory, Owned, Word};
use crate::site::Site;

/// See the module.
#[must_use = "a color that is held has to be queued, let go, or given on"]
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Held(NonNull<ColorCell>);

// SAFETY: a cell is used from any thread by its protocol, and is held by one at a time.
unsafe impl Send for Held {}

/// What is next to run of a color that is held: the head of its queue, or the first one that its
/// last events have kept.
#[derive(Clone, Copy)]
pub(crate) struct Front(NonNull<Link>);

/// What is behind the event that has left the front.
#[must_use]
pub(crate) enum Ended {
    /// The next one; the color is still held.
    Next(Held, Front),
    /// Nothing: the color is idle.
    Idle,
    /// A poster is between its two steps; the color is still held, and is to be queued.
    Gap(Held),
}

/// How a visit to the grave ended.
#[must_use]
pub(crate) enum Buried {
    /// The color is dead.
    Dead(DeadCell),
    /// The grave has left the queue, which goes on as after an event. Its count has to be given
    /// back after that; if there is none, the grave stands there still, behind it a gap.
    Passed(Ended, Option<CellRef>),
}

impl Deref for Held {
    type Target = ColorCell;
    #[inline]
    fn deref(&self) -> &ColorCell {
        // SAFETY: a color that is held has something in its queue, or readers, so it is there.
        unsafe { self.0.as_ref() }
    }
}

impl Held {
    /// # Safety
    ///
    /// The caller has just come to hold the color, and nobody else does.
    #[inline]
    pub(crate) unsafe fn of(cell: NonNull<ColorCell>) -> Held {
        Held(cell)
    }

    /// For a tagged word. Who has that holds the color.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<ColorCell> {
        self.0
    }

    /// What stands at the head.
    #[inline]
    pub(crate) fn head(&self) -> Front {
        Front(self.queue.head())
    }

    /// What is next to run: the first that was kept, or the head.
    #[inline]
    pub(crate) fn front(&self) -> Front {
        Front(self.queue.own().unwrap_or_else(|| self.queue.head()))
    }

    /// Says whether its last events have kept posts, which run before what is behind the head.
    #[inline]
    pub(crate) fn has_kept(&self) -> bool {
        self.queue.own().is_some()
    }

    /// What is next to run, and its kind.
    #[inline]
    pub(crate) fn next(&self) -> (Front, Kind) {
        let front = self.front();
        // SAFETY: it is the front of this color.
        (front, unsafe { self.kind(front) })
    }

    /// The kind of what stands there.
    ///
    /// # Safety
    ///
    /// It is the front of this color, and has not left the queue since.
    #[inline]
    pub(crate) unsafe fn kind(&self, front: Front) -> Kind {
        // SAFETY: the front of a held color is in the queue.
        unsafe { Header::of(front.0).as_ref() }.kind()
    }

    /// The kind of what stands at the head.
    #[inline]
    pub(crate) fn head_kind(&self) -> Kind {
        // SAFETY: it is the head of this color, and in the queue.
        unsafe { self.kind(self.head()) }
    }

    /// Where what stands there was posted; `None`: it has left the queue, or is no event.
    pub(crate) fn site(&self, front: Front) -> Option<Site> {
        let is_there = front.0 == self.queue.head() || Some(front.0) == self.queue.own();
        // SAFETY: if it is there, it is in the queue of this color, whose holder asks; of an event
        // only the site is read.
        unsafe {
            let is_event = |kind: Kind| kind != Kind::Grave && !kind.is_request();
            (is_there && is_event(self.kind(front))).then(|| self.event(front).site())
        }
    }

    /// Says whether nothing stands behind the head.
    #[inline]
    pub(crate) fn is_head_last(&self) -> bool {
        self.queue.is_head_last()
    }

    /// The event that stands there. It stays in the queue, spent when it has been consumed.
    ///
    /// # Safety
    ///
    /// It is the front of this color, an event, and has not left the queue; and there is no other
    /// such value of it.
    #[inline]
    pub(crate) unsafe fn event(&self, front: Front) -> Owned {
        // SAFETY: the front of a held color is the holder's.
        unsafe { Owned::of_link(front.0) }
    }

    /// What stands at the head, and is over, leaves the queue, with `give` for its memory.
    ///
    /// # Safety
    ///
    /// It is the head of this color, an event or a request that is spent, and nothing was kept. If
    /// it is a request, it had to stay in the queue before: see [`Reserved::give_back`].
    #[inline]
    pub(crate) unsafe fn finish(self, head: Front, give: impl FnOnce(Memory)) -> Ended {
        // SAFETY: passed on from the caller.
        unsafe {
            let kind = self.kind(head);
            let finished = self.leave_queue(head);
            match (kind, &finished) {
                (_, Finished::Gap) => {}
                // The set is there: the request has kept its memory.
                (Kind::SpentRequest, _) => {
                    if let Some(memory) = StayedRequest::of(head.0).release() {
                        give(memory);
                    }
                }
                // The link is out of the queue.
                _ => give(Owned::of_link(head.0).into_memory()),
            }
            self.after(finished)
        }
    }

    /// What stands at the head of the color in `slot`, and is over, leaves the queue. The color
    /// stays where it is, unless it becomes idle; then `slot` is empty.
    ///
    /// # Safety
    ///
    /// It is the head of this color, an event that is spent, and nothing was kept. `give` does not
    /// panic.
    ///
    /// # Panics
    ///
    /// When there is no color in `slot`.
    #[inline]
    pub(crate) unsafe fn finish_in(
        slot: &mut Option<Held>,
        head: Front,
        give: impl FnOnce(Memory),
    ) -> Finished<Front> {
        let held = slot.as_ref().expect("a color is in the slot");
        // A request is never what has run, nor does anything that was kept run before one.
        debug_assert!(!held.head_kind().is_request(), "an event is at the head");
        // SAFETY: passed on from the caller.
        let finished = unsafe { held.leave_queue(head) };
        if matches!(finished, Finished::Idle) {
            *slot = None;
        }
        if !matches!(finished, Finished::Gap) {
            // SAFETY: the link is out of the queue.
            give(unsafe { Owned::of_link(head.0) }.into_memory());
        }
        finished
    }

    /// The head leaves the queue, unless there is a gap. After `Idle` nobody may touch the color by
    /// this value.
    ///
    /// # Safety
    ///
    /// It is the head of this color, and nothing was kept.
    #[inline]
    unsafe fn leave_queue(&self, head: Front) -> Finished<Front> {
        debug_assert_eq!(head.0, self.queue.head());
        // SAFETY: the color is held, this is its head, and the own list is empty.
        unsafe { self.queue.finish(head.0) }.map(Front)
    }

    /// What the queue has answered, and who holds the color now.
    #[inline]
    fn after(self, finished: Finished<Front>) -> Ended {
        match finished {
            Finished::Next(next) => Ended::Next(self, next),
            Finished::Idle => Ended::Idle,
            Finished::Gap => Ended::Gap(self),
        }
    }

    /// What is next to run of what was kept, after `ended`, which leaves that list if it is of it.
    #[inline]
    pub(crate) fn pass_kept(&self, ended: Front, give: impl FnOnce(Memory)) -> Option<Front> {
        let own = self.queue.own()?;
        if own != ended.0 {
            return Some(Front(own));
        }
        // SAFETY: the color is held; what left the list is ours.
        unsafe {
            self.queue.drop_own(own);
            give(Owned::of_link(own).into_memory());
        }
        self.queue.own().map(Front)
    }

    /// The event at the head leaves the queue before it has run; and what is behind it. If its link
    /// has to stay there, the event moves to `memory`. `keep`: what keeps the color meanwhile.
    fn let_go<K>(
        self,
        keep: impl FnOnce(&Held) -> K,
        memory: impl FnOnce() -> Memory,
    ) -> (Owned, K, Ended) {
        let head = self.head();
        debug_assert!(!self.has_kept() && !self.head_kind().is_request(), "an event is next");
        let kept = keep(&self);
        self.debug_let_go();
        // SAFETY: it is the head of a color that is held, an event; and the own list is empty.
        let (mut event, finished) = unsafe { (self.event(head), self.leave_queue(head)) };
        if matches!(finished, Finished::Gap) {
            event = event.relocate(memory());
        }
        (event, kept, self.after(finished))
    }

    /// The shared event at the head goes on by itself, as a reader of the color; and what is behind
    /// it. If its link has to stay in the queue, the event moves to `memory`.
    pub(crate) fn let_reader_go(self, memory: impl FnOnce() -> Memory) -> (Owned, Ended) {
        debug_assert!(self.head_kind() == Kind::Shared, "a shared event is next");
        let (mut event, reader, ended) = self.let_go(Held::let_read, memory);
        // SAFETY: the reader is this event.
        unsafe { event.set_claims(reader.into_word()) };
        (event, ended)
    }

    /// The exclusive event at the head, of a color that is bound to a thread of the user's, leaves
    /// the queue before it runs; and what is behind it. The count keeps the color meanwhile. If the
    /// link has to stay in the queue, the event moves to `memory`.
    pub(crate) fn let_event_go(self, memory: impl FnOnce() -> Memory) -> (Owned, CellRef, Ended) {
        debug_assert!(self.is_here(), "one at a time runs on its thread");
        self.let_go(|held| CellRef::of(held), memory)
    }

    /// The request of a set at the head, which is spent then, and stays there.
    ///
    /// # Panics
    ///
    /// When something else is at the head.
    #[inline]
    fn take_request(&self) -> SetRequest {
        let head = self.head();
        // SAFETY: it is the head of this color, so it is in the queue; and a request is taken when
        // it has come to the front, once, as it is spent then.
        unsafe {
            let header = Header::of(head.0).as_ref();
            let is_request = matches!(header.kind(), Kind::Request | Kind::SharedRequest);
            assert!(is_request, "a request is at the head");
            header.spend_request();
            let request = SetRequest::of(head.0);
            request.has_come_to(self);
            request
        }
    }

    /// As a color that a set has.
    ///
    /// # Safety
    ///
    /// The caller is a set that has the color for itself.
    #[inline]
    pub(super) unsafe fn into_reserved(self) -> Reserved {
        Reserved(self)
    }

    /// A color without readers goes to the set whose request is at its head.
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

    /// The shared request at the head goes on by itself, as a reader of the color; and what is
    /// behind it. It has not arrived yet.
    #[inline]
    pub(crate) fn let_request_go(self) -> (SetRequest, Ended) {
        let (head, request) = (self.head(), self.take_request());
        // The set gets it back from the request.
        let _reader = self.let_read();
        self.debug_let_go();
        debug_assert!(!self.has_kept(), "what was kept runs first");
        // SAFETY: it is the head, spent; and nothing was kept.
        let finished = unsafe { self.leave_queue(head) };
        if matches!(finished, Finished::Gap) {
            // Before it arrives, after which the set may soon be over.
            request.stays();
        }
        (request, self.after(finished))
    }

    /// The holder comes to an exclusive event. If the color has readers, the last one of them holds
    /// it from now on.
    pub(crate) fn exclude_readers(self) -> Option<Held> {
        match self.readers.exclude() {
            Excluded::Waits => None,
            Excluded::Alone => Some(self),
        }
    }

    /// The holder has come to the color's grave.
    ///
    /// # Panics
    ///
    /// When something else is at the head.
    pub(crate) fn bury(self) -> Buried {
        let head = self.head();
        assert!(self.head_kind() == Kind::Grave, "a grave stands at the head");
        if self.retire(&|| self.life.is_over(&self.queue)) {
            // SAFETY: there is one count, which is the grave's, and nothing behind the grave; a
            // palette has forgotten the color. So nobody can reach it.
            return Buried::Dead(unsafe { DeadCell::of(self.0) });
        }
        let cell = self.0;
        // SAFETY: the color is held, and this is its head.
        let finished = unsafe { self.leave_queue(head) };
        // SAFETY: the grave's count is the holder's, and its link is out of the queue, unless there
        // is a gap.
        let count =
            (!matches!(finished, Finished::Gap)).then(|| unsafe { CellRef::of_the_grave(cell) });
        Buried::Passed(self.after(finished), count)
    }
}

/// A color that a set has for itself, and whose request is at its head, spent.
pub(crate) struct Reserved(Held);

impl Reserved {
    /// The set gives the color back: its request leaves the queue. If it has to stay, it keeps the
    /// memory of the set.
    #[inline]
    pub(crate) fn give_back(self) -> Ended {
        let held = self.0;
        if held.is_bounded() {
            held.leave_bound();
        }
        held.debug_let_go();
        let head = held.head();
        debug_assert!(held.head_kind() == Kind::SpentRequest, "a set has reserved the color");
        // SAFETY: the request of a set is at the head, spent, and nothing was kept before it. After
        // a gap it is still there, and the set is not over, as it is about to give its colors back.
        unsafe {
            let finished = held.leave_queue(head);
            if matches!(finished, Finished::Gap) {
                StayedRequest::stays(head.0);
            }
            held.after(finished)
        }
    }
}

/// The right of a reader of a color, of which there are as many as there are readers.
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
    /// As the word of a shared event that was let go.
    fn into_word(self) -> Word {
        Word::pointer(self.0)
    }

    /// # Safety
    ///
    /// The caller is a reader of the color, and has no other such value of it.
    #[inline]
    pub(crate) unsafe fn of(cell: NonNull<ColorCell>) -> Reader {
        Reader(cell)
    }

    /// The reader leaves. If the color waited for it, the caller holds it from now on.
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

/// What an event that stands in no color's queue has. It gives that up when it has ended.
#[must_use = "colors that are not given back are lost"]
pub(crate) enum Claims {
    Nothing,
    /// The event is a reader of a color.
    Reads(Reader),
    /// The event has all colors of a set.
    Set(Gathered),
    /// It is an exclusive event of a color that is bound to a thread of the user's, and has left
    /// the color's queue: as long as it runs, that thread runs nothing else. The count keeps the
    /// color.
    Apart(CellRef),
}

impl Claims {
    /// Takes them from an event that came out of a run queue.
    #[inline]
    pub(crate) fn take(event: &mut Owned) -> Claims {
        let (kind, word) = (event.kind(), event.word());
        if !matches!(kind, Kind::Shared | Kind::Set) {
            return Claims::Nothing;
        }
        // SAFETY: no word stands for nothing; so what was there is taken once. The word of a set's
        // event is its set, which is complete; that of a shared event that was let go, its reader.
        unsafe {
            event.set_claims(Word::NONE);
            match kind {
                Kind::Set => Gathered::of(word).map_or(Claims::Nothing, Claims::Set),
                _ => word.as_pointer().map_or(Claims::Nothing, |cell| Claims::Reads(Reader(cell))),
            }
        }
    }

    /// Puts them back into the event.
    pub(crate) fn put_back(self, event: &mut Owned) {
        let word = match self {
            Claims::Nothing => return,
            Claims::Reads(reader) => reader.into_word(),
            Claims::Set(set) => set.into_word(),
            Claims::Apart(_) => unreachable!("an event that runs is in no run queue"),
        };
        // SAFETY: they were taken from it.
        unsafe { event.set_claims(word) };
    }

    /// The color, or the one that was named first.
    pub(crate) fn first(&self) -> Option<&ColorCell> {
        match self {
            Claims::Nothing => None,
            Claims::Reads(reader) => Some(reader),
            Claims::Set(set) => Some(set.first()),
            Claims::Apart(color) => Some(color),
        }
    }

    /// The worker to which one of the colors is bound.
    pub(crate) fn bound_to(&self) -> Option<usize> {
        match self {
            Claims::Nothing => None,
            Claims::Reads(reader) => reader.bound_to(),
            Claims::Apart(color) => color.bound_to(),
            Claims::Set(set) => set.bound_to(),
        }
    }

    /// The highest class among the colors, in which the event runs.
    pub(crate) fn class(&self) -> Priority {
        match self {
            Claims::Nothing => Priority::Normal,
            Claims::Reads(reader) => reader.priority(),
            Claims::Set(set) => set.class(),
            Claims::Apart(color) => color.priority(),
        }
    }
}

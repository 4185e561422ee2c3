//! Events that stand in no color's queue: those without a color, readers that the holder of their color has let go (C5), and
//! those of sets whose requests have all arrived (C6).
//!
//! They go through the run queue by themselves. What is left to do when one has ended is the same whether it was run or dropped
//! unrun: a reader leaves its color, and a set gives its colors back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};

use dapple_colors::turn::LONG_EVENT_NANOS;
use dapple_colors::{Access, Excluded, Finished, Left};

use super::local::Local;
use super::shared::add;
use crate::color::cell::{ColorCell, UNKNOWN};
use crate::color::queue::Link;
use crate::color::set::Set;
use crate::cx::Cx;
use crate::event::{Event, Header, Kind};
use crate::sync::Ordering;

/// What an event that stands in no color's queue has.
enum Has {
    Nothing,
    /// It is a reader of a color.
    Reads(NonNull<ColorCell>),
    /// All colors of a set.
    Set(NonNull<Set>),
}

impl Has {
    /// # Safety
    ///
    /// The event is the caller's, and came out of a run queue.
    unsafe fn of(event: NonNull<Event>) -> (Kind, Has) {
        // SAFETY: by contract; the word of a reader and of a set's event was set when it was queued.
        unsafe {
            let kind = Header::of(Event::as_link(event)).as_ref().kind();
            let word = || NonNull::new_unchecked(Event::word(event));
            let has = match kind {
                Kind::Shared => Has::Reads(word().cast()),
                Kind::Set => Has::Set(word().cast()),
                _ => Has::Nothing,
            };
            (kind, has)
        }
    }

    /// The label of the color, of a set that of the color named first.
    ///
    /// # Safety
    ///
    /// The event that has it has not ended.
    unsafe fn label(&self) -> u32 {
        // SAFETY: by contract.
        unsafe {
            match self {
                Has::Nothing => 0,
                Has::Reads(cell) => cell.as_ref().label(),
                Has::Set(set) => set.as_ref().wants()[0].cell().as_ref().label(),
            }
        }
    }
}

impl Local {
    /// Runs an event that came out of a run queue. True: it took long, or may have.
    pub(super) fn run_free(&self, event: NonNull<Event>) -> bool {
        self.uncolored_events.set(self.uncolored_events.get().wrapping_add(1));
        // SAFETY: the run queue gave the event to us alone.
        let kind = unsafe { Header::of(Event::as_link(event)).as_ref() }.kind();
        match kind {
            Kind::Closure | Kind::Housekeeping => {
                self.run_alone(event, kind, 0);
                // SAFETY: its closure is spent.
                unsafe { self.give_memory(event) };
            }
            _ => self.run_with_colors(event),
        }
        self.entry_nanos.get() >= LONG_EVENT_NANOS
    }

    #[inline]
    fn run_alone(&self, event: NonNull<Event>, kind: Kind, label: u32) {
        self.shared().published.label.store(label, Ordering::Relaxed);
        let ran = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the run queue gave the event to us alone, and it has not run.
            unsafe { self.run_event(event, label, &mut Cx::new(self)) }
        }));
        if let Err(payload) = ran {
            self.event_panicked(payload, Event::as_link(event), label);
        }
        add(&self.shared().counters.events, u64::from(kind != Kind::Housekeeping));
    }

    /// A reader, or a set's event.
    #[inline(never)]
    fn run_with_colors(&self, event: NonNull<Event>) {
        // SAFETY: the run queue gave the event to us alone, and it has not ended.
        let (kind, has, label) = unsafe {
            let (kind, has) = Has::of(event);
            let label = has.label();
            (kind, has, label)
        };
        self.enter_free(&has);
        self.run_alone(event, kind, label);
        // SAFETY: its closure is spent.
        unsafe { self.end_free(event, has) };
    }

    /// Drops such an event unrun, and says how many that are.
    pub(super) fn discard_free(&self, event: NonNull<Event>) -> u64 {
        // SAFETY: the run queue gave the event to us alone.
        let (kind, has) = unsafe { Has::of(event) };
        self.enter_free(&has);
        // SAFETY: as above; its closure is spent then.
        unsafe {
            self.guard(Some(Event::site(event)), || Event::discard(event));
            self.end_free(event, has);
        }
        u64::from(kind != Kind::Housekeeping)
    }

    fn enter_free(&self, has: &Has) {
        match has {
            Has::Nothing => {}
            Has::Reads(cell) => self.current.set_reads(cell.as_ptr()),
            Has::Set(set) => self.current.set_set(set.as_ptr()),
        }
    }

    /// # Safety
    ///
    /// The event is the caller's and spent, and `has` is what it had.
    #[inline]
    unsafe fn end_free(&self, event: NonNull<Event>, has: Has) {
        // SAFETY: by contract.
        unsafe { self.give_memory(event) };
        match has {
            Has::Nothing => {}
            Has::Reads(cell) => {
                self.current.set_reads(ptr::null());
                // SAFETY: the event was a reader of it.
                unsafe { self.leave(cell) };
            }
            Has::Set(set) => {
                self.current.set_set(ptr::null());
                // SAFETY: the event has ended, so the set and its colors are ours.
                unsafe { self.give_back(set) };
            }
        }
    }

    /// A reader leaves. If the color waited for it, it goes on.
    ///
    /// # Safety
    ///
    /// The caller is a reader, and ceases to be one.
    unsafe fn leave(&self, cell: NonNull<ColorCell>) {
        // SAFETY: a color with a reader does not die.
        let color = unsafe { cell.as_ref() };
        if color.is_bounded() {
            color.leave_bound();
        }
        if color.readers.leave() == Left::Holds {
            // SAFETY: we hold it.
            unsafe { self.queue_held(cell) };
        }
    }

    /// Queues a color that has something to run, wherever it comes from.
    ///
    /// # Safety
    ///
    /// The caller holds it, and lets it go.
    unsafe fn queue_held(&self, cell: NonNull<ColorCell>) {
        // SAFETY: by contract.
        let color = unsafe { cell.as_ref() };
        self.make_runnable(color.entry(), color.home(), color.worth());
    }

    /// A set's event has ended: all its colors go on.
    ///
    /// # Safety
    ///
    /// The set, and all its colors, are the caller's.
    unsafe fn give_back(&self, set: NonNull<Set>) {
        // SAFETY: by contract; each color is given back once, and the set's memory after that.
        unsafe {
            for want in set.as_ref().wants() {
                let cell = want.cell();
                match want.access() {
                    Access::Shared => self.leave(cell),
                    Access::Exclusive => {
                        let color = cell.as_ref();
                        let queue = &color.queue;
                        if color.is_bounded() {
                            color.leave_bound();
                        }
                        color.debug_let_go();
                        match self.finish(cell, queue.head()) {
                            Finished::Idle => {}
                            Finished::Gap => self.queue_held(cell),
                            Finished::Next(next) => {
                                queue.set_head(next);
                                self.queue_held(cell);
                            }
                        }
                    }
                }
            }
            ptr::drop_in_place(set.as_ptr());
            self.give_memory(set.cast());
        }
    }

    /// May an exclusive event of a color that has, or had, readers begin? If not, the caller does not hold the color any more.
    ///
    /// # Safety
    ///
    /// The caller holds it.
    pub(super) unsafe fn exclude_readers(&self, cell: NonNull<ColorCell>) -> bool {
        // SAFETY: by contract.
        let color = unsafe { cell.as_ref() };
        // No post is kept for a color that is let go.
        self.current.leave();
        if color.readers.exclude() == Excluded::Waits {
            return false;
        }
        self.current.enter(color);
        true
    }

    /// The holder of a color has come to a shared event: it goes on by itself. Says what is behind it.
    ///
    /// # Safety
    ///
    /// The caller holds the color, and `link` is its head and a shared event. After [`Finished::Idle`] it does not hold it any more.
    pub(super) unsafe fn let_reader_go(
        &self,
        cell: NonNull<ColorCell>,
        link: NonNull<Link>,
    ) -> Finished<NonNull<Link>> {
        let event = Event::of(Header::of(link));
        self.current.leave();
        // SAFETY: we hold the color until `finish`, and it does not die before its reader has left. In a gap the link stays in the
        // queue, so the event moves on without it.
        unsafe {
            let color = cell.as_ref();
            color.readers.enter();
            color.debug_let_go();
            let finished = color.queue.finish(link);
            let event = match finished {
                Finished::Gap => Event::relocate(event, self.take_memory()),
                _ => event,
            };
            Event::set_word(event, cell.as_ptr().cast());
            self.queue_event_as(event, color.priority());
            finished
        }
    }

    /// The same of a shared request of a set.
    ///
    /// # Safety
    ///
    /// As there.
    pub(super) unsafe fn let_request_go(
        &self,
        cell: NonNull<ColorCell>,
        link: NonNull<Link>,
    ) -> Finished<NonNull<Link>> {
        self.current.leave();
        // SAFETY: as in `let_reader_go`; what a request holds is taken once.
        unsafe {
            let set = Event::take_request::<Set>(Event::of(Header::of(link)));
            let color = cell.as_ref();
            set.as_ref().has_come_to(color);
            color.readers.enter();
            color.debug_let_go();
            let finished = self.finish(cell, link);
            self.arrive(set);
            finished
        }
    }

    /// The holder of a color has come to an exclusive request: the set has the color now, and the caller does not.
    ///
    /// # Safety
    ///
    /// The caller holds the color, which has no readers, and `link` is its head and an exclusive request.
    pub(super) unsafe fn reserve(&self, cell: NonNull<ColorCell>, link: NonNull<Link>) {
        self.current.leave();
        // SAFETY: by contract; what a request holds is taken once. The request stays at the head, spent.
        unsafe {
            let set = Event::take_request::<Set>(Event::of(Header::of(link)));
            set.as_ref().has_come_to(cell.as_ref());
            self.arrive(set);
        }
    }

    /// # Safety
    ///
    /// As [`Set::arrive`].
    unsafe fn arrive(&self, set: NonNull<Set>) {
        // SAFETY: by contract.
        if let Some(entry) = unsafe { Set::arrive(set) } {
            self.make_runnable(entry, self.index, UNKNOWN);
        }
    }
}

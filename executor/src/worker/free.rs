//! Events that stand in no color's queue: those without a color, readers that the holder of their color has let go (C5), and
//! those of sets whose requests have all arrived (C6).
//!
//! They go through the run queue by themselves. What is left to do when one has ended is the same whether it was run or dropped
//! unrun: a reader leaves its color, and a set gives its colors back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};

use dapple_colors::Priority;
use dapple_colors::turn::LONG_EVENT_NANOS;

use super::local::Local;
use super::shared::add;
use crate::color::cell::ColorCell;
use crate::color::set::{Set, Want};
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
                Has::Set(set) => set.as_ref().first().as_ref().label(),
            }
        }
    }
}

impl Local {
    /// The class that an event which stands in no color's queue runs in now: the highest of its colors.
    ///
    /// # Safety
    ///
    /// The event is the caller's, and came out of a run queue.
    pub(super) unsafe fn class_of_free(&self, event: NonNull<Event>) -> Priority {
        // SAFETY: by contract; what it has is there until it has ended.
        unsafe {
            match Has::of(event).1 {
                Has::Nothing => Priority::Normal,
                Has::Reads(cell) => cell.as_ref().priority(),
                Has::Set(set) => {
                    let of = |want: &Want| want.cell().as_ref().priority();
                    set.as_ref().wants().iter().map(of).fold(Priority::Low, Priority::or_higher)
                }
            }
        }
    }

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
            self.publish_drop(Event::site(event));
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
}

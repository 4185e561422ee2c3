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
use crate::event::{Kind, Owned};
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
    /// Of an event that came out of a run queue: whoever queued a reader, or the event of a set,
    /// has set its word.
    fn of(event: &Owned) -> Has {
        let word = NonNull::new(event.word());
        match event.kind() {
            Kind::Shared => word.map_or(Has::Nothing, |word| Has::Reads(word.cast())),
            Kind::Set => word.map_or(Has::Nothing, |word| Has::Set(word.cast())),
            _ => Has::Nothing,
        }
    }

    /// The label of the color, or of the one that was named first.
    ///
    /// # Safety
    ///
    /// The event that has it has not ended.
    unsafe fn label(&self) -> u32 {
        // SAFETY: by contract, they are there.
        unsafe {
            match self {
                Has::Nothing => 0,
                Has::Reads(cell) => cell.as_ref().label(),
                Has::Set(set) => set.as_ref().first().as_ref().label(),
            }
        }
    }

    /// The colors.
    ///
    /// # Safety
    ///
    /// The event that has them has not ended.
    unsafe fn colors(&self) -> impl Iterator<Item = &ColorCell> {
        // SAFETY: by contract.
        let (one, more): (_, &[Want]) = unsafe {
            match self {
                Has::Nothing => (None, &[]),
                Has::Reads(cell) => (Some(cell.as_ref()), &[]),
                Has::Set(set) => (None, set.as_ref().wants()),
            }
        };
        // SAFETY: by contract.
        one.into_iter().chain(more.iter().map(|want| unsafe { &*want.cell().as_ptr() }))
    }
}

impl Local {
    /// The class that an event which stands in no color's queue runs in now: the highest of its
    /// colors.
    pub(super) fn class_of_free(&self, event: &Owned) -> Priority {
        let has = Has::of(event);
        if let Has::Nothing = has {
            return Priority::Normal;
        }
        // SAFETY: it has not ended.
        let colors = unsafe { has.colors() };
        colors.map(ColorCell::priority).fold(Priority::Low, Priority::or_higher)
    }

    /// Runs an event that came out of a run queue. True: it took long, or may have.
    pub(super) fn run_free(&self, mut event: Owned) -> bool {
        self.uncolored_events.set(self.uncolored_events.get().wrapping_add(1));
        match event.kind() {
            Kind::Closure | Kind::Housekeeping => {
                self.run_alone(&mut event, 0);
                // SAFETY: it came out of a run queue of this runtime.
                unsafe { self.give_memory(event.into_memory()) };
            }
            _ => self.run_with_colors(event),
        }
        self.entry_nanos.get() >= LONG_EVENT_NANOS
    }

    #[inline]
    fn run_alone(&self, event: &mut Owned, label: u32) {
        let is_counted = event.is_counted();
        self.shared().published.label.store(label, Ordering::Relaxed);
        let ran =
            catch_unwind(AssertUnwindSafe(|| self.run_event(event, label, &mut Cx::new(self))));
        if let Err(payload) = ran {
            self.event_panicked(payload, Some(event.site()), label);
        }
        add(&self.shared().counters.events, u64::from(is_counted));
    }

    /// A reader, or a set's event.
    #[inline(never)]
    fn run_with_colors(&self, mut event: Owned) {
        let has = Has::of(&event);
        // SAFETY: it has not ended.
        let label = unsafe { has.label() };
        self.enter_free(&has);
        self.run_alone(&mut event, label);
        self.end_free(event, has);
    }

    /// Drops such an event unrun, and says how many that are.
    pub(super) fn discard_free(&self, mut event: Owned) -> u64 {
        let (kind, has) = (event.kind(), Has::of(&event));
        self.enter_free(&has);
        self.publish_drop(event.site());
        self.guard(Some(event.site()), || event.discard());
        self.end_free(event, has);
        u64::from(kind != Kind::Housekeeping)
    }

    fn enter_free(&self, has: &Has) {
        match has {
            Has::Nothing => {}
            Has::Reads(cell) => self.current.set_reads(cell.as_ptr()),
            Has::Set(set) => self.current.set_set(set.as_ptr()),
        }
    }

    /// `has` is what the event had, which is spent.
    #[inline]
    fn end_free(&self, event: Owned, has: Has) {
        // SAFETY: it came out of a run queue of this runtime.
        unsafe { self.give_memory(event.into_memory()) };
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

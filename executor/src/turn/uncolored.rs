//! Events that are in no color's queue: those without a color, readers that the holder of their
//! color has let go (C5), and those of sets whose requests have all arrived (C6).
//!
//! Each is an entry of a run queue by itself. What remains to be done at its end is the same
//! whether it was run or dropped unrun: a reader leaves its color, and a set returns its colors.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dapple_colors::turn::LONG_EVENT_NANOS;

use super::local::Local;
use crate::color::cell::ColorCell;
use crate::color::held::Claims;
use crate::cx::Cx;
use crate::event::{Kind, Owned};
use crate::worker::counters::add;

impl Local {
    /// Runs an event that came out of a run queue. Returns `true` if it took long, or may have.
    pub(super) fn run_uncolored(&self, mut event: Owned) -> bool {
        match event.has_claims() {
            false => {
                self.traffic.runs_uncolored();
                self.run_alone(&mut event, 0);
                self.end_uncolored(event, Claims::Nothing);
            }
            true => self.run_with_claims(event),
        }
        self.scheduler.entry_nanos.get() >= LONG_EVENT_NANOS
    }

    #[inline]
    pub(super) fn run_alone(&self, event: &mut Owned, label: u32) {
        let is_counted = event.is_counted();
        self.seat.event.set_label(label);
        let ran = catch_unwind(AssertUnwindSafe(|| {
            Cx::with(self, |cx| self.run_any(event, label, cx));
        }));
        if let Err(payload) = ran {
            self.event_panicked(payload, Some(event.site()), label);
        }
        add(&self.scheduler.shared().counters.events, u64::from(is_counted));
    }

    /// Runs a reader, or the event of a set.
    #[inline(never)]
    fn run_with_claims(&self, mut event: Owned) {
        let claims = Claims::take(&mut event);
        match &claims {
            Claims::Set(_) => self.traffic.runs_set(),
            _ => self.traffic.runs_uncolored(),
        }
        let label = claims.first().map_or(0, ColorCell::label);
        self.current.with_claims(&claims, || self.run_alone(&mut event, label));
        self.end_uncolored(event, claims);
    }

    /// Drops unrun an event that is in no color's queue.
    pub(super) fn discard_uncolored(&self, mut event: Owned) {
        let dropped = u64::from(event.kind() != Kind::Housekeeping);
        let claims = Claims::take(&mut event);
        self.current.with_claims(&claims, || self.discard_event(&mut event));
        self.end_uncolored(event, claims);
        self.count_dropped(dropped);
    }

    /// Frees the memory of a spent event, and releases its `claims`.
    #[inline]
    pub(super) fn end_uncolored(&self, event: Owned, claims: Claims) {
        // SAFETY: the event came out of a queue of this runtime.
        unsafe { self.free_memory(event.into_memory()) };
        match claims {
            Claims::Nothing => {}
            Claims::Reads(reader) => self.leave(reader),
            Claims::Set(set) => self.release_set(set),
            Claims::Apart(color) => drop(color),
        }
    }
}

//! The readers of a color: shared events that its holder has let go (C5).
//!
//! The step functions are those of [`dapple_colors::Readers`]; here they are atomic. Only the
//! holder enters readers and excludes them; anybody leaves.
//!
//! *What readers did is seen by the exclusive event behind them* (and its holder may free the color
//! after it): a reader leaves by a read-modify-write that releases, and all of them, with the
//! holder's own, form one release sequence; the holder that finds none acquires, and so does the
//! reader that inherits the color.
//!
//! *What the exclusive event in front did is seen by readers*: the run queue that carries them
//! orders it.
//!
//! A reader that has left does not touch the color again, unless it holds it.

use dapple_colors::{Excluded, Left, Readers as Word};

use crate::sync::{AtomicU32, Ordering, Point, point};

/// See the module.
#[derive(Debug)]
pub(crate) struct Readers(AtomicU32);

impl Readers {
    pub(crate) fn new() -> Self {
        Readers(AtomicU32::new(0))
    }

    /// Says whether there are any. For the holder: if not, none comes, and it sees what the last
    /// one did.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        // Acquire: partner is the release of `leave`.
        self.0.load(Ordering::Acquire) != 0
    }

    /// Counts one more reader. For the holder.
    #[inline]
    pub(crate) fn enter(&self) {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        point(Point::ReaderEnters);
        debug_assert!(before & Word::WAITS == 0, "a color that waits has no holder");
        if before >= Word::WAITS - 1 {
            std::process::abort();
        }
    }

    /// The holder comes to an exclusive event. If it has to wait it does not hold the color any
    /// more.
    pub(crate) fn exclude(&self) -> Excluded {
        if !self.any() {
            return Excluded::Alone;
        }
        // Release: the next holder of the color sees what this holder did. Acquire: as in `any`.
        if self.0.fetch_or(Word::WAITS, Ordering::AcqRel) != 0 {
            return Excluded::Waits;
        }
        // The last one has left meanwhile, and has seen nobody wait.
        self.0.store(0, Ordering::Relaxed);
        Excluded::Alone
    }

    /// A shared event has ended.
    pub(crate) fn leave(&self) -> Left {
        point(Point::ReaderLeaves);
        if self.0.fetch_sub(1, Ordering::AcqRel) == Word::LAST_AWAITED {
            // Nobody else touches it: there is no reader, and we are the holder.
            self.0.store(0, Ordering::Relaxed);
            return Left::Holds;
        }
        Left::Gone
    }
}

//! The readers of a color: shared events that its holder has let run by themselves (C5).
//!
//! The step functions are those of [`dapple_colors::Readers`]; here they are atomic. Only the
//! holder adds readers and excludes them; any thread may leave.
//!
//! *The exclusive event behind the readers sees what they did*, and its holder may free the color
//! after it. A reader leaves by a read-modify-write with release, and all of these, with the
//! holder's own, form one release sequence. The holder that finds no reader acquires it, and so
//! does the reader that inherits the color.
//!
//! *Readers see what the exclusive event in front of them did*, by the run queue that carries them.
//!
//! A reader that has left does not touch the color again, unless it has become the holder.

use dapple_colors::{Excluded, Left, Readers as Word};

use crate::sync::{AtomicU32, Ordering, Point, point};

/// The number of the readers of one color, and whether the color waits for them.
#[derive(Debug)]
pub(crate) struct Readers(AtomicU32);

impl Readers {
    pub(crate) fn new() -> Self {
        Readers(AtomicU32::new(0))
    }

    /// Returns `true` if there are readers. Only the holder calls this: if there are none, none
    /// arrives meanwhile, and the holder sees what the last one did.
    #[inline]
    pub(crate) fn any(&self) -> bool {
        // Acquire: pairs with the release of `leave`.
        self.0.load(Ordering::Acquire) != 0
    }

    /// Counts one more reader. Only the holder calls this.
    #[inline]
    pub(crate) fn enter(&self) {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        point(Point::ReaderEnters);
        debug_assert!(before & Word::WAITS == 0, "a color that waits has no holder");
        if before >= Word::WAITS - 1 {
            std::process::abort();
        }
    }

    /// Excludes readers before an exclusive event. If the answer is `Waits`, the caller no longer
    /// holds the color.
    pub(crate) fn exclude(&self) -> Excluded {
        if !self.any() {
            return Excluded::Alone;
        }
        // Release: the next holder of the color sees what this holder did. Acquire: as in `any`.
        if self.0.fetch_or(Word::WAITS, Ordering::AcqRel) != 0 {
            return Excluded::Waits;
        }
        // The last reader has left meanwhile, and has not seen the color wait.
        self.0.store(0, Ordering::Relaxed);
        Excluded::Alone
    }

    /// Counts one reader less, after a shared event has ended.
    pub(crate) fn leave(&self) -> Left {
        point(Point::ReaderLeaves);
        if self.0.fetch_sub(1, Ordering::AcqRel) == Word::LAST_AWAITED {
            // No reader is left and this thread is the holder, so nothing else touches the count.
            self.0.store(0, Ordering::Relaxed);
            return Left::Holds;
        }
        Left::Gone
    }
}

//! Shared and exclusive access to a color, and the readers of one color (rule C5).
//!
//! The holder of a color that reaches a shared event does not run it. It counts the event as a
//! *reader* and lets it run on its own, so that the holder can reach the next event, which may be
//! shared too. Before an exclusive event the holder reads the count. If there are readers, the
//! color *waits*: it is in no run queue, and the last reader to leave becomes its holder.
//!
//! ```text
//!              enter (holder)                 exclude (holder)
//!   no reader ----------------> n readers -----------------------> n readers, the color waits
//!       ^                        |                                  |
//!       |   leave (last reader)  |             leave (last reader)  |
//!       +------------------------+       <--------------------------+
//!                                           the last reader becomes the holder
//! ```
//!
//! The holder takes events in queue order. So no event enters that stands behind an exclusive one,
//! and no exclusive event runs before the readers in front of it have left. Neither side starves.

/// How an event uses its color: shared or exclusively.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// The event may overlap other shared events of the color, never an exclusive one.
    Shared,
    /// The event overlaps no other event of the color.
    Exclusive,
}

/// The outcome of [`Readers::exclude`]: whether an exclusive event may start.
#[must_use = "a holder that waits must let the color go"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Excluded {
    /// The color has no readers.
    Alone,
    /// The color has readers. The caller no longer holds the color, and puts it into no run queue.
    Waits,
}

/// The outcome of [`Readers::leave`]: whether the reader inherits the color.
#[must_use = "the reader that inherits the color has to queue it"]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Left {
    /// The reader has nothing more to do with the color.
    Gone,
    /// The reader was the last one and the color waited, so the reader is the holder now.
    Holds,
}

/// The readers of one color.
///
/// The count is one word, so that an atomic can store it: the top bit is [`WAITS`](Self::WAITS),
/// and the other 31 bits count. The [module](self) describes the transitions.
///
/// # Examples
///
/// ```
/// use dapple_colors::{Excluded, Left, Readers};
/// let mut readers = Readers::default();
/// readers.enter();
/// readers.enter();
/// assert_eq!(readers.exclude(), Excluded::Waits);
/// assert_eq!(readers.leave(), Left::Gone);
/// assert_eq!(readers.leave(), Left::Holds);
/// assert_eq!(readers.exclude(), Excluded::Alone);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Readers(u32);

impl Readers {
    /// The bit which says that the color waits. The other bits count the readers.
    pub const WAITS: u32 = 1 << 31;

    /// The word that the last reader finds if the color waits for it.
    pub const LAST_AWAITED: u32 = Self::WAITS | 1;

    /// Counts a reader: the holder lets a shared event run on its own.
    ///
    /// # Panics
    ///
    /// Panics if the color waits, because a color that waits has no holder.
    pub fn enter(&mut self) {
        assert!(self.0 & Self::WAITS == 0, "a color that waits has no holder");
        self.0 += 1;
    }

    /// Returns whether the holder may start an exclusive event.
    ///
    /// If there are readers, the color waits from now on, and the last reader becomes its holder.
    ///
    /// # Panics
    ///
    /// Panics if the color waits already, because a color that waits has no holder.
    pub fn exclude(&mut self) -> Excluded {
        assert!(self.0 & Self::WAITS == 0, "a color that waits has no holder");
        if self.0 == 0 {
            return Excluded::Alone;
        }
        self.0 |= Self::WAITS;
        Excluded::Waits
    }

    /// Removes a reader whose event has ended.
    ///
    /// # Panics
    ///
    /// Panics if there is no reader.
    pub fn leave(&mut self) -> Left {
        assert!(self.count() > 0, "only a reader can leave");
        if self.0 == Self::LAST_AWAITED {
            self.0 = 0;
            return Left::Holds;
        }
        self.0 -= 1;
        Left::Gone
    }

    /// Returns the number of readers.
    pub fn count(self) -> u32 {
        self.0 & !Self::WAITS
    }

    /// Returns the word that an atomic stores: the count and the bit [`WAITS`](Self::WAITS).
    pub fn word(self) -> u32 {
        self.0
    }
}
